"""Which products the runs of a store rest on, read from the records of their scenes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError, ProductMissingError
from lift3d.storage import layout
from lift3d.storage.location import Store

# Records are small: waiting for them is all there is to do.
_RECORDS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The record of one scene of one run.

    Attributes:
        key: Where it lies.
        products: What it names.
        problem: Why it cannot be read; empty if it can.
    """

    key: str
    products: tuple[str, ...]
    problem: str = ""


def run_records(store: Store, run_id: str | None = None) -> Iterator[RunRecord]:
    """Yield the records of all runs, or of one.

    Raises:
        ConfigError: If the store has no such run.
    """
    runs = store.names(layout.RUNS_FOLDER)
    if run_id is not None and run_id not in runs:
        raise ConfigError(f"{store.url} has no run '{run_id}'. It has: {', '.join(runs) or 'none'}.")
    for run in [run_id] if run_id is not None else runs:
        keys = [key for key in store.list(f"{layout.run_path(run)}/scenes") if key.endswith(".json")]
        with ThreadPoolExecutor(_RECORDS_AT_ONCE) as pool:
            yield from pool.map(lambda key: _record(store, key), keys)


def _record(store: Store, key: str) -> RunRecord:
    try:
        record = SceneRecord.parsed(store.read_bytes(key))
    except ProductMissingError:
        return RunRecord(key, ())
    return RunRecord(key, (), "is not the record of a scene") if record is None else RunRecord(key, record.paths)
