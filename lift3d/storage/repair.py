"""What becomes of a product that is found damaged: it is taken back, and whoever needs it computes what is missing."""

from collections.abc import Callable
from typing import TypeVar

from lift3d.errors import DamagedProductError
from lift3d.storage.commit import committed, read_entry, remove_product, withdraw
from lift3d.storage.layout import part_path
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry

Outcome = TypeVar("Outcome")


def repaired(store: Store, work: Callable[[], Outcome]) -> Outcome:
    """Do work that reads products and makes those that are missing; do it again where it finds one damaged.

    DamagedProductError if a product is found damaged for a second time.
    """
    retracted: set[str] = set()
    doubted: set[str] = set()
    while True:
        try:
            return work()
        except DamagedProductError as error:
            path = error.product
            if path is None or path in retracted:
                raise
            if path in doubted:
                # Its bytes are those that were committed, and what they say is none of ours.
                remove_product(store, path)
                retracted.add(path)
            else:
                (retracted if retract(store, path) else doubted).add(path)


def retract(store: Store, path: str) -> bool:
    """Take back a product that is damaged, so that it is computed again, and say whether it was. Safe beside others.

    Its bytes are compared first: what another worker has replaced by now, and so is whole, stays. Parts of it that are
    whole are recorded as finished; of the others the next writer overwrites what does not decode.
    """
    try:
        commit = committed(store, path)
    except DamagedProductError:
        withdraw(store, path)
        return True
    if commit is None:
        return False
    manifest = commit.manifest
    damaged = [key for key, entry in manifest.entries.items() if not _is_whole(store, path, key, entry)]
    if not damaged:
        return False
    for number, part in enumerate(manifest.parts):
        if not part.objects.keys() & set(damaged):
            store.create_bytes(part_path(path, number), manifest.part_record(number).to_bytes())
    withdraw(store, path)
    return True


def _is_whole(store: Store, path: str, key: str, entry: Entry) -> bool:
    try:
        read_entry(store, path, key, entry)
    except DamagedProductError:
        return False
    return True
