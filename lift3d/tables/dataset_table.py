"""The table of a run in files: one of each scene, one of each part of the run, and what says which records they hold.

Pure: bytes in, bytes out. All of these files are caches of what the records of scenes and their score documents say.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from lift3d.domain.keys import digest_bytes
from lift3d.domain.records import SceneRecord
from lift3d.errors import Lift3dError
from lift3d.tables.schema import COLUMNS, ScoreTable, arrow_schema

# Raised when the same record would give other rows, or a file below another meaning: old ones are then made again.
TABLE_VERSION = 2
# Scenes whose rows lie in one file. With a few hundred rows per scene a part is some megabytes and its rows take some
# hundred megabytes in memory; 10 000 scenes make 40 parts.
SCENES_PER_PART = 256

_RECORD_KEY = b"lift3d.record"
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """What an index says of the record of one scene, so that it is not read again.

    Attributes:
        size: Bytes of the record.
        modified: When it was written, by the store's clock.
        is_settled: Whether a later write would have had another time: the clocks of stores are coarse.
        digest: Of the record's bytes.
        scene: What the scene calls itself.
        outcome: ok or failed; unreadable if the record does not parse, which is as good as none.
        reason: Why it failed.
        is_quarantined: Whether it was given up.
    """

    size: int
    modified: float
    is_settled: bool
    digest: str
    scene: str
    outcome: str
    reason: str
    is_quarantined: bool

    @classmethod
    def of(cls, content: bytes, size: int, modified: float, is_settled: bool) -> "RecordEntry":
        """Describe a record, as it was listed."""
        record = SceneRecord.parsed(content)
        said = ("", "unreadable", "", False)
        if record is not None:
            said = (record.scene, record.outcome, record.reason, record.is_quarantined)
        return cls(size, modified, is_settled, digest_bytes(content), *said)


@dataclass(frozen=True, slots=True)
class PartEntry:
    """What an index says of one part.

    Attributes:
        size: Bytes of the part.
        digest: Of its bytes.
        records: The digest of each record that it holds, by location of the scene.
    """

    size: int
    digest: str
    records: dict[str, str]


def to_index(entries: Mapping[str, RecordEntry | PartEntry]) -> bytes:
    """Return an index as bytes."""
    content = {"version": TABLE_VERSION, "entries": {name: asdict(one) for name, one in entries.items()}}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def from_index(content: bytes, kind: type[Entry]) -> dict[str, Entry]:
    """Return what to_index wrote; empty if it is damaged or of another version, for then all is read again."""
    try:
        found: dict[str, Any] = json.loads(content)
        if found["version"] != TABLE_VERSION:
            return {}
        return {name: kind(**fields) for name, fields in found["entries"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def write_scene_table(table: ScoreTable, record: str) -> bytes:
    """Return the rows of one scene as a Parquet file that names the record it was made of by its digest."""
    arrow = pa.Table.from_pandas(table.frame, schema=arrow_schema(), preserve_index=False)
    stamp = {_RECORD_KEY: f"{TABLE_VERSION} {record}".encode()}
    return _to_bytes(arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **stamp}))


def read_scene_table(content: bytes, record: str) -> ScoreTable | None:
    """Return the rows of one scene; None if the file is damaged or was made of another record."""
    try:
        metadata = pa.parquet.read_schema(io.BytesIO(content)).metadata or {}
        if metadata.get(_RECORD_KEY) != f"{TABLE_VERSION} {record}".encode():
            return None
        return ScoreTable.from_parquet(content)
    except (pa.ArrowException, OSError, Lift3dError):
        return None


def write_part(frames: Sequence[tuple[str, pd.DataFrame]]) -> bytes:
    """Return a part: the rows of scenes, each with its location, in the order given. Equal rows give equal bytes."""
    schema = pa.schema([("location", pa.string()), *arrow_schema()])
    located = [frame.assign(location=location)[["location", *COLUMNS]] for location, frame in frames if len(frame)]
    whole = pd.concat(located, ignore_index=True) if located else pd.DataFrame(columns=["location", *COLUMNS])
    return _to_bytes(pa.Table.from_pandas(whole, schema=schema, preserve_index=False))


def read_part(content: bytes) -> pd.DataFrame:
    """Return the rows of a part: the columns of a score table, and ``location``."""
    return pa.parquet.read_table(io.BytesIO(content)).to_pandas()


def rows_by_location(part: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each scene of a part."""
    return {str(location): rows[list(COLUMNS)] for location, rows in part.groupby("location", sort=False)}


def named_table(part: pd.DataFrame, names: Mapping[str, str]) -> ScoreTable:
    """Return a part as a score table in which scenes have the names of the run, given by location."""
    return ScoreTable(part.assign(scene=part["location"].map(names).astype("str"))[list(COLUMNS)])


def _to_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pa.parquet.write_table(table, buffer)
    return buffer.getvalue()
