"""The table that a run ends with: which figures are best, what fits a line, and what a name cannot break."""

import pandas as pd
import pytest

from lift3d.pipeline.lift import RAW2D
from lift3d.results.run_summary import best_cells, caption, escaped, summary_lines, summary_markdown, summary_text

FIGURES = {
    # lifter: cosine (higher is better), warp error (lower), its floor (neither)
    RAW2D: (1.0, 0.30, 0.002),
    "depth_mean": (0.91, 0.10, 0.001),
    "lift3d": (0.95, 0.1004, 0.003),
    "nearest_view": (0.95, 0.20, 0.002),
}
METRICS = ("feature_cosine", "warp_error_short", "warp_floor_short")


def means(operator: str = "hog", scenes: int = 1) -> pd.DataFrame:
    """Return what headline_means gives."""
    shared = {"run": "run0", "operator": operator, "target_mode": "heldout", "protocol": "leave-one-out/all"}
    lines = [
        {**shared, "scene": f"room-{scene}", "lifter": lifter, "metric": metric, "mean": value, "ok": 3, "missing": 0}
        for scene in range(scenes)
        for lifter, figures in FIGURES.items()
        for metric, value in zip(METRICS, figures, strict=True)
    ]
    return pd.DataFrame(lines)


def test_best_is_the_best_lifter_ties_included_and_never_the_plain_answer_nor_a_floor() -> None:
    lines = summary_lines(means())
    best = {(lines.loc[row, "lifter"], metric) for row, metric in best_cells(lines)}
    assert best == {
        ("lift3d", "feature_cosine"),
        ("nearest_view", "feature_cosine"),
        # Equal in the digits that are shown.
        ("depth_mean", "warp_error_short"),
        ("lift3d", "warp_error_short"),
    }


def test_each_operator_has_its_own_best_and_one_lifter_alone_is_not_best() -> None:
    both = pd.concat([means("hog"), means("rgb").assign(mean=lambda frame: frame["mean"] / 2)])
    assert len(best_cells(summary_lines(both))) == 8
    alone = means()[means()["lifter"].isin([RAW2D, "lift3d"])]
    assert best_cells(summary_lines(alone)) == set()


def test_several_scenes_are_told_by_their_means() -> None:
    lines = summary_lines(means(scenes=3))
    assert len(lines) == len(FIGURES)
    assert caption(lines) == "means over 3 of 3 scenes · run run0 · heldout · leave-one-out/all"
    assert caption(summary_lines(means())) == "room-0 · run run0 · heldout · leave-one-out/all"


@pytest.mark.parametrize("width", [30, 60, 80])
def test_the_text_fits_the_terminal_and_names_what_it_leaves_out(width: int) -> None:
    text = summary_text(summary_lines(means()), width).plain
    assert max(map(len, text.splitlines()[1:])) <= width
    assert text.index("  raw2d") < text.index("  depth_mean") < text.index("  nearest_view")
    assert ("Not shown: floor 0–15°." in text) == (width == 30)


def test_the_markdown_marks_the_best_in_bold() -> None:
    head, _, *rows = summary_markdown(summary_lines(means())).splitlines()
    assert head == "| operator | lifter | cos 2D ↑ | warp 0–15° ↓ | floor 0–15° |"
    assert rows[0] == "| hog | raw2d | 1.000 | 0.300 | 0.002 |"
    assert rows[2] == "| hog | lift3d | **0.950** | **0.100** | 0.003 |"


def test_a_name_cannot_break_the_table() -> None:
    (row, *_) = summary_markdown(summary_lines(means("a|b\n<script>*_`"))).splitlines()[2:]
    assert row.startswith("| a\\|b &lt;script&gt;\\*\\_\\` | raw2d |")
    assert escaped("[x](javascript:1)") == "\\[x\\](javascript:1)"


def test_without_a_figure_there_is_no_table() -> None:
    nothing = means().assign(mean=float("nan"), ok=0, missing=3)
    assert summary_lines(nothing).empty
    assert summary_text(summary_lines(nothing), 80).plain == "no scores"
