"""The records of a run's scenes, known from one listing and an index: only what is new or has changed is read."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from lift3d.errors import ProductMissingError, StoreFullError, StoreRefusedError
from lift3d.storage import layout
from lift3d.storage.location import Store
from lift3d.tables.dataset_table import PartEntry, RecordEntry, from_index, to_index

# Records are small: waiting for them is all there is to do.
READS_AT_ONCE = 8
# The time of a write is exact to a second in object stores and to two on some disks. A record written so shortly before
# the listing could be written again, with as many bytes, without that its entry changes.
SETTLED_AFTER_S = 2.0


def dataset_path(run_id: str) -> str:
    """Return the folder of a run's indices and of the parts of its table."""
    return f"{layout.run_path(run_id)}/dataset"


def known_records(store: Store, run_id: str) -> dict[str, RecordEntry]:
    """Return what is known of every record of a run, by its key, after reading those that the index does not know.

    The index is written again if it changed; who may not write to the store goes without.
    """
    index_key = f"{dataset_path(run_id)}/records.json"
    listed = {
        key: info for key, info in store.entries(f"{layout.run_path(run_id)}/scenes").items() if key.endswith(".json")
    }
    # The store's own clock: it has moved on at least as far as its newest object says.
    written = [info.modified for info in [*listed.values(), *store.entries(index_key).values()]]
    settled_until = max(written, default=0.0) - SETTLED_AFTER_S
    known = from_index(read_or_nothing(store, index_key), RecordEntry)
    found: dict[str, RecordEntry] = {}
    unknown = []
    for key, info in listed.items():
        entry = known.get(key)
        if entry is not None and entry.is_settled and (entry.size, entry.modified) == (info.size, info.modified):
            found[key] = entry
        else:
            unknown.append(key)
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        contents = pool.map(lambda key: read_or_nothing(store, key), unknown)
        for key, content in zip(unknown, contents, strict=True):
            if content:
                info = listed[key]
                found[key] = RecordEntry.of(content, info.size, info.modified, info.modified <= settled_until)
    found = dict(sorted(found.items()))
    if found != known:
        write_cache(store, index_key, to_index(found))
    return found


def known_parts(store: Store, run_id: str) -> dict[str, PartEntry]:
    """Return what the index says of the parts of a run's table, by name."""
    return from_index(read_or_nothing(store, f"{dataset_path(run_id)}/parts.json"), PartEntry)


def write_known_parts(store: Store, run_id: str, parts: Mapping[str, PartEntry]) -> None:
    """Write the index of parts; nothing happens if the store cannot be written to."""
    write_cache(store, f"{dataset_path(run_id)}/parts.json", to_index(parts))


def read_or_nothing(store: Store, key: str) -> bytes:
    """Return an object, or no bytes if there is none."""
    try:
        return store.read_bytes(key)
    except ProductMissingError:
        return b""


def write_cache(store: Store, key: str, content: bytes) -> bool:
    """Write what can be made again, and say whether that went well: tables can be read without the right to write."""
    try:
        store.write_bytes(key, content)
    except (StoreRefusedError, StoreFullError):
        return False
    return True
