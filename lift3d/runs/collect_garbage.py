"""Delete from a store what no run needs any more."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from lift3d.errors import ConfigError
from lift3d.runs.progress import track
from lift3d.runs.records import recorded
from lift3d.storage.audit import AuditedProduct, folders
from lift3d.storage.commit import SHORTEST_LEASE_S
from lift3d.storage.garbage import Garbage, IsWanted, Kind, collect, garbage_in, probes, store_time
from lift3d.storage.layout import SCENES_FOLDER
from lift3d.storage.location import Store, open_store

# Kinds of products: those that records do not name, from which those that they do name are computed.
_CACHES = {"features", "state", "geometry"}
_NAMED = {"lifted"}
_HOUR_S = 3600.0
# No worker sleeps for two days and is still expected back; below an hour, one that lifts a large scene may be at work.
LEASE_H = 48.0
SHORTEST_LEASE_H = SHORTEST_LEASE_S / _HOUR_S


@dataclass
class Collected:
    """What was deleted, or would be: counts by kind, and all keys for JSON."""

    is_dry: bool
    older_than_h: float
    pieces: Counter[Kind] = field(default_factory=Counter)
    object_count: int = 0
    byte_count: int = 0
    keys: list[str] = field(default_factory=list)

    def add(self, garbage: Garbage) -> None:
        """Count a piece."""
        self.pieces[garbage.kind] += 1
        self.object_count += garbage.object_count
        self.byte_count += garbage.byte_count
        self.keys.append(garbage.key)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON-ready values."""
        return {**asdict(self), "pieces": dict(self.pieces)}


def collect_garbage(
    url: str,
    older_than_h: float = LEASE_H,
    *,
    is_dry: bool = False,
    has_unreferenced: bool = False,
    has_caches: bool = False,
    is_forced: bool = False,
) -> Collected:
    """Delete what nobody needs any more, with progress on standard error.

    Unreferenced are products that no run's record names; caches are features and tracks, which no record names and
    every new metric or operator may want. With either, no run may be going on in the store: what it has found committed
    and its records do not name yet is not told apart. ConfigError for a lease in which a worker may still be at work,
    unless forced.
    """
    if older_than_h < SHORTEST_LEASE_H and not is_forced:
        raise ConfigError(
            f"--older-than {older_than_h:g} hours may delete what a worker is writing; the shortest is "
            f"{SHORTEST_LEASE_H:g}. If no run uses this store now, add --force."
        )
    store = open_store(url)
    before = store_time(store) - older_than_h * _HOUR_S
    is_wanted = _wanted(store, has_unreferenced, has_caches)
    found = (garbage_in(store, folder, before, is_wanted) for folder in track(folders(store), "folders"))
    collected = Collected(is_dry, older_than_h)
    for garbage in chain(chain.from_iterable(found), probes(store, before)):
        if is_dry or collect(store, garbage):
            collected.add(garbage)
    return collected


def _wanted(store: Store, has_unreferenced: bool, has_caches: bool) -> IsWanted:
    """Return whether a product stays. Hashes, for there may be millions of paths; a collision keeps one too many."""
    if not (has_unreferenced or has_caches):
        return lambda product: True
    named = set()
    for _, key, record in track(recorded(store), "records"):
        if record is None:
            raise ConfigError(
                f"{store.url}/{key} is not the record of a scene; what it names is not known. Run again first."
            )
        named |= {hash(path) for path in record.paths}

    def is_wanted(product: AuditedProduct) -> bool:
        folder, *rest = product.path.split("/")
        kind = rest[1] if folder == SCENES_FOLDER and len(rest) > 1 else ""
        if kind in _CACHES:
            return not has_caches
        return kind not in _NAMED or not has_unreferenced or hash(product.path) in named

    return is_wanted
