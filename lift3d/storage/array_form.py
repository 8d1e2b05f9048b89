"""What the metadata of a stored array says, held against the forms that are written here and against its bytes.

A store is data, and may be a stranger's. Zarr makes what metadata names: codecs by entry points, arrays of the older
format with a filter that unpickles, terabytes for a chunk of ten bytes. So it is only shown what one of ours could be.
"""

import math
import operator
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numcodecs import zstd  # type: ignore[import-untyped]

from lift3d.storage.layout import GROUP_FILE

# A block of Zstd, of at most 128 KiB, takes four bytes at least.
_MOST_UNPACKED = 2**15
_FREE_BYTES = 2**27
# Of one text in an array of texts: an id.
_LONGEST_TEXT = 2**12
_TEXT_BYTES = 16
_LONGEST_AXIS = 2**53
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# A header of Blosc: versions, flags whose last three bits name Zstd, size of a value; lengths unpacked and packed.
_BLOSC_HEADER, _BLOSC_ZSTD = 16, 4
# What stands in the index of a shard for a chunk that is not there.
NO_CHUNK = 2**64 - 1
# What Zarr's codecs raise when content does not decode: CRC-32C a ValueError, Zstd a RuntimeError.
CODEC_ERRORS = (ValueError, RuntimeError)
# Names of the axes, values, and attributes if there are any, as xarray has them. An array that is named as its only
# axis is that axis' coordinate.
NamedArray = (
    tuple[tuple[str, ...], Shaped[np.ndarray, "..."]]
    | tuple[tuple[str, ...], Shaped[np.ndarray, "..."], Mapping[str, Any]]
)

