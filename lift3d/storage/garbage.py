"""What nobody needs any more in a store: found by its age on the store's own clock, and deleted.

An attempt that no marker names may be in progress, on a machine whose clock is wrong. So the age of an
attempt is that of the object in it that was written last, as the store says, at a moment that the store
says: that of an object written for the purpose. The clock of this machine is not looked at.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from lift3d.errors import DamagedProductError
from lift3d.storage.audit import AuditedProduct, audit_listing, is_probe
from lift3d.storage.commit import committed, withdraw
from lift3d.storage.layout import ATTEMPTS_FOLDER, attempt_of
from lift3d.storage.location import Store
from lift3d.storage.objects import PARTIAL

IsWanted = Callable[[AuditedProduct], bool]
Kind = Literal["attempt", "probe", "partial", "product"]

# No worker sleeps for two days and is still expected back; below an hour, one that lifts a large scene may be at work.
LEASE_H = 48.0
SHORTEST_LEASE_H = 1.0


def every_product(product: AuditedProduct) -> bool:
    """Want every product that is whole."""
    return True


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something to delete.

    Attributes:
        kind: An attempt that no marker names, a probe, a write to a disk that was never finished, or a product that
            no run names.
        key: Folder, object or product.
        object_count: Objects in it.
        byte_count: Their bytes.
    """

    kind: Kind
    key: str
    object_count: int
    byte_count: int


def store_time(store: Store) -> float:
    """Return what the clock of the store says now, in seconds since 1970: the age of an object just written."""
    folder = f"probe-{uuid.uuid4().hex}"
    store.write_bytes(f"{folder}/clock", b"now")
    try:
        return store.entries(folder)[f"{folder}/clock"].modified
    finally:
        store.delete_prefix(folder)


def probes(store: Store, before: float) -> Iterator[Garbage]:
    """Yield what somebody wrote, before a moment, only to see whether the store can be written."""
    for name in store.names():
        found = store.entries(name) if is_probe(name) else {}
        if found and all(info.modified < before for info in found.values()):
            yield Garbage("probe", name, len(found), sum(info.size for info in found.values()))


def garbage_in(store: Store, folder: str, before: float, is_wanted: IsWanted = every_product) -> Iterator[Garbage]:
    """Yield the garbage of a folder, with one listing.

    Args:
        store: The store.
        folder: One of ``audit.folders``.
        before: What was written after this moment, by the clock of the store, is not garbage.
        is_wanted: Whether a product that is whole is to stay.
    """
    listing = store.entries(folder)
    loose = set()
    for product in audit_listing(store, listing):
        loose |= {leftover.attempt for leftover in product.leftovers}
        yield from garbage_of(product, before, is_wanted)
    for key, info in listing.items():
        if key.endswith(PARTIAL) and info.modified < before and attempt_of(key) not in loose:
            yield Garbage("partial", key, 1, info.size)


def garbage_of(product: AuditedProduct, before: float, is_wanted: IsWanted = every_product) -> Iterator[Garbage]:
    """Yield the garbage of one product. Of one whose marker cannot be read nothing is: any attempt may be it."""
    for leftover in product.leftovers:
        if leftover.modified < before:
            yield Garbage("attempt", leftover.folder, leftover.object_count, leftover.byte_count)
    is_old = product.marked is not None and product.marked < before
    if product.verdict == "whole" and is_old and not is_wanted(product):
        yield Garbage("product", product.path, product.object_count, product.byte_count)


def collect(store: Store, garbage: Garbage) -> bool:
    """Delete a piece of garbage and say whether it was: an attempt that has become the product by now stays."""
    if garbage.kind == "product":
        withdraw(store, garbage.key)
        return True
    if garbage.kind != "attempt":
        store.delete_prefix(garbage.key)
        return True
    product, attempt = garbage.key.rsplit(f"/{ATTEMPTS_FOLDER}/", 1)
    if _may_be_product(store, product, attempt):
        return False
    store.delete_prefix(garbage.key)
    # Its writer may have woken up meanwhile; it looks for its objects after the marker, as this does for the marker
    # after the objects, so that one of the two takes the marker back.
    if _may_be_product(store, product, attempt):
        withdraw(store, product)
    return True


def _may_be_product(store: Store, product: str, attempt: str) -> bool:
    try:
        commit = committed(store, product)
    except DamagedProductError:
        return True
    return commit is not None and commit.attempt == attempt
