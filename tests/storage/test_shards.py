"""Shards that are packed here are those that Zarr packs, and damage to them is told."""

import json

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from lift3d.storage.array_form import ArrayForm
from lift3d.storage.packed import compressor_of, packed
from lift3d.storage.shards import shard_of, unpack_shard

LENGTH, UNIT = 11, 4
# The shard before the last, and the last, which is shorter.
STARTS = (4, 8)
DTYPES = ("bool", "uint8", "int16", "int64", "float16", "float32", "float64")


def values_of(dtype, start):
    shape = (min(UNIT, LENGTH - start), 3, 7, 5)
    return (50 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_shard_is_the_one_that_zarr_makes_and_gives_its_entries_back(dtype, start):
    values = values_of(dtype, start)
    ours = packed("x", (("view", "a", "b", "c"), values), (start, LENGTH, UNIT))
    objects = {}
    array = zarr.create_array(
        MemoryStore(objects),
        name="x",
        shape=(LENGTH, *values.shape[1:]),
        dtype=dtype,
        chunks=(1, *values.shape[1:]),
        shards=(UNIT, *values.shape[1:]),
        compressors=(compressor_of(values.dtype), Crc32cCodec()),
        config={"write_empty_chunks": True},
    )
    array[start : start + len(values)] = values
    key = f"x/c/{start // UNIT}/0/0/0"
    shard = ours[key].to_bytes()
    assert shard == objects[key].to_bytes()
    form = ArrayForm.of(json.loads(ours["x/zarr.json"].to_bytes()))
    found, rows = shard_of(form, slice(start + 1, start + 3))
    assert f"x/{found}" == key
    np.testing.assert_array_equal(unpack_shard(form, rows, shard.__getitem__), values[1:3])
    np.testing.assert_array_equal(unpack_shard(form, [2, 0], shard.__getitem__, together=2), values[[2, 0]])
    for at in (20, len(shard) - 20):
        damaged = bytearray(shard)
        damaged[at] ^= 1
        with pytest.raises((ValueError, RuntimeError)):
            unpack_shard(form, range(len(values)), bytes(damaged).__getitem__)


def test_entries_of_several_shards_are_left_to_zarr():
    form = ArrayForm((LENGTH, 2), "int16", (UNIT, 2), (1, 2), is_sharded=True, packer="blosc")
    assert shard_of(form, slice(0, UNIT)) == ("c/0/0", [*range(UNIT)])
    assert shard_of(form, slice(8, 99)) == ("c/2/0", [0, 1, 2])
    assert shard_of(form, [6, 5]) == ("c/1/0", [2, 1])
    for other in (slice(None), slice(3, 5), slice(0, 0), [0, 8], [], 3):
        assert shard_of(form, other) is None
