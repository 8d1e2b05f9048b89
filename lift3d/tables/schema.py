"""The score table: which columns it has, what makes a row unique, and how it is written. Light: no torch."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from lift3d.domain.keys import encodable, shown
from lift3d.domain.scores import Outcome, ScoreRow
from lift3d.errors import ContractError, UnknownNameError

# For those who are given rows and may not know pandas.
DataFrame = pd.DataFrame

# A row takes so much beside its texts: their places in a list of them, and three numbers.
_ROW_BYTES = 80
# A file of rows unpacks to some thirty times its size.
_MOST_UNPACKED = 256
_FREE_BYTES = 2**27
# With these, and with characters that are shown as their codes, spreadsheets begin a formula.
_FORMULA_SIGNS = ("=", "+", "-", "@")
COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(ScoreRow))
NUMBERS: tuple[str, ...] = ("value", "weight", "coverage")
TEXTS: tuple[str, ...] = tuple(name for name in COLUMNS if name not in NUMBERS)

# What a row is about, in the order of sorting. The run comes last: it names the recipe, not the content.
KEY: tuple[str, ...] = (
    *("scene", "operator", "lifter", "target_mode", "metric", "protocol"),
    *("threshold_source", "scoring_geometry", "target", "other", "run"),
)


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
        columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
        return cls(pd.DataFrame(columns | {name: [*map(encodable, columns[name])] for name in TEXTS}))

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
        buffer = io.BytesIO()
        pa.parquet.write_table(pa.Table.from_pandas(self.frame, schema=arrow_schema(), preserve_index=False), buffer)
        return buffer.getvalue()

    def to_csv(self) -> str:
        """Return the rows as CSV that a spreadsheet shows as it is and a terminal does not obey.

        A text that a spreadsheet would take for a formula gets a ' before it.
        """
        plain = {
            name: self.frame[name].map({text: _plain_cell(text) for text in self.frame[name].unique()})
            for name in TEXTS
        }
        return str(self.frame.assign(**plain).to_csv(index=False))

    def to_json(self) -> list[dict[str, Any]]:
        """Return one mapping per row, NaN as None."""
        return [
            {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in record.items()}
            for record in self.frame.to_dict(orient="records")
        ]


def stored_rows(content: bytes) -> pa.Table:
    """Return the rows of a file of to_parquet; ValueError if it is none, or would take far more memory than rows do."""
    try:
        found = pa.parquet.read_metadata(io.BytesIO(content))
        if not found.schema.to_arrow_schema().equals(arrow_schema()):
            raise ValueError("its columns are others")
        if found.num_rows * _ROW_BYTES > max(_FREE_BYTES, _MOST_UNPACKED * len(content)):
            raise ValueError(f"{len(content)} bytes say that they are {found.num_rows} rows")
        rows = pa.parquet.ParquetFile(io.BytesIO(content), read_dictionary=TEXTS).read()
        rows.validate(full=True)
        text_bytes = sum(_text_bytes(rows.column(name)) for name in TEXTS)
        if text_bytes > max(_FREE_BYTES, _MOST_UNPACKED * len(content)):
            raise ValueError(f"{len(content)} bytes unpack to {text_bytes}")
        return rows.cast(arrow_schema())
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return the bytes of a column of texts once each stands for itself."""
    lengths = (pa.compute.binary_length(one.dictionary).take(one.indices) for one in column.chunks)
    return sum(pa.compute.sum(one).as_py() or 0 for one in lengths)


def _plain_cell(text: str) -> str:
    plain = shown(text)
    return f"'{plain}" if plain.startswith(_FORMULA_SIGNS) else plain


def stacked(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put frames of the same columns, at least one of them, below each other; empty ones say nothing of types."""
    given = list(frames)
    return pd.concat([frame for frame in given if len(frame)] or given[:1], ignore_index=True)


def arrow_schema() -> pa.Schema:
    """Return the columns as Arrow and Parquet name their types."""
    return pa.schema([(name, pa.float64() if name in NUMBERS else pa.string()) for name in COLUMNS])


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
