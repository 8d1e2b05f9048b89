"""The commit protocol: a product is there only through its marker, and a marker is written once.

1. Everything is written below a private ``attempts/ATTEMPT/``, which no other process ever touches.
2. ``MANIFEST.json`` in that folder lists every key with its size and CRC-32C, and the product's attributes.
3. ``COMMIT.json``, created only if absent, names the attempt and the digest of its manifest.

Readers enter through the marker alone. A worker that dies at any point leaves either nothing visible or all
of it; of two workers that finish the same product one wins, and the other adopts the winner's. An attempt's
name is a fresh random id, so it is also the identity of the write: a marker that names it is our own
success, whatever the response to our request was (it may have been lost and the request repeated).

Some services check a create-only write before its body arrives, so that writers within the same moment all
succeed and the last one's marker stands (OpenStack Swift; seen with eight of eight). Nothing above depends
on it: every marker names a whole attempt, and of an attempt that is young only its writer deletes anything,
after the service refused its marker.

An old attempt may be collected as garbage (``garbage.py``) while its writer sleeps. The writer looks for the
object that it wrote first after it has written the marker, the collector looks for the marker after it has
deleted the objects: whoever comes second sees what the other did, and takes the marker back.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from lift3d.errors import DamagedProductError, ProductMissingError, StoreUnavailableError
from lift3d.storage.layout import MANIFEST_FILE, attempt_path, commit_path, product_of
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry, Manifest, to_json

Step = Literal["begun", "filling", "filled", "manifest", "marker"]
STEPS: tuple[Step, ...] = ("begun", "filling", "filled", "manifest", "marker")

StepHook = Callable[[Step], None]
Read = TypeVar("Read")

# A marker that was damaged must not name a folder elsewhere: what it holds becomes part of a key.
_ATTEMPT = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def ignore_step(step: Step) -> None:
    """Do nothing after a step; tests put the death of the process here."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The marker of a product that is there.

    Attributes:
        path: The product.
        attempt: The attempt that counts.
        manifest_sha256: Digest of that attempt's manifest.
        is_own: Whether the call that returned this wrote it; False for a reader and for who adopted a winner.
    """

    path: str
    attempt: str
    manifest_sha256: str
    is_own: bool = False

    @property
    def folder(self) -> str:
        """The attempt's folder in the store."""
        return attempt_path(self.path, self.attempt)


def new_attempt() -> str:
    """Return the name of a new private attempt."""
    return uuid.uuid4().hex


def commit_attempt(store: Store, path: str, manifest: Manifest, at_step: StepHook = ignore_step) -> Commit:
    """Make an attempt the product, or adopt the one that was faster.

    Args:
        store: Where everything listed in the manifest already lies.
        path: The product.
        manifest: What the attempt consists of.
        at_step: Called after the manifest and after the marker are written.

    Returns:
        The marker that counts. If another's stood first, this attempt's files are deleted.

    Raises:
        DamagedProductError: If another's marker stands and is damaged.
        StoreUnavailableError: If the store does not answer, calling again is safe; or if this attempt slept so long
            that it was collected as garbage, then a new one is needed.
    """
    content = manifest.to_bytes()
    own = Commit(path, manifest.attempt, hashlib.sha256(content).hexdigest(), is_own=True)
    store.write_bytes(f"{own.folder}/{MANIFEST_FILE}", content)
    at_step("manifest")
    is_created = store.create_bytes(commit_path(path), _marker(own))
    at_step("marker")
    winner = committed(store, path)
    if winner is None:
        raise StoreUnavailableError(f"{store.url}/{path} has a commit marker that cannot be read back. Try again.")
    if winner.attempt == own.attempt:
        _require_kept(store, own, manifest)
        return own
    if not is_created:
        store.delete_prefix(own.folder)
    return winner


def committed(store: Store, path: str) -> Commit | None:
    """Return the marker of a product, or None if the product is not there. One small read, no listing.

    It says nothing of the objects behind it: whoever reads those compares them with the manifest.

    Raises:
        DamagedProductError: If the marker is damaged.
        StoreUnavailableError: If the store does not answer.
    """

    def marker() -> Commit:
        try:
            fields = json.loads(store.read_bytes(commit_path(path)))
            attempt, sha256 = fields["attempt"], fields["manifest_sha256"]
            if _ATTEMPT.fullmatch(attempt) and _SHA256.fullmatch(sha256):
                return Commit(path, attempt, sha256)
        except (ValueError, TypeError, KeyError) as error:
            raise _damaged(store, commit_path(path), "is not a commit marker") from error
        raise _damaged(store, commit_path(path), "is not a commit marker")

    try:
        return _twice(marker)
    except ProductMissingError:
        return None


