"""What a store asks of a backend, and the backends that need no service: local files and memory."""

import contextlib
import errno
import os
import shutil
import stat
import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from lift3d.storage.retry_policy import Timeouts

PARTIAL = ".partial"
# Requests are waited for, not computed.
_DELETED_AT_ONCE = 16

# fsspec's memory filesystem checks for existence and then writes; this makes the pair one step.
_memory_lock = threading.Lock()

# Each backend of fsspec calls the time of the last write differently: disks, S3, memory.
_MODIFIED_FIELDS = ("mtime", "LastModified", "created")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Bytes of an object, and when it was last written, in seconds since 1970 by the clock of the store."""

    size: int
    modified: float


class Objects:
    """Whole objects of any filesystem of fsspec, by absolute path, with a deadline where it runs on an event loop.

    One try per call; errors are those of the library, see ``meaning_of``.
    """

    def __init__(self, files: fsspec.AbstractFileSystem, timeouts: Timeouts) -> None:
        self._files = files
        self._timeouts = timeouts

    def read(self, path: str, start: int | None, end: int | None) -> bytes:
        """Return an object or a part of it, by one request."""
        # s3fs asks for the size first, and lists the folder of what is missing, if it may read in parallel.
        single = {"max_concurrency": 1} if "s3" in self._files.protocol else {}
        size = None if end is None else end - (start or 0)
        return bytes(self._call("cat_file", path, start=start, end=end, byte_count=size, **single))

    def write(self, path: str, content: bytes | memoryview, is_new: bool = False) -> None:
        """Write all of an object or nothing, in place of another; if it is to be new, that is a conflict."""
        mode = {"mode": "create"} if is_new else {}
        self._call("pipe_file", path, bytes(content), byte_count=len(content), **mode)

    def entries(self, path: str) -> dict[str, ObjectInfo]:
        """Return an object, or all below a folder, with size and age; those in the making on a disk, too."""
        found = self._call("find", path, detail=True)
        # Of an object, rather than a folder, fsspec gives the path and nothing else.
        known = {name: entry or self._call("info", name) for name, entry in found.items()}
        return {
            name: ObjectInfo(int(entry["size"]), _modified(entry))
            for name, entry in known.items()
            if entry["type"] == "file"
        }

    def names(self, folder: str) -> set[str]:
        """Return the names of objects and folders directly in a folder."""
        if "s3" in self._files.protocol:
            # Its ls lists the parent of what is empty or missing, too.
            listed = [one["name"] for one in self._call("lsdir", folder)]
        else:
            listed = self._call("ls", folder, detail=False)
        found = (path.rstrip("/") for path in listed)
        # Services may list the folder itself.
        return {path.rsplit("/", 1)[-1] for path in found if path != folder}

    def delete(self, path: str) -> None:
        """Delete an object, or a folder with what is in it.

        Key by key: fsspec takes a name such as ``run*`` or ``q[1]`` for a pattern, and the objects that it matches may
        be somebody else's.
        """
        # The key itself in any case, for listings may lag behind.
        keys = {path: None, **dict.fromkeys(self.entries(path))}
        with ThreadPoolExecutor(_DELETED_AT_ONCE) as pool:
            list(pool.map(self._remove, keys))

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._call("rm_file", path)

    def _call(self, method: str, *args: Any, byte_count: int | None = None, **kwargs: Any) -> Any:
        if isinstance(self._files, AsyncFileSystem):
            # The timeouts of aiohttp do not cover all of a request: not a slow body, nor waiting to send one.
            timeout = self._timeouts.deadline_s(byte_count)
            return sync(self._files.loop, getattr(self._files, f"_{method}"), *args, timeout=timeout, **kwargs)
        return getattr(self._files, method)(*args, **kwargs)


class MemoryObjects(Objects):
    """Objects of this process, for tests and notebooks."""

    def write(self, path: str, content: bytes | memoryview, is_new: bool = False) -> None:
        """Write an object."""
        with _memory_lock:
            super().write(path, content, is_new)


class LocalFiles(Objects):
    """Files. A crash leaves nothing or everything: they are written beside, then linked or renamed."""

    def read(self, path: str, start: int | None, end: int | None) -> bytes:
        """Return a file or a part of it."""
        try:
            state = os.stat(path)
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error
        if not stat.S_ISREG(state.st_mode):
            # Object stores know no folders, and a pipe would be waited for.
            raise FileNotFoundError(errno.ENOENT, "There is no file", path)
        # Room is made for what is there, not for all that was asked for.
        return super().read(path, start, None if end is None else min(end, state.st_size))

    def delete(self, path: str) -> None:
        """Delete a file or a folder; of links in it, the links."""
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)

    def write(self, path: str, content: bytes | memoryview, is_new: bool = False) -> None:
        """Write a file."""
        # Not synced to the disk: a marker that outlives a loss of power is worth nothing if its data does not, and
        # syncing all of it would cost more than writing it. What such a loss leaves behind, readers and fsck find.
        target = Path(path)
        partial = target.with_name(f".{uuid.uuid4().hex}{PARTIAL}")
        try:
            file = partial.open("wb")
        except FileNotFoundError:  # most folders are there: of the files of a product few begin one
            target.parent.mkdir(parents=True, exist_ok=True)
            file = partial.open("wb")
        try:
            with file:
                file.write(content)
            if not is_new:
                partial.replace(target)
                return
            os.link(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        partial.unlink(missing_ok=True)


def _modified(entry: Mapping[str, Any]) -> float:
    found = next(entry[name] for name in _MODIFIED_FIELDS if entry.get(name) is not None)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    return float(found.timestamp() if isinstance(found, datetime) else found)