_TYPES = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "string"),
}
# What all arrays that are written here have in common.
_CONSTANT = {
    "zarr_format": 3,
    "node_type": "array",
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "storage_transformers": [],
}


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """An array as Zarr's metadata describes it: shapes of all, of an object, of what is unpacked at once, and how."""

    shape: tuple[int, ...]
    data_type: str
    unit: tuple[int, ...]
    chunk: tuple[int, ...]
    is_sharded: bool
    packer: str

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "ArrayForm":
        """Parse metadata; ValueError if it is none that is written here, what JSON leads to if it is no metadata."""
        for name, expected in _CONSTANT.items():
            if (found := fields.get(name, [])) != expected:
                raise ValueError(f"its {name} is {found!r:.80}")
        data_type, grid, codecs = fields["data_type"], fields["chunk_grid"], fields["codecs"]
        if data_type not in _TYPES or grid["name"] != "regular":
            raise ValueError(f"it holds {data_type!r:.80} in a grid {grid['name']!r:.80}")
        unit = chunk = _lengths(grid["configuration"]["chunk_shape"], 1)
        is_sharded = _names(codecs) == ["sharding_indexed"]
        if is_sharded:
            inner = codecs[0]["configuration"]
            chunk, codecs = _lengths(inner["chunk_shape"], 1), inner["codecs"]
            if (_names(inner["index_codecs"]), inner["index_location"]) != (["bytes", "crc32c"], "end"):
                raise ValueError("the index of its shards is another one")
        texts = ["vlen-utf8", "zstd", "crc32c"]
        known = [texts] if data_type == "string" else [["bytes", packer, "crc32c"] for packer in ("blosc", "zstd")]
        if _names(codecs) not in known:
            raise ValueError(f"its codecs are {_names(codecs)!r:.80}")
        shape = _lengths(fields["shape"], 0)
        if not len(shape) == len(unit) == len(chunk):
            raise ValueError("its chunks have other axes than the array")
        if any(one % other for one, other in zip(unit, chunk, strict=True)):
            raise ValueError("its shards are no multiples of its chunks")
        return cls(shape, data_type, unit, chunk, is_sharded, str(_names(codecs)[1]))

    @property
    def counts(self) -> tuple[int, ...]:
        """Objects along every axis."""
        return tuple(-(-length // unit) for length, unit in zip(self.shape, self.unit, strict=True))

    @property
    def item_bytes(self) -> int:
        """Bytes of a value in memory."""
        return _TEXT_BYTES if self.data_type == "string" else np.dtype(self.data_type).itemsize

    @property
    def byte_count(self) -> int:
        """Bytes of all values in memory, and of one chunk."""
        return (math.prod(self.shape) + math.prod(self.chunk)) * self.item_bytes

    def check_unpacked(self, content: bytes, *, is_whole: bool) -> None:
        """Refuse, by ValueError, a chunk that would unpack to something else than its metadata says.

        ``content`` is a whole object, or one chunk of a shard.
        """
        if not (self.is_sharded and is_whole):
            self._check_chunk(content)
        else:
            count = math.prod(unit // chunk for unit, chunk in zip(self.unit, self.chunk, strict=True))
            index = content[-(16 * count + 4) : -4]
            if len(index) != 16 * count:
                raise ValueError("a shard is shorter than its index")
            for start, length in np.frombuffer(index, "<u8").reshape(-1, 2).tolist():
                if start != NO_CHUNK:
                    self._check_chunk(content[start : start + length])

    def _check_chunk(self, content: bytes) -> None:
        count = math.prod(self.chunk)
        found = _blosc_bytes(content) if self.packer == "blosc" else _frame_bytes(content)
        if self.data_type != "string":
            if found != count * self.item_bytes:
                raise ValueError(f"a chunk unpacks to {found} bytes, expected {count * self.item_bytes}")
            return
        if found > 4 + count * (4 + _LONGEST_TEXT):
            raise ValueError(f"a chunk of {count} texts unpacks to {found} bytes")
        try:
            texts = int.from_bytes(bytes(zstd.decompress(content[:-4]))[:4], "little")
        except RuntimeError as error:
            raise ValueError(f"a chunk does not unpack ({error})") from error
        if texts != count:
            raise ValueError(f"a chunk of {count} texts says that it holds {texts}")


def array_forms(arrays: Mapping[str, Any]) -> dict[str, ArrayForm]:
    """Return the forms of arrays, from their metadata by name; ValueError if one is none that is written here."""
    forms = {}
    for name, fields in arrays.items():
        try:
            forms[name] = ArrayForm.of(fields)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"array '{name}' is none that is written here: {error}") from error
    return forms


def check_arrays(arrays: Mapping[str, Any], sizes: Mapping[str, int], empty_parts: Collection[int]) -> None:
    """Refuse, by ValueError, arrays whose objects are not those that they need, or too few bytes for them.

    Sizes are of every object, by key below the product; empty parts have no view, and no object.
    """
    forms = array_forms(arrays)
    for name, form in forms.items():
        there = {key for key in sizes if key.startswith(f"{name}/") and key != f"{name}/{GROUP_FILE}"}
        if math.prod(form.counts) > len(there) + len(empty_parts):
            raise ValueError(f"array '{name}' of {form.shape} has {len(there)} objects")
        if missing := [key for key in _keys(name, form, empty_parts) if key not in there]:
            raise ValueError(f"'{missing[0]}' is not among its objects")
    unpacked = sum(form.byte_count for form in forms.values())
    if unpacked > _FREE_BYTES + _MOST_UNPACKED * sum(sizes.values()):
        raise ValueError(f"arrays of {unpacked} bytes cannot be packed in {sum(sizes.values())}")


def _names(codecs: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [one["name"] if isinstance(one.get("configuration", {}), dict) else None for one in codecs]


def _lengths(found: Iterable[Any], least: int) -> tuple[int, ...]:
    lengths = tuple(map(operator.index, found))
    if not all(least <= one <= _LONGEST_AXIS for one in lengths):
        raise ValueError(f"it has axes of {lengths!r:.80}")
    return lengths


def _keys(name: str, form: ArrayForm, empty_parts: Collection[int]) -> Iterable[str]:
    for place in product(*map(range, form.counts)):
        if not (place and form.is_sharded and place[0] in empty_parts):
            yield "/".join([name, "c", *map(str, place)])


def _blosc_bytes(content: bytes) -> int:
    """Return what Blosc's header says that a chunk and its CRC unpack to; ValueError if it is not of that length."""
    if len(content) < _BLOSC_HEADER + 4 or content[2] >> 5 != _BLOSC_ZSTD:
        raise ValueError("a chunk is none of Blosc's")
    if int.from_bytes(content[12:16], "little") != len(content) - 4:
        raise ValueError("a chunk is of another length than it says")
    return int.from_bytes(content[4:8], "little")


def _frame_bytes(content: bytes) -> int:
    """Return what a frame of Zstd says that it unpacks to (RFC 8878, 3.1.1.1); ValueError if it does not say it."""
    if content[:4] != _ZSTD_MAGIC or len(content) < 5:
        raise ValueError("a chunk is no frame of Zstd")
    head = content[4]
    is_single, flag = bool(head & 0x20), head >> 6
    width = (1 if is_single else 0, 2, 4, 8)[flag]
    start = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[head & 3]
    if not width or len(content) < start + width:
        raise ValueError("a chunk does not say what it unpacks to")
    return int.from_bytes(content[start : start + width], "little") + (256 if flag == 1 else 0)