def require_commit(store: Store, path: str) -> Commit:
    """Return the marker of a product.

    Raises:
        ProductMissingError: If the product was never committed.
        DamagedProductError: If the marker is damaged.
    """
    commit = committed(store, path)
    if commit is None:
        raise ProductMissingError(
            f"There is no committed product at {store.url}/{path}. Compute it first (a run resumes where it stopped)."
        )
    return commit


def read_manifest(store: Store, commit: Commit) -> Manifest:
    """Return what a committed attempt consists of.

    Raises:
        DamagedProductError: If the manifest is missing or is not the one that was committed.
    """
    key = f"{commit.folder}/{MANIFEST_FILE}"

    def manifest() -> Manifest:
        try:
            content = store.read_bytes(key)
        except ProductMissingError as error:
            raise _damaged(store, key, "is missing") from error
        if hashlib.sha256(content).hexdigest() != commit.manifest_sha256:
            raise _damaged(store, key, "is not the manifest that was committed")
        return Manifest.from_bytes(content)

    return _twice(manifest)


def read_entry(store: Store, folder: str, key: str, entry: Entry, span: tuple[int, int] | None = None) -> bytes:
    """Return an object of an attempt, or a part of one, checked against its manifest entry.

    Args:
        store: The store.
        folder: The folder that the manifest's keys are relative to.
        key: The object's key below that folder.
        entry: What the manifest says of it.
        span: First byte and the byte after the last, within the object. A part is checked by its length only.

    Raises:
        DamagedProductError: If it is missing, of another size, or (read whole) different in any bit, two times.
    """
    full = f"{folder}/{key}"
    start, end = span or (0, entry.size)
    is_whole = (start, end) == (0, entry.size)

    def content() -> bytes:
        try:
            found = store.read_bytes(full) if is_whole else store.read_bytes(full, start, end)
        except ProductMissingError as error:
            raise _damaged(store, full, "is missing") from error
        if len(found) != end - start or (is_whole and Entry.of(found) != entry):
            raise _damaged(store, full, f"does not hold the {entry.size} bytes that were committed")
        return found

    return _twice(content)


def verify(store: Store, path: str, checksums: bool = False) -> Commit:
    """Check that a product is whole.

    Args:
        store: The store.
        path: The product.
        checksums: Read everything and compare checksums; without it one listing compares names and sizes.

    Raises:
        ProductMissingError: If the product was never committed.
        DamagedProductError: If something is missing or differs; names the key.
    """
    commit = require_commit(store, path)
    manifest = read_manifest(store, commit)
    if checksums:
        for key, entry in manifest.entries.items():
            read_entry(store, commit.folder, key, entry)
        return commit
    sizes = store.sizes(commit.folder)
    for key, entry in manifest.entries.items():
        full = f"{commit.folder}/{key}"
        if sizes.get(full) != entry.size:
            raise _damaged(store, full, f"has size {sizes.get(full)}, committed were {entry.size} bytes")
    return commit


def withdraw(store: Store, path: str) -> None:
    """Delete a product's marker and then the attempt that it names, nothing else; no reader sees it half gone."""
    try:
        commit = committed(store, path)
    except DamagedProductError:
        commit = None
    store.delete_prefix(commit_path(path))
    if commit is not None:
        store.delete_prefix(commit.folder)


def remove_product(store: Store, path: str) -> None:
    """Delete everything under a product's path, the marker first. Only for products that nobody is writing."""
    store.delete_prefix(commit_path(path))
    store.delete_prefix(path)


def _twice(read: Callable[[], Read]) -> Read:
    """Read once more what did not come as it was committed: bytes are hurt on their way, too."""
    try:
        return read()
    except DamagedProductError:
        return read()


def _require_kept(store: Store, own: Commit, manifest: Manifest) -> None:
    first = next(iter(manifest.entries), None)
    if first is None or store.exists(f"{own.folder}/{first}"):
        return
    withdraw(store, own.path)
    raise StoreUnavailableError(
        f"The attempt {store.url}/{own.folder} was idle for so long that it was collected as garbage. "
        f"Run again; give 'lift3d gc' an --older-than that is longer than a worker may sleep."
    )


def _marker(commit: Commit) -> bytes:
    return to_json({"attempt": commit.attempt, "manifest_sha256": commit.manifest_sha256})


def _damaged(store: Store, key: str, what: str) -> DamagedProductError:
    product = product_of(key)
    return DamagedProductError(
        f"{store.url}/{key} {what}. Delete the product {store.url}/{product} and run again; "
        f"'lift3d fsck {store.url} --repair' deletes all that are damaged.",
        product=product,
    )
