"""Products as Zarr reads them, believing nothing.

Zarr takes a missing chunk for fill values and may take an empty one for the same. Here presence comes from
the manifest; a whole object is compared by size and CRC-32, a part of one (an inner chunk of a shard) by
its length, its content by the array's own CRC codec. What differs is read once more, then it is damaged. All
bytes go through ``Store``, so retries and errors are as everywhere.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype

from lift3d.errors import StoreLayoutError
from lift3d.storage.array_form import ArrayForm
from lift3d.storage.commit import Commit, damaged, read_entry, twice
from lift3d.storage.layout import GROUP_FILE
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry, is_metadata, to_json


class VerifiedStore(ZarrStore):
    """Zarr's view of a committed product; its metadata comes from the group file that was read already.

    Of a shard Zarr asks for the index and then for each chunk; one that ``reads_whole`` asks for all of it, once.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, store: Store, commit: Commit, *, reads_whole: bool = False) -> None:
        super().__init__(read_only=True)
        self._reads_whole = reads_whole
        self._whole: dict[str, bytes] = {}
        self._store = store
        self._commit = commit
        self._entries = commit.manifest.entries
        arrays = commit.manifest.arrays
        self._metadata = {f"{name}/{GROUP_FILE}": to_json(fields) for name, fields in arrays.items()}
        self._metadata[GROUP_FILE] = commit.manifest.to_bytes()
        self._keys = sorted({*self._entries, *self._metadata})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and str(self) == str(other)

    def __str__(self) -> str:
        return self._store.url_of(self._commit.path)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return what the manifest promises, or None for a key it does not list."""
        if key in self._metadata:
            start, end = _span(byte_range, len(self._metadata[key]))
            return prototype.buffer.from_bytes(self._metadata[key][start:end])
        entry = self._entries.get(key)
        if entry is None or is_metadata(key):
            return None
        span = _span(byte_range, entry.size)
        if self._reads_whole:
            if key not in self._whole:
                self._whole[key] = await asyncio.to_thread(self._plausible, key, entry, (0, entry.size))
            return prototype.buffer.from_bytes(self._whole[key][slice(*span)])
        # Of a shard the end is its index, which is not packed.
        is_index = isinstance(byte_range, SuffixByteRequest)
        content = await asyncio.to_thread(self._plausible, key, entry, span, is_index=is_index)
        return prototype.buffer.from_bytes(content)

    def whole(self, key: str) -> bytes:
        """Return an object that the manifest lists."""
        entry = self._entries[key]
        return self._plausible(key, entry, (0, entry.size))

    def part(self, key: str, where: slice) -> bytes:
        """Return some bytes of a shard: a chunk, or, where no end is given, its index."""
        entry = self._entries[key]
        start, end, _ = where.indices(entry.size)
        return self._plausible(key, entry, (start, end), is_index=where.stop is None)

    def _plausible(self, key: str, entry: Entry, span: tuple[int, int], *, is_index: bool = False) -> bytes:
        """Return what was asked for, once it is known to unpack to no more than its array has room for."""
        path, form = self._commit.path, ArrayForm.of(self._commit.manifest.arrays[key.split("/")[0]])

        def content() -> bytes:
            found = read_entry(self._store, path, key, entry, span)
            try:
                if not (is_index and form.is_sharded):
                    form.check_unpacked(found, is_whole=span == (0, entry.size))
            except ValueError as error:
                raise damaged(self._store, path, f"{path}/{key}", f"is damaged: {error}") from error
            return found

        return twice(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several objects or parts of objects."""
        return list(await asyncio.gather(*(self.get(key, prototype, span) for key, span in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether a key is known."""
        return key in self._keys

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: what is committed stays as it is."""
        raise StoreLayoutError(f"A committed product is not written to, got '{key}'.")

    async def delete(self, key: str) -> None:
        """Refuse: a product is taken back whole."""
        raise StoreLayoutError(f"A product keeps what was written; '{key}' cannot be deleted on its own.")

    async def list(self) -> AsyncIterator[str]:
        """Yield every key."""
        for key in self._keys:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key that starts so."""
        for key in self._keys:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below a folder."""
        start = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        for name in sorted({key[len(start) :].split("/")[0] for key in self._keys if key.startswith(start)}):
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
