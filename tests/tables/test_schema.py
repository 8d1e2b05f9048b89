import io
import json
import math
from dataclasses import asdict, replace

import pandas as pd
import pytest

from lift3d.errors import ContractError, UnknownNameError
from lift3d.tables.row_files import COLUMNS, rows_to_parquet
from lift3d.tables.schema import ScoreTable
from tests.tables.score_rows import missing_row, score_row


def some_rows():
    return [score_row(target=f"v{i}", value=i / 3, metric=m) for i in range(5) for m in ("psnr", "rho")] + [
        missing_row(target="v9", metric="psnr")
    ]


@pytest.mark.parametrize("rows", [[], some_rows()], ids=["empty", "full"])
def test_a_table_of_rows_has_their_columns_and_round_trips_keep_every_bit(rows):
    table = ScoreTable.from_rows(rows)
    again = ScoreTable(pd.read_parquet(io.BytesIO(table.to_parquet())))
    pd.testing.assert_frame_equal(again.frame, table.frame, check_exact=True)
    by_key = sorted(rows, key=lambda row: (row.metric, row.target))
    assert table.to_json() == [{k: None if v != v else v for k, v in asdict(row).items()} for row in by_key]
    assert json.loads(json.dumps(table.to_json(), allow_nan=False)) == table.to_json()
    assert tuple(table.frame.columns) == COLUMNS
    assert len(table) == len(rows)


def test_the_order_of_rows_is_irrelevant_and_a_file_of_rows_is_that_of_their_table():
    odd = [score_row(scene=name, coverage=math.nan) for name in ("ä", "z", "", "\ud800", "\U0001f600", "\uffff")]
    for rows in ([], some_rows(), odd):
        assert rows_to_parquet(rows[::-1]) == rows_to_parquet(rows) == ScoreTable.from_rows(rows).to_parquet()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"outcome": "maybe"}, "Unknown outcome"),
        ({"outcome": "failed"}, "finite without outcome ok"),
        ({"value": math.nan}, "finite without outcome ok"),
        ({"value": math.inf}, "finite without outcome ok"),
        ({"weight": -1.0}, "negative"),
        ({"value": math.nan, "outcome": "failed", "reason": ""}, "without a reason"),
        ({"scene": None}, "'scene' holds"),
        ({"extra": 1}, "has columns"),
    ],
)
def test_what_breaks_the_schema_is_refused(changed, message):
    with pytest.raises(ContractError, match=message):
        ScoreTable(ScoreTable.from_rows([score_row()]).frame.assign(**changed))


def test_rows_that_make_no_table_are_refused():
    for make in (ScoreTable.from_rows, rows_to_parquet):
        for rows, message in (
            ([score_row(), score_row(value=0.1)], "share a key"),
            ([score_row(weight=-1.0)], "negative"),
            ([missing_row(reason="")], "without a reason"),
        ):
            with pytest.raises(ContractError, match=message):
                make(rows)
    with pytest.raises(ContractError):
        replace(score_row(), value=math.nan)


def test_joined_tables_hold_all_rows_and_where_narrows_by_text():
    rows = some_rows()
    joined = ScoreTable.joined(
        [ScoreTable.from_rows(rows[:4]), ScoreTable.from_rows([]), ScoreTable.from_rows(rows[4:])]
    )
    pd.testing.assert_frame_equal(joined.frame, ScoreTable.from_rows(rows).frame)
    assert len(ScoreTable.joined([])) == 0
    table = ScoreTable.from_rows(some_rows())
    assert len(table.where(metric="rho", scene="s")) == 5
    assert len(table.where(metric="none")) == 0
    with pytest.raises(UnknownNameError, match="metric"):
        table.where(metrics="rho")
