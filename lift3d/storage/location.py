"""The one door to the object store: URLs, environment, retries, and the translation of every low-level error.

Local folders, ``memory://`` and ``s3://`` look the same: whole objects under relative keys, created atomically.
Nothing else in lift3d talks to fsspec.
"""

import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from lift3d.errors import ProductMissingError, StoreError, StoreLayoutError, StoreRefusedError
from lift3d.storage import layout
from lift3d.storage.backends import parse_url, perform, split_url
from lift3d.storage.error_translation import translated
from lift3d.storage.low_level_errors import Meaning, low_level_errors, meaning_of
from lift3d.storage.objects import PARTIAL, ObjectInfo, Objects

__all__ = ["Store", "open_store", "parse_url"]

T = TypeVar("T")

# The group file of a scene of a hundred thousand views is smaller.
MOST_TEXT_BYTES = 2**27
# Stores that are named where another was looked for.
_NAMED = 5


class Store:
    """Objects under one root URL. Not a cache and not a filesystem: no state but the URL, so it pickles.

    Keys are relative, with forward slashes. Every write is atomic: a reader sees all of an object or none.
    Calls are repeated with back-off while the store does not answer. What remains is raised as
    ``StoreUnavailableError`` (it does not answer), ``StoreRefusedError`` (bucket, key or rights are wrong) or
    ``StoreFullError``; what is read and not there as ``ProductMissingError``.
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
        """Return an object, which must be there, or its bytes from ``start`` to ``end``, fewer if it ends before."""
        return self._perform("read", key, lambda objects, path: objects.read(path, start, end), {"beyond-end": b""})

    def read_text(self, key: str) -> bytes:
        """Return an object that holds JSON; of one larger than any of ours its beginning, which does not parse."""
        return self.read_bytes(key, 0, MOST_TEXT_BYTES)

    def write_bytes(self, key: str, content: bytes | memoryview) -> None:
        """Write an object, replacing what was there."""
        self._perform("write", key, lambda objects, path: objects.write(path, content))

    def create_bytes(self, key: str, content: bytes | memoryview) -> bool:
        """Write an object only if there is none, and say whether this call is known to have written it.

        False may be our own success: a lost response is tried again and then finds the object. Who must know
        reads it back and compares.
        """

        def create(objects: Objects, path: str) -> bool:
            objects.write(path, content, is_new=True)
            return True

        return self._perform("write", key, create, {"conflict": False})

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key."""
        try:
            # A byte of it, not its description: fsspec lists the folder of what is missing.
            self.read_bytes(key, 0, 1)
        except ProductMissingError:
            return False
        return True

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the objects below a folder, key to size in bytes; empty if there is no such folder."""
        return {key: info.size for key, info in self.entries(prefix).items() if not key.endswith(PARTIAL)}

    def list(self, prefix: str) -> list[str]:
        """Return the keys of all objects below a folder."""
        return [*self.sizes(prefix)]

    def entries(self, prefix: str) -> dict[str, ObjectInfo]:
        """Return an object, or all below a folder, with size and age; unfinished writes to a disk, too.

        What has no key, such as a file with a backslash in its name, is not ours, and left out.
        """
        nothing: dict[str, ObjectInfo] = {}
        found = self._perform("list", prefix, lambda objects, path: objects.entries(path), {"missing": nothing})
        strip = len(self._root) + 1
        return {name[strip:]: info for name, info in sorted(found.items()) if layout.is_key(name[strip:])}

    def names(self, folder: str = "") -> tuple[str, ...]:
        """Return what lies directly in a folder, or in the root: names of objects and of folders."""
        nothing: set[str] = set()
        found = self._perform("list", folder or None, lambda objects, path: objects.names(path), {"missing": nothing})
        return tuple(sorted(filter(layout.is_key, found)))

    def delete_prefix(self, prefix: str) -> None:
        """Delete a folder with everything in it; nothing happens if there is none."""
        if not prefix.strip("/"):
            raise StoreLayoutError("Refusing to delete the root of a store; give a folder inside it.")
        self._perform("delete", prefix, lambda objects, path: objects.delete(path), {"missing": None})

    def _perform(
        self, verb: str, key: str | None, call: Callable[[Objects, str], T], answers: Mapping[Meaning, T] | None = None
    ) -> T:
        """Call the backend with a key's path (None: the root); an error that means one of ``answers`` is an answer."""
        path = self._root if key is None else f"{self._root}/{_checked(key)}"
        if self._scheme == "file" and key is not None:
            _refuse_links_out(self._root, key)
        try:
            return perform(self._scheme, lambda objects: call(objects, path))
        except low_level_errors() as error:
            meaning = meaning_of(error)
            if answers is not None and meaning in answers:
                return answers[meaning]
            raise translated(error, f"{self.url}/{key or ''}", verb) from error


