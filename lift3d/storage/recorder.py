"""Writing the objects of a product: each is created once, and recorded as its manifest will have it."""

import json
from collections.abc import Mapping
from typing import Any

from lift3d.errors import ProductMissingError
from lift3d.storage.array_form import CODEC_ERRORS, ArrayForm
from lift3d.storage.layout import GROUP_FILE
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry, is_metadata, to_json


class Recorder:
    """Puts objects below a product's path: each is created once, and described in ``entries`` by its key.

    Metadata that is ``known``, for the same writer has written it before, is not written again; it grows, as do the
    keys of objects that were there already, ``adopted``.
    """

    def __init__(self, store: Store, path: str, known: dict[str, bytes], adopted: set[str]) -> None:
        self._store = store
        self._path = path
        self._known = known
        self._adopted = adopted
        self.entries: dict[str, Entry] = {}
        self.metadata: dict[str, Any] = {}

    def put(self, key: str, content: bytes | memoryview) -> None:
        """Create an object, or adopt the one that is there unless it is broken; record it."""
        name = key.split("/")[0]
        if is_metadata(key):
            # In one form, so that whoever writes it writes the same bytes.
            self.metadata[name] = json.loads(bytes(content))
            content = to_json(self.metadata[name])
            if self._known.get(key) == content:
                self.entries[key] = Entry.of(content)
                return
        full = f"{self._path}/{key}"
        if not self._store.create_bytes(full, content):
            self._adopted.add(key)
            there = self._found(full)
            if there != content:
                if there and not is_metadata(key) and decodes(self.metadata[name], key, there):
                    content = there
                else:
                    self._store.write_bytes(full, content)
        self.entries[key] = Entry.of(content)
        if is_metadata(key):
            self._known[key] = bytes(content)

    def _found(self, full: str) -> bytes:
        try:
            return self._store.read_bytes(full)
        except ProductMissingError:  # collected since
            return b""


def decodes(metadata: Mapping[str, Any], key: str, content: bytes) -> bool:
    """Whether a chunk, or every inner chunk of a shard, passes the checks of the array's codecs."""
    try:
        ArrayForm.of(metadata).check_unpacked(content, is_whole=True)
    except ValueError:
        return False
    # Zarr is imported where arrays are made or read: a run is planned without it.
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    name, _, indices = key.partition("/c")
    buffer = default_buffer_prototype().buffer
    alone = MemoryStore({f"{name}/{GROUP_FILE}": buffer.from_bytes(to_json(metadata)), key: buffer.from_bytes(content)})
    steps = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    starts = [int(index) * step for index, step in zip(filter(None, indices.split("/")), steps, strict=True)]
    try:
        region = tuple(slice(start, start + step) for start, step in zip(starts, steps, strict=True))
        zarr.open_array(alone, path=name, mode="r", zarr_format=3)[region]
    except CODEC_ERRORS:
        return False
    return True
