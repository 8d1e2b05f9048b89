"""The score table: a frame of rows that were checked, sorted and told apart. Light: no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa

from lift3d.domain.keys import shown
from lift3d.domain.scores import Outcome, ScoreRow
from lift3d.errors import ContractError, UnknownNameError
from lift3d.tables.row_files import COLUMNS, KEY, NUMBERS, TEXTS, arrow_rows, arrow_schema, parquet_bytes

# For those who are given rows and may not know pandas.
DataFrame = pd.DataFrame

# With these, and with characters that are shown as their codes, spreadsheets begin a formula.
_FORMULA_SIGNS = ("=", "+", "-", "@")


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Score rows that passed the schema: the columns of ScoreRow in their order, sorted by KEY.

    Texts are never missing, numbers float64. What was skipped or failed as a whole, a view or a scene, has a row of its
    own without a figure. ContractError if columns, dtypes or outcomes are wrong, a value is finite for another outcome
    than ok (or the other way round), or two rows have the same key.
    """

    frame: pd.DataFrame

    def __post_init__(self) -> None:
        if tuple(self.frame.columns) != COLUMNS:
            raise ContractError(f"A score table has columns {list(COLUMNS)}, got {list(self.frame.columns)}.")
        frame = self.frame.astype({name: "float64" for name in NUMBERS})
        _check_texts(frame)
        frame = frame.astype({name: "str" for name in TEXTS}).sort_values(list(KEY), kind="stable", ignore_index=True)
        _check_values(frame)
        _check_unique(frame)
        object.__setattr__(self, "frame", frame)

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def from_rows(cls, rows: Sequence[ScoreRow]) -> "ScoreTable":
        """Make a table of rows in any order; texts need not be such that Parquet takes them."""
        return cls(arrow_rows(rows).to_pandas())

    @classmethod
    def joined(cls, tables: Sequence["ScoreTable"]) -> "ScoreTable":
        """Put tables of different scenes, operators or runs together."""
        filled = [table.frame for table in tables if len(table)]
        return cls(pd.concat(filled, ignore_index=True)) if filled else cls.from_rows([])

    def where(self, **equal: str) -> "ScoreTable":
        """Return the rows whose texts are equal to these, e.g. ``where(protocol="heldout-8/all")``."""
        keep = pd.Series(True, index=self.frame.index)
        for name, value in equal.items():
            if name not in TEXTS:
                raise UnknownNameError.of("column", name, TEXTS)
            keep &= self.frame[name] == value
        return ScoreTable(self.frame[keep])

    def to_parquet(self) -> bytes:
        """Return the table as the bytes of a Parquet file; the same table gives the same bytes."""
        return parquet_bytes(pa.Table.from_pandas(self.frame, schema=arrow_schema(), preserve_index=False))

    def to_csv(self) -> str:
        """Return the rows as CSV that a spreadsheet shows as it is and a terminal does not obey.

        A text that a spreadsheet would take for a formula gets a ' before it.
        """
        return plain_csv(self.frame)

    def to_json(self) -> list[dict[str, Any]]:
        """Return one mapping per row, NaN as None."""
        return [
            {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in record.items()}
            for record in self.frame.to_dict(orient="records")
        ]


def plain_csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV whose texts a spreadsheet shows as they are and a terminal does not obey."""
    plain = {
        name: frame[name].map({text: _plain_cell(text) for text in frame[name].unique()})
        for name in frame.columns
        if isinstance(frame[name].dtype, pd.StringDtype)
    }
    return str(frame.assign(**plain).to_csv(index=False))


def _plain_cell(text: str) -> str:
    plain = shown(text)
    return f"'{plain}" if plain.startswith(_FORMULA_SIGNS) else plain


def stacked(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put frames of the same columns, at least one of them, below each other; empty ones say nothing of types."""
    given = list(frames)
    return pd.concat([frame for frame in given if len(frame)] or given[:1], ignore_index=True)


def _check_texts(frame: pd.DataFrame) -> None:
    for name in TEXTS:
        column = frame[name]
        # A column of texts can lack some, no more; to look at each of millions would take minutes.
        is_known = isinstance(column.dtype, pd.StringDtype)
        is_text = column.notna() if is_known else column.map(lambda value: isinstance(value, str))
        if not bool(is_text.all()):
            first = frame[name][~is_text].iloc[0]
            raise ContractError(f"Column '{name}' holds {first!r}; expected text, empty where it does not apply.")


def _check_values(frame: pd.DataFrame) -> None:
    strange = sorted(set(frame["outcome"]) - set(get_args(Outcome)))
    if strange:
        raise ContractError(f"Unknown outcome {strange}; expected one of {list(get_args(Outcome))}.")
    is_wrong = np.isfinite(frame["value"]) != (frame["outcome"] == "ok")
    if bool(is_wrong.any()):
        row = frame[is_wrong].iloc[0]
        raise ContractError(
            f"{int(is_wrong.sum())} rows are finite without outcome ok, or ok without a finite value; "
            f"first '{row['metric']}' of scene '{row['scene']}': {row['value']} with '{row['outcome']}'."
        )
    if bool((frame["weight"] < 0).any()):
        raise ContractError("A weight is negative; expected the number of pixels, points or pairs.")
    is_mute = (frame["outcome"] != "ok") & (frame["reason"] == "")
    if bool(is_mute.any()):
        row = frame[is_mute].iloc[0]
        raise ContractError(f"'{row['metric']}' of scene '{row['scene']}' is {row['outcome']} without a reason.")


def _check_unique(frame: pd.DataFrame) -> None:
    is_repeated = frame.duplicated(list(KEY), keep=False)
    if bool(is_repeated.any()):
        first = frame[is_repeated].iloc[0][list(KEY)].to_dict()
        raise ContractError(f"{int(is_repeated.sum())} rows share a key; the first is {first}. Score each item once.")
