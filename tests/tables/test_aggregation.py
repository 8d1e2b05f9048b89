import pytest

from lift3d.errors import UnknownNameError
from lift3d.tables.aggregation import metric_means, summary
from lift3d.tables.schema import ScoreTable
from tests.tables.score_rows import missing_row, score_row


def rows_of(scene="s", lifter="plane_sweep", metric="psnr", values=(1.0, 2.0), **more):
    return [
        score_row(scene=scene, lifter=lifter, metric=metric, target=f"v{i}", value=value, **more)
        for i, value in enumerate(values)
    ]


def summary_of(rows, **kwargs):
    return summary(ScoreTable.from_rows(rows), **kwargs)


def test_the_mean_is_unweighted_and_stands_beside_its_counts():
    rows = [*rows_of(values=(1.0, 3.0)), missing_row(target="v7"), score_row(target="v8", value=8.0, weight=1e9)]
    (line,) = metric_means(ScoreTable.from_rows(rows)).to_dict("records")
    assert (line["mean"], line["ok"], line["missing"]) == (4.0, 3, 1)


def test_a_missing_view_lowers_the_count_and_not_the_mean():
    (before,) = summary_of(rows_of()).to_dict("records")
    (after,) = summary_of([*rows_of(), missing_row(target="v5")]).to_dict("records")
    assert before["psnr"] == after["psnr"] == 1.5
    assert (before["ok"], before["missing"]) == (2, 0)
    assert (after["ok"], after["missing"]) == (2, 1)


def test_adding_a_metric_does_not_move_others():
    few = summary_of(rows_of())
    more = summary_of([*rows_of(), *rows_of(metric="rho", values=(0.1, 0.7))])
    assert more["psnr"].tolist() == few["psnr"].tolist()
    assert more["rho"].tolist() == [pytest.approx(0.4)]


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


def test_the_plain_answer_comes_first_and_columns_can_be_chosen():
    rows = [row for lifter in ("adjoint", "raw2d", "zero") for row in rows_of(lifter=lifter)]
    rows += rows_of(lifter="zero", metric="rho")
    assert summary_of(rows)["lifter"].tolist() == ["raw2d", "adjoint", "zero"]
    assert list(summary_of(rows, metrics=["rho"]).columns[-3:]) == ["rho", "ok", "missing"]
    with pytest.raises(UnknownNameError, match="psnr"):
        summary_of(rows, metrics=["psmr"])


def test_a_metric_that_never_has_a_figure_has_no_column_but_is_counted():
    lines = summary_of([*rows_of(), missing_row(metric="warp_error_long", target="")])
    assert "warp_error_long" not in lines.columns
    assert lines["missing"].tolist() == [1]


def test_an_empty_table_has_a_summary_too():
    assert len(summary_of([])) == 0
