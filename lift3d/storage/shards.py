"""Shards of chunks of one entry, bit for bit as Zarr makes them, which starts a task for every step of every chunk."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import google_crc32c
import numpy as np
from jaxtyping import Shaped
from numcodecs import blosc, zstd  # type: ignore[import-untyped]

from lift3d.storage.array_form import NO_CHUNK, ArrayForm

# Bytes of equal weight side by side pack better (docs/storage.md); higher levels cost time and gain next to nothing.
LEVEL = 3
Read = Callable[[slice], bytes]
# How many threads there are is the run's to say.
blosc.use_threads = False


def is_shuffled(dtype: np.dtype) -> bool:  # type: ignore[type-arg]
    """Whether Blosc packs values of a type: texts, and values of a byte, gain nothing by being shuffled."""
    return dtype.kind in "fiu" and dtype.itemsize > 1


def pack_shard(values: Shaped[np.ndarray, "..."], unit: int) -> bytes:
    """Return the shard of the first entries of ``unit``, all that there are: a chunk each, then their index."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    chunks = []
    for one in values:
        if is_shuffled(values.dtype):
            chunk = blosc.compress(one, b"zstd", LEVEL, blosc.SHUFFLE, 0, values.dtype.itemsize)
        else:
            chunk = zstd.compress(one, LEVEL)
        chunks.append(_sealed(bytes(chunk)))
    lengths = np.array([len(chunk) for chunk in chunks])
    index = np.full((unit, 2), NO_CHUNK, "<u8")
    index[: len(chunks)] = np.stack([lengths.cumsum() - lengths, lengths], axis=1)
    return b"".join([*chunks, _sealed(index.tobytes())])


def shard_of(form: ArrayForm, entries: slice | int | list[int]) -> tuple[str, Sequence[int]] | None:
    """Return the key, below the array's, of the one shard that entries lie in, and which of its own they are.

    None where they lie in several, or the array has other chunks than ``pack_shard`` makes.
    """
    every = range(form.shape[0])
    chosen = every[entries] if isinstance(entries, slice) else entries if isinstance(entries, list) else []
    numbers = {entry // form.unit[0] for entry in chosen}
    is_by_entry = (form.chunk[0], *form.unit[1:]) == (1, *form.shape[1:]) and form.chunk[1:] == form.unit[1:]
    if not form.is_sharded or form.data_type == "string" or not is_by_entry or len(numbers) != 1:
        return None
    (number,) = numbers
    key = "/".join(["c", str(number), *("0" for _ in form.shape[1:])])
    return key, [entry - number * form.unit[0] for entry in chosen]


def unpack_shard(form: ArrayForm, rows: Sequence[int], read: Read, together: int = 1) -> Shaped[np.ndarray, "..."]:
    """Return some entries of a shard that ``ArrayForm.check_unpacked`` accepts; ValueError, RuntimeError if damaged.

    ``read`` returns some of the shard's bytes; so many reads may be under way together.
    """
    found = np.empty((len(rows), *form.chunk[1:]), np.dtype(form.data_type).newbyteorder("<"))
    index = np.frombuffer(_unsealed(read(slice(-(16 * form.unit[0] + 4), None))), "<u8").reshape(-1, 2).tolist()
    unpack = blosc.decompress if form.packer == "blosc" else zstd.decompress
    if missing := [row for row in rows if index[row][0] == NO_CHUNK]:
        raise ValueError(f"a shard has no chunk {missing[0]}")
    spans = (slice(index[row][0], sum(index[row])) for row in rows)
    with ThreadPoolExecutor(together) if together > 1 else nullcontext() as readers:
        for at, chunk in enumerate(readers.map(read, spans) if readers else map(read, spans)):
            unpack(_unsealed(chunk), found[at : at + 1].reshape(-1).view(np.uint8))
    return found


def _sealed(content: bytes) -> bytes:
    return content + int(google_crc32c.value(content)).to_bytes(4, "little")


def _unsealed(content: bytes) -> bytes:
    if _sealed(content[:-4]) != content:
        raise ValueError("a chunk or the index of a shard has another checksum")
    return content[:-4]
