"""A Zarr store whose truth is a manifest: it records what is written and believes nothing that it reads.

Zarr takes a missing chunk for fill values and may take an empty one for the same. Here presence comes from
the manifest; a whole object is compared by size and CRC-32C, a part of one (an inner chunk of a shard) by
its length, its content by the array's own CRC codec. What differs is read once more, then it is damaged. All
bytes go through ``Store``, so retries and errors are as everywhere.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

import numpy as np
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
)
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype

from lift3d.errors import StoreLayoutError
from lift3d.storage.commit import read_entry
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry


class VerifiedStore(ZarrStore):
    """Zarr's view of one attempt.

    Attributes:
        entries: What the attempt consists of, by key below ``folder``; grows with every write.
    """

    supports_writes = True
    supports_deletes = False
    supports_listing = True

    def __init__(self, store: Store, folder: str, entries: dict[str, Entry], read_only: bool) -> None:
        super().__init__(read_only=read_only)
        self.entries = entries
        self._objects = store
        self._folder = folder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifiedStore) and str(self) == str(other) and self.read_only == other.read_only

    def __str__(self) -> str:
        return self._objects.url_of(self._folder)

    def with_read_only(self, read_only: bool = False) -> "VerifiedStore":
        """Return the same view, read-only or not."""
        return VerifiedStore(self._objects, self._folder, self.entries, read_only)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return what the manifest promises, or None for a key it does not list."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        span = _span(byte_range, entry.size)
        content = await asyncio.to_thread(read_entry, self._objects, self._folder, key, entry, span)
        return prototype.buffer.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several objects or parts of objects."""
        return list(await asyncio.gather(*(self.get(key, prototype, span) for key, span in key_ranges)))

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object and record it."""
        # Without a copy: an object may be a whole part of a scene.
        content = np.asarray(value.as_numpy_array()).data.toreadonly().cast("B")
        await asyncio.to_thread(self.put, key, content)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Leave out the group's metadata that Zarr adds beside an array: the writer puts it once, when it is whole."""

    def put(self, key: str, content: bytes | memoryview) -> None:
        """Write an object and record it, outside of Zarr's event loop."""
        self._check_writable()
        self._objects.write_bytes(f"{self._folder}/{key}", content)
        self.entries[key] = Entry.of(content)

    async def exists(self, key: str) -> bool:
        """Whether the manifest lists the key."""
        return key in self.entries

    async def delete(self, key: str) -> None:
        """Refuse: an attempt is abandoned whole."""
        raise StoreLayoutError(f"An attempt keeps what was written; '{key}' cannot be deleted on its own.")

    async def list(self) -> AsyncIterator[str]:
        """Yield every key of the manifest."""
        for key in sorted(self.entries):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key that starts so."""
        for key in sorted(self.entries):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below a folder."""
        start = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        for name in sorted({key[len(start) :].split("/")[0] for key in self.entries if key.startswith(start)}):
            yield name


def _span(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    match byte_range:
        case RangeByteRequest(start, end):
            return start, min(end, size)
        case OffsetByteRequest(offset):
            return min(offset, size), size
        case SuffixByteRequest(suffix):
            return max(0, size - suffix), size
        case _:
            return 0, size
