"""What the metadata of a stored array says, held against the forms that are written here and against its bytes.

A store is data, and may be a stranger's. Zarr makes what metadata names: codecs by entry points, arrays of the older
format with a filter that unpickles, terabytes for a chunk of ten bytes. So it is only shown what one of ours could be.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from itertools import product
from typing import Annotated, Any, Literal

import numpy as np
from numcodecs import zstd  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lift3d.storage.layout import GROUP_FILE

# A block of Zstd, of at most 128 KiB, takes four bytes at least.
_MOST_UNPACKED = 2**15
_FREE_BYTES = 2**27
# Of one text in an array of texts: an id.
_LONGEST_TEXT = 2**12
_TEXT_BYTES = 16
_PLAIN = (("bytes", "zstd", "crc32c"), ("vlen-utf8", "zstd", "crc32c"))
_MAGIC = b"\x28\xb5\x2f\xfd"
_NO_CHUNK = 2**64 - 1

Count = Annotated[int, Field(ge=0, le=2**53)]
DataType = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "string",
]  # fmt: skip


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True)


class _ChunkShape(_Form):
    chunk_shape: tuple[Annotated[int, Field(ge=1, le=2**53)], ...]


class _Named(_Form):
    name: str


class _Grid(_Form):
    name: Literal["regular"]
    configuration: _ChunkShape


class _Shards(_ChunkShape):
    codecs: tuple[_Named, ...]
    index_codecs: tuple[_Named, ...]
    index_location: Literal["end"]


class _Codec(_Named):
    configuration: dict[str, Any] = Field(default_factory=dict)


class _Separator(_Form):
    separator: Literal["/"]


class _KeyEncoding(_Form):
    name: Literal["default"]
    configuration: _Separator


class ArrayForm(_Form):
    """An array as Zarr's metadata describes it. ValueError if it is none that is written here."""

    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: tuple[Count, ...]
    data_type: DataType
    chunk_grid: _Grid
    chunk_key_encoding: _KeyEncoding
    codecs: tuple[_Codec, ...]
    storage_transformers: tuple[()] = ()

    def model_post_init(self, context: Any) -> None:
        """Check that the parts fit together."""
        shards = self._shards
        names = tuple(one.name for one in (shards.codecs if shards else self.codecs))
        if names not in _PLAIN:
            raise ValueError(f"its codecs are {names}")
        if (names[0] == "vlen-utf8") != (self.data_type == "string"):
            raise ValueError(f"{names[0]} does not hold {self.data_type}")
        if shards and tuple(one.name for one in shards.index_codecs) != ("bytes", "crc32c"):
            raise ValueError("the index of its shards has other codecs")
        if not len(self.shape) == len(self.unit) == len(self.chunk):
            raise ValueError("its chunks have other axes than the array")
        if any(unit % chunk for unit, chunk in zip(self.unit, self.chunk, strict=True)):
            raise ValueError("its shards are no multiples of its chunks")

    @cached_property
    def _shards(self) -> _Shards | None:
        names = [one.name for one in self.codecs]
        return _Shards.model_validate(self.codecs[0].configuration) if names == ["sharding_indexed"] else None

    @property
    def unit(self) -> tuple[int, ...]:
        """Shape of what one object holds."""
        return self.chunk_grid.configuration.chunk_shape

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of what is unpacked at once."""
        return self._shards.chunk_shape if self._shards else self.unit

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

    def check_unpacked(self, content: bytes, is_whole: bool) -> None:
        """Refuse, by ValueError, a chunk that would unpack to something else than its metadata says.

        ``content`` is an object, or a part of one: a chunk of it, or its index, which is not packed.
        """
        if self._shards is None:
            self._check_chunk(content)
        elif not is_whole:
            if content[:4] == _MAGIC:
                self._check_chunk(content)
        else:
            count = math.prod(unit // chunk for unit, chunk in zip(self.unit, self.chunk, strict=True))
            index = content[-(16 * count + 4) : -4]
            if len(index) != 16 * count:
                raise ValueError("a shard is shorter than its index")
            for start, length in np.frombuffer(index, "<u8").reshape(-1, 2).tolist():
                if start != _NO_CHUNK:
                    self._check_chunk(content[start : start + length])

    def _check_chunk(self, content: bytes) -> None:
        count = math.prod(self.chunk)
        found = _frame_bytes(content)
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
            forms[name] = ArrayForm.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            said = " ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
            raise ValueError(f"array '{name}' is none that is written here: {said}") from error
    return forms


def check_arrays(arrays: Mapping[str, Any], sizes: Mapping[str, int], empty_parts: Collection[int]) -> None:
    """Refuse, by ValueError, arrays whose objects are not those that they need, or too few bytes for them.

    Args:
        arrays: Metadata by name.
        sizes: Bytes of every object, by key below the product.
        empty_parts: Parts without a view, of which no object is there.
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


def _keys(name: str, form: ArrayForm, empty_parts: Collection[int]) -> Iterable[str]:
    for place in product(*map(range, form.counts)):
        if not (place and form.codecs[0].name == "sharding_indexed" and place[0] in empty_parts):
            yield "/".join([name, "c", *map(str, place)])


def _frame_bytes(content: bytes) -> int:
    """Return what a frame of Zstd says that it unpacks to (RFC 8878, 3.1.1.1); ValueError if it does not say it."""
    if content[:4] != _MAGIC or len(content) < 5:
        raise ValueError("a chunk is no frame of Zstd")
    head = content[4]
    is_single, flag = bool(head & 0x20), head >> 6
    width = (1 if is_single else 0, 2, 4, 8)[flag]
    start = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[head & 3]
    if not width or len(content) < start + width:
        raise ValueError("a chunk does not say what it unpacks to")
    return int.from_bytes(content[start : start + width], "little") + (256 if flag == 1 else 0)
