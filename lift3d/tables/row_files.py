"""Score rows as files of Parquet, written and read without a frame of pandas; one for every scene. Light: no torch."""

import io
from collections.abc import Iterable
from dataclasses import fields
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet

from lift3d.domain.keys import encodable
from lift3d.domain.scores import ScoreRow
from lift3d.errors import ContractError

COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(ScoreRow))
NUMBERS: tuple[str, ...] = ("value", "weight", "coverage")
TEXTS: tuple[str, ...] = tuple(name for name in COLUMNS if name not in NUMBERS)

# What a row is about, in the order of sorting. The run comes last: it names the recipe, not the content.
KEY: tuple[str, ...] = (
    *("scene", "operator", "lifter", "target_mode", "metric", "protocol"),
    *("threshold_source", "scoring_geometry", "target", "other", "run"),
)

# A row takes so much beside its texts: their places in a list of them, and three numbers.
_ROW_BYTES = 80
# A file of rows unpacks to some thirty times its size.
_MOST_UNPACKED = 256
_FREE_BYTES = 2**27


def rows_to_parquet(rows: Iterable[ScoreRow]) -> bytes:
    """Return the bytes of ``ScoreTable.from_rows(rows).to_parquet()``, without its frame.

    Every scene of a run writes its rows, and a frame of pandas takes 7 ms to make and to check, even without a row.
    """
    return parquet_bytes(arrow_rows(rows))


def stored_rows(content: bytes) -> pa.Table:
    """Return the rows of a file of score rows; ValueError if it is none, or would take far more memory than rows do."""
    try:
        found = pa.parquet.read_metadata(io.BytesIO(content))
        if not found.schema.to_arrow_schema().equals(arrow_schema()):
            raise ValueError("its columns are others")
        if found.num_rows * _ROW_BYTES > max(_FREE_BYTES, _MOST_UNPACKED * len(content)):
            raise ValueError(f"{len(content)} bytes say that they are {found.num_rows} rows")
        file = pa.parquet.ParquetFile(io.BytesIO(content), metadata=found, read_dictionary=TEXTS)
        rows = file.read(use_threads=False)  # who reads many scenes has threads of its own
        rows.validate(full=True)
        text_bytes = sum(_text_bytes(rows.column(name)) for name in TEXTS)
        if text_bytes > max(_FREE_BYTES, _MOST_UNPACKED * len(content)):
            raise ValueError(f"{len(content)} bytes unpack to {text_bytes}")
        return rows.cast(arrow_schema())
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def arrow_schema() -> pa.Schema:
    """Return the columns as Arrow and Parquet name their types."""
    return pa.schema([(name, pa.float64() if name in NUMBERS else pa.string()) for name in COLUMNS])


def arrow_rows(rows: Iterable[ScoreRow]) -> pa.Table:
    """Return rows by their keys, with texts that every writer takes; ContractError if they are no rows of one table."""
    given = list(rows)
    for row in given:
        _check_row(row)
    columns = {name: [getattr(row, name) for row in given] for name in COLUMNS}
    columns |= {name: [*map(encodable, columns[name])] for name in TEXTS}
    keys = list(zip(*(columns[name] for name in KEY), strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for one, other in pairwise(order):
        if keys[one] == keys[other]:
            raise ContractError(f"Rows share a key, {dict(zip(KEY, keys[one], strict=True))}. Score each item once.")
    ordered = ([columns[name][row] for row in order] for name in COLUMNS)
    schema = arrow_schema()
    # As of a frame of pandas: NaN is missing, which other readers leave out of their means.
    arrays = [pa.array(one, kind, from_pandas=True) for one, kind in zip(ordered, schema.types, strict=True)]
    return pa.table(arrays, schema=schema)


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as a file that tells its types, without what Arrow and pandas would add, more than a few rows."""
    buffer = io.BytesIO()
    pa.parquet.write_table(table, buffer, store_schema=False)
    return buffer.getvalue()


def _check_row(row: ScoreRow) -> None:
    """Refuse what its own type lets pass; that it is finite exactly if its outcome is ok, a row sees to itself."""
    if row.weight < 0:
        raise ContractError(f"A weight is negative, {row.weight}; expected the number of pixels, points or pairs.")
    if row.outcome != "ok" and not row.reason:
        raise ContractError(f"'{row.metric}' of scene '{row.scene}' is {row.outcome} without a reason.")


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return the bytes of a column of texts once each stands for itself."""
    lengths = (pa.compute.binary_length(one.dictionary).take(one.indices) for one in column.chunks)
    return sum(pa.compute.sum(one).as_py() or 0 for one in lengths)
