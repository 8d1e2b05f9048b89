"""What nobody needs any more in a store: found by its age on the store's own clock, and deleted.

What no group file lists may be in progress, on a machine whose clock is wrong. So the age of what was begun is that of
the object in it that was written last, as the store says, at a moment that the store says: that of an object written
for the purpose. The clock of this machine is not looked at.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from lift3d.errors import DamagedProductError, StoreFullError
from lift3d.storage.audit import AuditedProduct, audit_listing, is_probe
from lift3d.storage.commit import committed, remove_product, withdraw
from lift3d.storage.layout import product_of
from lift3d.storage.location import Store
from lift3d.storage.objects import PARTIAL

IsWanted = Callable[[AuditedProduct], bool]
Kind = Literal["unfinished", "leftover", "probe", "partial", "product"]


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something to delete, of which ``keys`` are the objects where not all of a folder goes.

    It is a product that was begun and never finished, what is left in a product that is finished, a probe, a write to a
    disk that was never finished, or a product that no run names.
    """

    kind: Kind
    key: str
    object_count: int
    byte_count: int
    keys: tuple[str, ...] = ()


def store_time(store: Store) -> float:
    """Return what the clock of the store says now, in seconds since 1970: the age of an object just written."""
    folder = f"probe-{uuid.uuid4().hex}"
    try:
        store.write_bytes(f"{folder}/clock", b"now")
        return store.entries(folder)[f"{folder}/clock"].modified
    except StoreFullError:
        return _time_without_room(store)
    finally:
        store.delete_prefix(folder)


def _time_without_room(store: Store) -> float:
    """Return what the clock of a full store says: whoever deletes needs the room. Else a time that is not too late."""
    if "://" not in store.url:
        os.utime(store.url)
        return os.stat(store.url).st_mtime
    written = (info.modified for name in store.names() for info in store.entries(name).values())
    return max(written, default=0.0)


def probes(store: Store, before: float) -> Iterator[Garbage]:
    """Yield what somebody wrote, before a moment, only to see whether the store can be written."""
    for name in store.names():
        found = store.entries(name) if is_probe(name) else {}
        if found and all(info.modified < before for info in found.values()):
            yield Garbage("probe", name, len(found), sum(info.size for info in found.values()))


def garbage_in(
    store: Store, folder: str, before: float, is_wanted: IsWanted = lambda product: True
) -> Iterator[Garbage]:
    """Yield the garbage of a folder that was written before a moment by the store's clock, with one listing."""
    listing = store.entries(folder)
    for product in audit_listing(store, listing):
        yield from garbage_of(product, before, is_wanted)
    for key, info in listing.items():
        if key.endswith(PARTIAL) and info.modified < before and product_of(key) is None:
            yield Garbage("partial", key, 1, info.size)


def garbage_of(product: AuditedProduct, before: float, is_wanted: IsWanted = lambda product: True) -> Iterator[Garbage]:
    """Yield the garbage of one product. Of one whose group file cannot be read nothing is: any object may be its."""
    left = product.leftovers or {}
    if left and max(info.modified for info in left.values()) < before:
        kind: Kind = "unfinished" if product.verdict == "uncommitted" else "leftover"
        yield Garbage(kind, product.path, len(left), sum(info.size for info in left.values()), tuple(left))
    is_old = product.marked is not None and product.marked < before
    if product.verdict == "whole" and is_old and not is_wanted(product):
        yield Garbage("product", product.path, product.object_count, product.byte_count)


def collect(store: Store, garbage: Garbage) -> bool:
    """Delete a piece of garbage and say whether it was: what has become a product by now stays."""
    if garbage.kind == "product":
        remove_product(store, garbage.key)
        return True
    if garbage.kind not in ("unfinished", "leftover"):
        store.delete_prefix(garbage.key)
        return True
    try:
        commit = committed(store, garbage.key)
    except DamagedProductError:
        return False
    if commit is not None and garbage.kind == "unfinished":
        return False
    listed = set() if commit is None else {f"{garbage.key}/{key}" for key in commit.manifest.entries}
    for key in garbage.keys:
        if key not in listed:
            store.delete_prefix(key)
    if commit is None:
        _withdraw_what_was_hurt(store, garbage.key)
    return True


def _withdraw_what_was_hurt(store: Store, path: str) -> None:
    """Take back what was committed while its objects were deleted.

    Its writer woke up meanwhile. It looks for its objects after the group file, as this does for the group file after
    the objects, so that one of the two takes the group file back.
    """
    try:
        commit = committed(store, path)
    except DamagedProductError:
        return
    if commit is not None and not all(store.exists(f"{path}/{key}") for key in commit.manifest.entries):
        withdraw(store, path)
