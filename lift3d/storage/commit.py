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
on it: every marker names a whole attempt, and an attempt is deleted by its writer only, after the service
refused its marker.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import google_crc32c

from lift3d.errors import ProductMissingError, StoreError, StoreLayoutError, StoreUnavailableError
from lift3d.storage.layout import ATTEMPTS_FOLDER, COMMIT_FILE, MANIFEST_FILE, attempt_path, commit_path
from lift3d.storage.location import Store

Step = Literal["begun", "filling", "filled", "manifest", "marker"]
STEPS: tuple[Step, ...] = ("begun", "filling", "filled", "manifest", "marker")

StepHook = Callable[[Step], None]


def ignore_step(step: Step) -> None:
    """Do nothing after a step; tests put the death of the process here."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a stored object must look like: size in bytes and CRC-32C of its content."""

    size: int
    crc32c: int

    @classmethod
    def of(cls, content: bytes) -> "Entry":
        """Describe the content of an object."""
        return cls(len(content), int(google_crc32c.value(content)))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an attempt consists of.

    Attributes:
        attempt: Name of the private folder.
        entries: Objects by their key below that folder, the manifest itself left out.
        attrs: The product's attributes, JSON.
    """

    attempt: str
    entries: Mapping[str, Entry]
    attrs: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the manifest as canonical JSON.

        Raises:
            StoreLayoutError: If the attributes are not plain JSON (NaN is not).
        """
        content = {
            "attempt": self.attempt,
            "entries": {key: [entry.size, entry.crc32c] for key, entry in self.entries.items()},
            "attrs": self.attrs,
        }
        return to_json(content)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Manifest":
        """Parse what ``to_bytes`` wrote."""
        fields = json.loads(content)
        entries = {key: Entry(*pair) for key, pair in fields["entries"].items()}
        return cls(fields["attempt"], entries, fields["attrs"])


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
        StoreUnavailableError: If the store does not answer; calling again is safe.
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
        return own
    if not is_created:
        store.delete_prefix(own.folder)
    return winner


def committed(store: Store, path: str) -> Commit | None:
    """Return the marker of a product, or None if the product is not there. One small read, no listing.

    Raises:
        StoreError: If the marker is damaged.
        StoreUnavailableError: If the store does not answer or refuses.
    """
    try:
        content = store.read_bytes(commit_path(path))
    except ProductMissingError:
        return None
    try:
        fields = json.loads(content)
        return Commit(path, fields["attempt"], fields["manifest_sha256"])
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(store, commit_path(path), "is not a commit marker") from error


def require_commit(store: Store, path: str) -> Commit:
    """Return the marker of a product that must be there.

    Raises:
        ProductMissingError: If it is not.
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
        StoreError: If the manifest is missing or is not the one that was committed.
    """
    key = f"{commit.folder}/{MANIFEST_FILE}"
    try:
        content = store.read_bytes(key)
    except ProductMissingError as error:
        raise _damaged(store, key, "is missing") from error
    if hashlib.sha256(content).hexdigest() != commit.manifest_sha256:
        raise _damaged(store, key, "is not the manifest that was committed")
    return Manifest.from_bytes(content)


def read_entry(store: Store, folder: str, key: str, entry: Entry, span: tuple[int, int] | None = None) -> bytes:
    """Return an object of an attempt, or a part of one, checked against its manifest entry.

    Args:
        store: The store.
        folder: The folder that the manifest's keys are relative to.
        key: The object's key below that folder.
        entry: What the manifest says of it.
        span: First byte and the byte after the last, within the object. A part is checked by its length only.

    Raises:
        StoreError: If it is missing, of another size, or (read whole) different in any bit.
    """
    full = f"{folder}/{key}"
    start, end = span or (0, entry.size)
    is_whole = (start, end) == (0, entry.size)
    try:
        content = store.read_bytes(full) if is_whole else store.read_bytes(full, start, end)
    except ProductMissingError as error:
        raise _damaged(store, full, "is missing") from error
    if len(content) != end - start or (is_whole and Entry.of(content) != entry):
        raise _damaged(store, full, f"does not hold the {entry.size} bytes that were committed")
    return content


def verify(store: Store, path: str, checksums: bool = False) -> Commit:
    """Check that a product is whole.

    Args:
        store: The store.
        path: The product.
        checksums: Read everything and compare checksums; without it one listing compares names and sizes.

    Raises:
        ProductMissingError: If the product was never committed.
        StoreError: If something is missing or differs; names the key.
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


def remove_product(store: Store, path: str) -> None:
    """Delete a product, the marker first, so that no reader sees it half gone."""
    store.delete_prefix(commit_path(path))
    store.delete_prefix(path)


def discard_attempts(store: Store, path: str) -> int:
    """Delete what dead workers left behind and return how many attempts that were.

    Only for products that nobody is writing at the moment: an attempt in progress looks the same.
    """
    commit = committed(store, path)
    start = len(f"{path}/{ATTEMPTS_FOLDER}/")
    attempts = {key[start:].split("/")[0] for key in store.list(f"{path}/{ATTEMPTS_FOLDER}")}
    stale = attempts - ({commit.attempt} if commit else set())
    for attempt in sorted(stale):
        store.delete_prefix(attempt_path(path, attempt))
    return len(stale)


def to_json(content: Any) -> bytes:
    """Return content as JSON with sorted keys.

    Raises:
        StoreLayoutError: If it is not plain JSON.
    """
    try:
        return json.dumps(content, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise StoreLayoutError(
            f"Attributes and documents are plain JSON with finite numbers: {error}. Write None for a missing number."
        ) from error


def _marker(commit: Commit) -> bytes:
    return to_json({"attempt": commit.attempt, "manifest_sha256": commit.manifest_sha256})


def _damaged(store: Store, key: str, what: str) -> StoreError:
    product = key.split(f"/{ATTEMPTS_FOLDER}/")[0].removesuffix(f"/{COMMIT_FILE}")
    return StoreError(f"{store.url}/{key} {what}. Delete the product {store.url}/{product} and run again.")
