"""The commit protocol of docs/store.md: a product is there only through its group file, written last and once.

A worker that dies leaves either nothing visible or all of it, and what it finished is found by the next. Of two that
finish one product one wins, and the other adopts its group file, which a fresh random ``write_id`` tells from our own,
whatever the response to our request was (it may have been lost and the request repeated).

What was begun long ago may be collected as garbage (``garbage.py``) while its writer sleeps. The writer looks for every
object that may be so old after it has written the group file, the collector looks for the group file after it has
deleted the objects: whoever comes second sees what the other did, and takes the group file back.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from lift3d.errors import DamagedProductError, ProductMissingError, StoreUnavailableError
from lift3d.storage.layout import PARTS_FOLDER, group_path, part_path
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry, Manifest, Part

Step = Literal["begun", "filling", "part", "filled", "marker"]
STEPS: tuple[Step, ...] = ("begun", "filling", "part", "filled", "marker")

StepHook = Callable[[Step], None]
Read = TypeVar("Read")

# Requests are waited for, not computed.
_REQUESTS_AT_ONCE = 8
# What is younger no collector takes for garbage.
SHORTEST_LEASE_S = 3600.0
# A writer that is done sooner need not look for what it created itself. Half, for the clocks are different ones.
SURE_S = SHORTEST_LEASE_S / 2


def ignore_step(step: Step) -> None:
    """Do nothing after a step; tests put the death of the process here."""


@dataclass(frozen=True, slots=True)
class Work:
    """When a writer began, by two clocks, and which objects of the product were there before it wrote them."""

    began: tuple[float, float] = field(default_factory=lambda: (time.monotonic(), time.time()))
    adopted: set[str] = field(default_factory=set)

    def unsure_of(self, keys: Iterable[str]) -> list[str]:
        """Return which objects may be so old that they were collected meanwhile."""
        # Of a machine that slept one clock may have stood still, and one may be set back: the longer time counts.
        elapsed = max(now - then for now, then in zip((time.monotonic(), time.time()), self.began, strict=True))
        return [key for key in keys if elapsed > SURE_S or key in self.adopted]


@dataclass(frozen=True, slots=True)
class Commit:
    """A product that is there; ``is_own`` if this call committed it, rather than read it or adopt a winner's."""

    path: str
    manifest: Manifest
    is_own: bool = False


def publish(store: Store, path: str, manifest: Manifest, work: Work, at_step: StepHook = ignore_step) -> Commit:
    """Make what is written the product, or adopt the product of whoever was faster. Records of parts stay.

    StoreUnavailableError if this worker slept so long that what it wrote was collected as garbage, too.
    """
    store.create_bytes(group_path(path), manifest.to_bytes())
    at_step("marker")
    winner = committed(store, path)
    if winner is None:
        raise StoreUnavailableError(f"{store.url}/{path} has a group file that cannot be read back. Try again.")
    is_own = winner.manifest.write_id == manifest.write_id
    if is_own:
        _require_kept(store, winner, work)
    return Commit(path, winner.manifest, is_own)


def committed(store: Store, path: str) -> Commit | None:
    """Return the product at a path, or None if it is not there. One small read, no listing.

    It says nothing of the objects behind it: whoever reads those compares them with the manifest. DamagedProductError
    if the group file is damaged, StoreUnavailableError if the store does not answer.
    """
    key = group_path(path)

    def manifest() -> Manifest:
        content = store.read_text(key)
        try:
            return Manifest.from_bytes(content)
        except ValueError as error:
            raise damaged(store, path, key, f"is not the group file that was committed ({error})") from error

    try:
        return Commit(path, twice(manifest))
    except ProductMissingError:
        return None


def finished_part(store: Store, path: str, number: int) -> Part | None:
    """Return the record of a part of a product that is not committed yet; None if it is not done, or not there."""
    try:
        part = Part.from_bytes(store.read_text(part_path(path, number)))
    except (ProductMissingError, ValueError):
        return None
    return part if _are_there(store, path, part.objects) else None


def read_entry(store: Store, path: str, key: str, entry: Entry, span: tuple[int, int] | None = None) -> bytes:
    """Return an object of a product, checked against its manifest entry, or a span of its bytes, whose length is.

    DamagedProductError if it is missing, of another size, or (read whole) different in any bit, two times.
    """
    full = f"{path}/{key}"
    start, end = span or (0, entry.size)
    is_whole = (start, end) == (0, entry.size)

    def content() -> bytes:
        try:
            found = store.read_bytes(full) if is_whole else store.read_bytes(full, start, end)
        except ProductMissingError as error:
            raise damaged(store, path, full, "is missing") from error
        if len(found) != end - start or (is_whole and Entry.of(found) != entry):
            raise damaged(store, path, full, f"does not hold the {entry.size} bytes that were committed")
        return found

    return twice(content)


def forget_parts(store: Store, path: str) -> None:
    """Delete the records of the parts of a product, not the parts."""
    store.delete_prefix(f"{path}/{PARTS_FOLDER}")


def withdraw(store: Store, path: str) -> None:
    """Take back a commit: the product is not there any more. Its objects stay for whoever makes it again."""
    store.delete_prefix(group_path(path))


def remove_product(store: Store, path: str) -> None:
    """Delete everything under a product's path, the group file first. Only for products that nobody is writing."""
    withdraw(store, path)
    store.delete_prefix(path)


def twice(read: Callable[[], Read]) -> Read:
    """Read once more what did not come as it was committed: bytes are hurt on their way, too."""
    try:
        return read()
    except DamagedProductError:
        return read()


def _are_there(store: Store, path: str, keys: Iterable[str]) -> bool:
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        return all(pool.map(lambda key: store.exists(f"{path}/{key}"), keys))


def _require_kept(store: Store, own: Commit, work: Work) -> None:
    if _are_there(store, own.path, work.unsure_of(own.manifest.entries)):
        return
    withdraw(store, own.path)
    forget_parts(store, own.path)
    raise StoreUnavailableError(
        f"The writer of {store.url}/{own.path} was idle for so long that what it wrote was collected as garbage. "
        f"Run again; give 'lift3d gc' an --older-than that is longer than a worker may sleep."
    )


def damaged(store: Store, path: str, key: str, what: str) -> DamagedProductError:
    """Return the error of a product an object of which is not what was committed; ``what`` ends the sentence."""
    return DamagedProductError(
        f"{store.url}/{key} {what}. Delete the product {store.url}/{path} and run again; "
        f"'lift3d fsck {store.url} --repair' takes back all that are damaged.",
        product=path,
    )
