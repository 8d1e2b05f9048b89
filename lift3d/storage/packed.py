"""Arrays as the objects that Zarr makes of them: shapes, codecs, what stands where nothing was written."""

from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from lift3d.errors import StoreLayoutError
from lift3d.storage.array_form import NamedArray
from lift3d.storage.shards import LEVEL, is_shuffled, pack_shard

_PACKED_VALUES = BloscCodec(cname="zstd", clevel=LEVEL, shuffle="shuffle")
_PACKED_BYTES = ZstdCodec(level=LEVEL)
# What stands where nothing was written, by kind of dtype; all bits set in unsigned integers.
_MISSING: dict[str, float | int | str | None] = {"f": np.nan, "i": -1, "b": False, "T": "", "u": None}


def compressor_of(dtype: Any) -> BloscCodec | ZstdCodec:
    """Return what packs values of a type."""
    return _PACKED_VALUES if is_shuffled(dtype) else _PACKED_BYTES


def packed(name: str, array: NamedArray, part: tuple[int, int, int] | None) -> dict[str, Buffer]:
    """Return the objects of an array as Zarr makes them: one chunk, or (start, length, unit) a shard of it."""
    dims, values = array[:2]
    dtype = np.dtypes.StringDType() if values.dtype.kind in "UTO" else values.dtype
    if len(dims) != values.ndim or dtype.kind not in _MISSING:
        raise StoreLayoutError(
            f"Array '{name}' has dtype {values.dtype} and {values.ndim} axes, named {dims}; expected booleans, "
            "integers, floats or texts, and a name per axis."
        )
    cell = tuple(max(1, length) for length in values.shape)
    start, length, unit = part or (0, 0, 0)
    objects: dict[str, Buffer] = {}
    stored: zarr.Array[Any] = zarr.create_array(
        MemoryStore(objects),
        name=name,
        shape=(length, *values.shape[1:]) if part else values.shape,
        dtype=dtype,
        chunks=(1, *cell[1:]) if part else cell,
        shards=(unit, *cell[1:]) if part else None,
        compressors=(compressor_of(dtype), Crc32cCodec()),
        fill_value=_MISSING[dtype.kind] if dtype.kind != "u" else int(np.iinfo(dtype).max),
        attributes=dict(array[2]) if len(array) == 3 else {},
        dimension_names=dims,
        config={"write_empty_chunks": True},
    )
    if values.size and part and dtype.kind != "T":
        key = "/".join([name, "c", str(start // unit), *("0" for _ in cell[1:])])
        objects[key] = default_buffer_prototype().buffer.from_bytes(pack_shard(values, unit))
    elif values.size:
        region = (slice(start, start + len(values)),) if values.ndim else ()
        stored[(*region, ...)] = values.astype(dtype, copy=False)
    return objects
