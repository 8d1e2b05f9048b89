import pytest

from lift3d.tables.aggregation import metric_means, summary
from lift3d.tables.schema import ScoreTable
from tests.tables.score_rows import missing_row, score_row


def rows_of(scene="s", lifter="plane_sweep", metric="psnr", values=(1.0, 2.0), **more):
    return [
        score_row(scene=scene, lifter=lifter, metric=metric, target=f"v{i}", value=value, **more)
        for i, value in enumerate(values)
    ]


def summary_of(rows):
    return summary(ScoreTable.from_rows(rows))


def test_the_mean_is_unweighted_and_stands_beside_its_counts():
    rows = [*rows_of(values=(1.0, 3.0)), missing_row(target="v7"), score_row(target="v8", value=8.0, weight=1e9)]
    (line,) = metric_means(ScoreTable.from_rows(rows)).to_dict("records")
    assert (line["mean"], line["ok"], line["missing"]) == (4.0, 3, 1)


def test_missing_views_and_other_metrics_move_no_figure():
    lost = missing_row(metric="warp_error_long", target="")
    for more, ok, missing in [
        ([], 2, 0),
        ([missing_row(target="v5")], 2, 1),
        # A metric that never has a figure has no column but is counted.
        ([lost], 2, 1),
        (rows_of(metric="rho", values=(0.1, 0.7)), 4, 0),
    ]:
        (line,) = summary_of([*rows_of(), *more]).to_dict("records")
        assert (line["psnr"], line["ok"], line["missing"]) == (1.5, ok, missing)
        assert "warp_error_long" not in line
        assert line.get("rho", 0.4) == pytest.approx(0.4)
    assert len(summary_of([])) == 0


def test_protocols_runs_and_modes_are_never_mixed():
    rows = [
        *rows_of(),
        *rows_of(protocol="heldout-8/common", values=(5.0,)),
        *rows_of(run="q", values=(7.0,)),
        *rows_of(target_mode="refine", values=(9.0,)),
        *rows_of(threshold_source="reference", values=(11.0,)),
    ]
    lines = summary_of(rows)
    assert sorted(lines["psnr"]) == [1.5, 5.0, 7.0, 9.0]
    assert lines["psnr@reference"].dropna().tolist() == [11.0]


def test_the_plain_answer_comes_first():
    rows = [row for lifter in ("adjoint", "raw2d", "zero") for row in rows_of(lifter=lifter)]
    assert summary_of(rows)["lifter"].tolist() == ["raw2d", "adjoint", "zero"]
