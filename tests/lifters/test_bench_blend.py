"""The bench runs, and memory does not grow with channels."""

from lift3d.bench.blend import LAYOUTS, run, table


def test_figures_are_complete_and_memory_does_not_depend_on_channels():
    figures = run(target_cells=(8,), threads=(1,), repeats=1, memory_channels=(128, 512), memory_source_cells=74)
    assert [timed["layout"] for timed in figures["time"]] == list(LAYOUTS)
    for timed in figures["time"]:
        assert timed["blend_s"] > 0
        assert timed["over_gather"] == timed["blend_s"] / timed["gather_s"]
    few, many = (row["extra_bytes"] for row in figures["memory"])
    assert few > 1e7
    assert abs(many - few) < 0.05 * few
    assert "8×8" in table(figures)
