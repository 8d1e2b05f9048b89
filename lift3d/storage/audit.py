"""A walk through a store: which products are whole, which are damaged, and what dead workers left behind.

One listing per scene, compared with group files; memory is that of one scene's keys. Nothing is
changed here, so it may run beside a run: a product that seems damaged is looked at once more before it is.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from lift3d.errors import DamagedProductError
from lift3d.storage.commit import Commit, committed, read_entry
from lift3d.storage.layout import README_FILE, RUNS_FOLDER, SCENES_FOLDER, STORE_FILE, group_path, product_of
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry
from lift3d.storage.objects import PARTIAL, ObjectInfo

Listing = Mapping[str, ObjectInfo]
Verdict = Literal["whole", "damaged", "uncommitted", "missing"]

# Requests are waited for, not computed; a store answers so many at a time from one client without slowing down.
_PRODUCTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class AuditedProduct:
    """What was found of one product: ``uncommitted`` is begun and not finished, ``missing`` not begun.

    ``marked`` is when the group file was written, by the store's clock; ``damage`` says of every object that is not
    what was committed; ``leftovers`` no group file lists (None if it cannot be read).
    """

    path: str
    verdict: Verdict
    object_count: int = 0
    byte_count: int = 0
    marked: float | None = None
    damage: tuple[str, ...] = ()
    leftovers: Mapping[str, ObjectInfo] | None = None


def folders(store: Store) -> list[str]:
    """Return the folders that products lie in, each small enough for one listing: scenes, and runs."""
    found = []
    for name in store.names():
        if name in (SCENES_FOLDER, RUNS_FOLDER):
            found += [f"{name}/{child}" for child in store.names(name)]
        elif name not in (STORE_FILE, README_FILE) and not is_probe(name) and not name.endswith(PARTIAL):
            found.append(name)
    return found


def is_probe(name: str) -> bool:
    """Whether an object in the root is one that somebody wrote only to see whether it can be written."""
    return name.startswith("probe-")


def audit_folder(store: Store, folder: str, checksums: bool = False) -> Iterator[AuditedProduct]:
    """Audit every product of a folder, with one listing."""
    return audit_listing(store, store.entries(folder), checksums)


def audit_listing(store: Store, listing: Listing, checksums: bool = False) -> Iterator[AuditedProduct]:
    """Audit every product of a listing."""
    by_product: dict[str, dict[str, ObjectInfo]] = {}
    for key, info in listing.items():
        path = product_of(key)
        if path is not None:
            by_product.setdefault(path, {})[key] = info
    with ThreadPoolExecutor(_PRODUCTS_AT_ONCE) as pool:
        yield from pool.map(lambda path: audit_product(store, path, checksums, by_product[path]), by_product)


def audit_product(store: Store, path: str, checksums: bool = False, listing: Listing | None = None) -> AuditedProduct:
    """Audit one product, by its known path if no listing is given."""
    if listing is not None:
        found = _examined(store, path, checksums, listing)
        if not found.damage:
            return found
    # A worker may have replaced the product since it was listed.
    return _examined(store, path, checksums, store.entries(path))


def _examined(store: Store, path: str, checksums: bool, listing: Listing) -> AuditedProduct:
    marker = listing.get(group_path(path))
    marked = marker.modified if marker else None
    try:
        commit = committed(store, path)
    except DamagedProductError:
        of_group = f"{group_path(path)} is not the group file that was committed"
        return AuditedProduct(path, "damaged", marked=marked, damage=(of_group,))
    if commit is None:
        return AuditedProduct(path, "uncommitted" if listing else "missing", leftovers=listing)
    known = {group_path(path), *(f"{path}/{key}" for key in commit.manifest.entries)}
    damage = tuple(_damage(store, commit, checksums, listing))
    own = [info.size for key, info in listing.items() if key in known]
    leftovers = {key: info for key, info in listing.items() if key not in known}
    return AuditedProduct(path, "damaged" if damage else "whole", len(own), sum(own), marked, damage, leftovers)


def _damage(store: Store, commit: Commit, checksums: bool, listing: Listing) -> Iterator[str]:
    for key, entry in commit.manifest.entries.items():
        full = f"{commit.path}/{key}"
        info = listing.get(full)
        if info is not None and info.size == entry.size and not checksums:
            continue
        # Listings may lag behind (OpenStack Swift's do): what they say is believed when a read says so, too.
        try:
            read_entry(store, commit.path, key, entry)
        except DamagedProductError:
            yield f"{full} {_difference(info, entry)}"


def _difference(info: ObjectInfo | None, entry: Entry) -> str:
    if info is None:
        return "is missing"
    if info.size != entry.size:
        return f"has {info.size} bytes, {entry.size} were committed"
    return "does not hold the bytes that were committed (CRC-32 differs)"