def open_store(url: str | Path, create: bool = False) -> Store:
    """Open a store of the current layout: at a local path, ``file://``, ``memory://`` or ``s3://BUCKET/PREFIX``.

    Credentials and the endpoint of an S3-compatible service come from the environment (``AWS_ENDPOINT_URL``), never
    from the URL. To create proves that the store can be read, written and tidied up, and makes it if it is new.

    Raises:
        ConfigError: If the URL has another scheme, a chain of schemes, or credentials in it.
        StoreLayoutError: If there is no store or one of another layout.
        StoreError: If it lets a create-only write replace an object, so that commits would not be safe; see ``Store``.
    """
    store = Store(os.fspath(url))
    if create:
        _probe(store)
        if store.create_bytes(layout.STORE_FILE, layout.store_header()):
            store.write_bytes(layout.README_FILE, layout.README.encode())
    try:
        header = store.read_text(layout.STORE_FILE)
    except ProductMissingError as error:
        raise StoreLayoutError(
            f"There is no lift3d store at {store.url}: {layout.STORE_FILE} is missing. "
            f"Check the URL, or run something with this store first.{stores_near(store.url)}"
        ) from error
    layout.check_store_header(header, store.url)
    return store


def stores_near(url: str) -> str:
    """Return a sentence that names stores beside a folder, and in `runs`, where commands put them; "" if none."""
    if "://" in url:
        return ""
    found = sorted(
        str(one.parent)
        for pattern in (f"*/{layout.STORE_FILE}", f"runs/*/{layout.STORE_FILE}")
        for one in Path(url).parent.glob(pattern)
    )
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f" There are stores at {', '.join(found[:_NAMED])}{more}." if found else ""


def _probe(store: Store) -> None:
    # Create-only writes are what commits stand on, and not every S3-compatible service has them. What is not
    # there is asked for as well: without the right to list, S3 refuses that instead of calling it missing.
    key = f"probe-{uuid.uuid4().hex}"
    store.exists(key)
    store.create_bytes(key, b"first")
    is_replaced = store.create_bytes(key, b"second")
    store.delete_prefix(key)
    if is_replaced:
        raise StoreError(
            f"The store {store.url} ignores create-only writes (If-None-Match), "
            f"so two workers could both commit. Use a service that honours them."
        )


def _checked(key: str) -> str:
    if not layout.is_key(key):
        raise StoreLayoutError(f"Store keys are relative paths of plain segments, got '{key}'.")
    return key


def _refuse_links_out(root: str, key: str) -> None:
    """Refuse a key that a link below the root takes out of a store: a store is data, and may be a stranger's."""
    path, real = root, os.path.realpath
    for segment in key.split("/"):
        path = f"{path}/{segment}"
        if os.path.islink(path) and os.path.commonpath([real(path), real(root)]) != real(root):
            raise StoreRefusedError(
                f"'{path}' is a link that leads out of the store. Nothing is read, written or deleted through it: "
                "remove the link, or put what it names in its place."
            )
