"""Files that list scenes: one location per line, or a column ``location``."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from lift3d.domain.keys import parse_json
from lift3d.errors import ConfigError

COLUMN = "location"
Lines = Iterator[tuple[int, Any]]


def read_scene_list(content: bytes, name: str) -> tuple[str, ...]:
    """Return the locations that a file lists, in its order.

    Its ending says what it is: .txt (a location per line, # begins a comment), .csv or .parquet (column ``location``),
    or .jsonl (texts, or mappings with ``location``). ConfigError, which names the line (of .parquet: the entry, from
    1), if it is of another kind, malformed or empty, has no such column, or lists a scene twice.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _READERS:
        raise ConfigError(f"'{name}' is no list of scenes that is known. Expected one of {', '.join(_READERS)}.")
    seen: dict[str, int] = {}
    try:
        for line, value in _READERS[suffix](content, name):
            location = value.strip() if isinstance(value, str) else ""
            if not location:
                raise ConfigError(f"Line {line} of '{name}' has no location, got {value!r}. Expected a text.")
            if location in seen:
                raise ConfigError(f"'{name}' lists '{location}' twice: in lines {seen[location]} and {line}.")
            seen[location] = line
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"'{name}' cannot be read: {error}. Expected a {suffix} file in UTF-8.") from error
    if not seen:
        raise ConfigError(f"'{name}' lists no scene. Expected at least one location.")
    return tuple(seen)


def _text_lines(content: bytes, name: str) -> Lines:
    for number, line in enumerate(content.decode("utf-8-sig").splitlines(), 1):
        # Only with a space before it: a location may hold a # of its own.
        text = line.strip() if not line.lstrip().startswith("#") else ""
        text = text.split(" #")[0].strip()
        if text:
            yield number, text


def _csv_lines(content: bytes, name: str) -> Lines:
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    _require_column(reader.fieldnames or (), name)
    for row in reader:
        yield reader.line_num, row[COLUMN]


def _parquet_lines(content: bytes, name: str) -> Lines:
    try:
        file = pa.parquet.ParquetFile(io.BytesIO(content))
        _require_column(file.schema_arrow.names, name)
        yield from enumerate(file.read(columns=[COLUMN]).column(COLUMN).to_pylist(), 1)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"'{name}' is no Parquet file: {error}.") from error


def _json_lines(content: bytes, name: str) -> Lines:
    for number, line in enumerate(content.decode("utf-8-sig").splitlines(), 1):
        if line.strip():
            try:
                yield number, _location_of(parse_json(line), name, number)
            except ValueError as error:
                raise ConfigError(f"Line {number} of '{name}' is not JSON: {error}.") from error


def _location_of(entry: Any, name: str, line: int) -> Any:
    if isinstance(entry, dict) and COLUMN not in entry:
        raise ConfigError(f"Line {line} of '{name}' has no '{COLUMN}', it has {', '.join(entry) or 'nothing'}.")
    return entry[COLUMN] if isinstance(entry, dict) else entry


def _require_column(columns: Any, name: str) -> None:
    if COLUMN not in columns:
        raise ConfigError(
            f"'{name}' has no column '{COLUMN}' in line 1; it has {', '.join(map(str, columns)) or 'none'}. "
            f"Name the column of locations so."
        )


_READERS: dict[str, Callable[[bytes, str], Lines]] = {
    ".txt": _text_lines,
    ".csv": _csv_lines,
    ".parquet": _parquet_lines,
    ".jsonl": _json_lines,
}
