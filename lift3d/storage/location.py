"""The one door to the object store: URLs, environment, retries, and the translation of every low-level error.

Local folders, ``memory://`` and ``s3://`` (``gs://`` and ``az://`` where their packages are installed) look
the same: whole objects under relative keys, created atomically. Nothing else in lift3d talks to fsspec.
"""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lift3d.errors import (
    Lift3dError,
    ProductMissingError,
    StoreError,
    StoreLayoutError,
    StoreUnavailableError,
)
from lift3d.storage import layout
from lift3d.storage.backends import (
    LOW_LEVEL_ERRORS,
    filesystem,
    is_beyond_end,
    is_conflict,
    parse_url,
    retrying,
    split_url,
)

_PARTIAL = ".partial"

# fsspec's memory filesystem checks for existence and then writes; this makes the pair one step.
_memory_lock = threading.Lock()


class Store:
    """Objects under one root URL. Not a cache and not a filesystem: no state but the URL, so it pickles.

    Keys are relative, with forward slashes. Every write is atomic: a reader sees all of an object or none.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self._scheme, self._root = split_url(self.url)

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.url,)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def url_of(self, key: str) -> str:
        """Return the URL of an object or folder."""
        return f"{self.url}/{_checked(key)}"

    def read_bytes(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return an object, or its bytes from ``start`` to ``end``, fewer if it ends before.

        Raises:
            ProductMissingError: If there is no such object.
            StoreUnavailableError: If the store does not answer or refuses.
        """
        with self._translated(key):
            try:
                return bytes(self._call("cat_file", key, start=start, end=end))
            except LOW_LEVEL_ERRORS as error:
                if is_beyond_end(error):
                    return b""
                raise

    def write_bytes(self, key: str, content: bytes) -> None:
        """Write an object, replacing what was there.

        Raises:
            StoreUnavailableError: If the store does not answer or refuses.
        """
        with self._translated(key, is_write=True):
            if self._scheme == "file":
                retrying(_write_local)(self._path(key), content, False)
            else:
                self._call("pipe_file", key, content)

    def create_bytes(self, key: str, content: bytes) -> bool:
        """Write an object only if there is none, and say whether this call is known to have written it.

        False may be our own success: a lost response is tried again and then finds the object. Who must know
        reads it back and compares.

        Raises:
            StoreUnavailableError: If the store does not answer or refuses.
        """
        with self._translated(key, is_write=True):
            try:
                if self._scheme == "file":
                    retrying(_write_local)(self._path(key), content, True)
                elif self._scheme == "memory":
                    with _memory_lock:
                        self._call("pipe_file", key, content, mode="create")
                else:
                    self._call("pipe_file", key, content, mode="create")
            except LOW_LEVEL_ERRORS as error:
                if is_conflict(error):
                    return False
                raise
        return True

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key.

        Raises:
            StoreUnavailableError: If the store does not answer or refuses.
        """
        with self._translated(key):
            try:
                # Not ``isfile``: fsspec's answers False when the store does not answer at all.
                return bool(self._call("info", key)["type"] == "file")
            except FileNotFoundError:
                return False

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the objects below a folder, key to size in bytes; empty if there is no such folder."""
        with self._translated(prefix):
            found = self._call("find", prefix, detail=True)
        strip = len(self._root) + 1
        return {
            name[strip:]: int(entry["size"])
            for name, entry in sorted(found.items())
            if not name.endswith(_PARTIAL) and entry["type"] == "file"
        }

    def list(self, prefix: str) -> list[str]:
        """Return the keys of all objects below a folder."""
        return [*self.sizes(prefix)]

    def delete_prefix(self, prefix: str) -> None:
        """Delete a folder with everything in it; nothing happens if there is none."""
        if not prefix.strip("/"):
            raise StoreLayoutError("Refusing to delete the root of a store; give a folder inside it.")
        with self._translated(prefix):
            try:
                self._call("rm", prefix, recursive=True)
            except FileNotFoundError:
                return

    def _call(self, method: str, key: str, *args: Any, **kwargs: Any) -> Any:
        call: Callable[..., Any] = retrying(getattr(filesystem(self._scheme), method))
        return call(self._path(key), *args, **kwargs)

    def _path(self, key: str) -> str:
        return f"{self._root}/{_checked(key)}"

    @contextmanager
    def _translated(self, key: str, is_write: bool = False) -> Iterator[None]:
        try:
            yield
        except Lift3dError:
            raise
        except FileNotFoundError as error:
            if is_write:
                raise StoreUnavailableError(
                    f"Cannot write {self.url}/{key}: the bucket or folder does not exist. Create it or correct the URL."
                ) from error
            raise ProductMissingError(
                f"{self.url}/{key} is missing. Compute it first, or check the store's URL."
            ) from error
        except LOW_LEVEL_ERRORS as error:
            verb = "write" if is_write else "read"
            raise StoreUnavailableError(
                f"Cannot {verb} {self.url}/{key}: {type(error).__name__}: {error}. "
                f"Check the URL, the credentials in the environment and the network, then try again."
            ) from error


def open_store(url: str, create: bool = False) -> Store:
    """Open a store of the current layout.

    Args:
        url: A local path, ``file://``, ``memory://`` or ``s3://BUCKET/PREFIX``. Credentials and the endpoint
            of an S3-compatible service come from the environment (``AWS_ENDPOINT_URL``), never from the URL.
        create: Prove that the store can be written, and make it if it is new.

    Raises:
        ConfigError: If the URL has another scheme, a chain of schemes, or credentials in it.
        StoreUnavailableError: If the store does not answer, or refuses to be written with ``create``.
        StoreLayoutError: If there is no store or one of another layout.
        StoreError: If the store lets a create-only write replace an object; commits would not be safe.
    """
    store = Store(url)
    if create:
        _probe(store)
        store.create_bytes(layout.STORE_FILE, layout.store_header())
    try:
        header = store.read_bytes(layout.STORE_FILE)
    except ProductMissingError as error:
        raise StoreLayoutError(
            f"There is no lift3d store at {store.url}: {layout.STORE_FILE} is missing. "
            f"Check the URL, or run something with this store first."
        ) from error
    layout.check_store_header(header, store.url)
    return store


def _probe(store: Store) -> None:
    # Create-only writes are what commits stand on, and not every S3-compatible service has them.
    key = f"probe-{uuid.uuid4().hex}"
    store.create_bytes(key, b"first")
    is_replaced = store.create_bytes(key, b"second")
    store.delete_prefix(key)
    if is_replaced:
        raise StoreError(
            f"The store {store.url} ignores create-only writes (If-None-Match), "
            f"so two workers could both commit. Use a service that honours them."
        )


def _checked(key: str) -> str:
    segments = key.split("/")
    if "" in segments or "." in segments or ".." in segments or "\\" in key or "\0" in key:
        raise StoreLayoutError(f"Store keys are relative paths of plain segments, got '{key}'.")
    return key


def _write_local(path: str, content: bytes, is_exclusive: bool) -> None:
    # A crash must leave nothing or everything: write beside, then link (fails if taken) or rename (replaces).
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid.uuid4().hex}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            if is_exclusive:
                file.flush()
                os.fsync(file.fileno())
        if is_exclusive:
            os.link(partial, target)
        else:
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
