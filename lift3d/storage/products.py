"""Products made of arrays: one Zarr group, filled whole or part by part, visible once committed.

Every array has dimension names, Zstd and a CRC, stores its empty chunks, and starts as missing (NaN for
floats, -1 or all bits set for integers), so that xarray opens a product as it is and nothing unwritten
passes for data. Ids are variable-length strings, which Zarr v3 and xarray read as they are (fixed-length
ones are not in the standard).
"""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import zarr
from jaxtyping import Shaped
from zarr.codecs import Crc32cCodec, ZstdCodec

from lift3d.errors import StoreLayoutError
from lift3d.storage import commit as protocol
from lift3d.storage.commit import Commit, StepHook, finished_part, ignore_step, read_entry
from lift3d.storage.layout import GROUP_FILE, part_path
from lift3d.storage.location import Store
from lift3d.storage.manifest import Manifest, Part, is_metadata, to_json
from lift3d.storage.reader import Product, open_product, products_in, understood
from lift3d.storage.templates import ArrayTemplate, to_half
from lift3d.storage.verified import RecordingStore

__all__ = [
    "ArrayTemplate",
    "NamedArray",
    "Product",
    "ProductWriter",
    "open_product",
    "products_in",
    "to_half",
    "understood",
    "write_product",
]

# Features are close to noise: higher levels cost time and gain next to nothing.
_ZSTD_LEVEL = 1

# Names of the axes, and values.
NamedArray = tuple[tuple[str, ...], Shaped[np.ndarray, "..."]]


class ProductWriter:
    """Makes one product. Several workers may, each some parts of it or the same ones."""

    def __init__(self, store: Store, path: str, at_step: StepHook = ignore_step) -> None:
        self._store = store
        self._path = path
        self._at_step = at_step
        self._parts: dict[int, Part] = {}
        self._metadata: dict[str, bytes] = {}
        self._manifest: Manifest | None = None
        at_step("begun")

    def part(self, number: int) -> Part | None:
        """Return what is recorded of a part that is finished, by whomever; None for one that is not."""
        if number not in self._parts:
            found = finished_part(self._store, self._path, number)
            if found is None:
                return None
            self._parts[number] = found
        return self._parts[number]

    def write_part(
        self, number: int, arrays: Mapping[str, tuple[ArrayTemplate, Shaped[np.ndarray, "..."]]], note: Any = None
    ) -> None:
        """Write a part: one shard of each array along its first axis, and then the record of it.

        Args:
            number: Which shard, from 0.
            arrays: The whole array's template, and this part's values, by name. Templates of all parts are the same.
            note: JSON for whoever commits.
        """
        target = RecordingStore(self._store, self._path, self._metadata)
        for name, (template, values) in arrays.items():
            self._fill(target, name, template, number * template.grid[0], values)
        self._record(number, Part(target.entries, target.metadata, note))

    def copy_part(self, number: int, length: int, donor: Product, donor_number: int) -> None:
        """Write a part with the objects of another product's part of the same arrays; nothing is decoded.

        The length is that of the first axis of all arrays, once whole.
        """
        given = donor.manifest.part_record(donor_number)
        target = RecordingStore(self._store, self._path, self._metadata)
        for name, fields in given.arrays.items():
            target.put(f"{name}/{GROUP_FILE}", to_json({**fields, "shape": [length, *fields["shape"][1:]]}))
        for key, entry in given.objects.items():
            if is_metadata(key):
                continue
            name, _, _, *rest = key.split("/")
            content = read_entry(self._store, donor.commit.path, key, entry)
            target.put("/".join([name, "c", str(number), *rest]), content)
        self._record(number, Part(target.entries, target.metadata, given.note))

    def commit(self, arrays: Mapping[str, NamedArray], attrs: Mapping[str, Any], part_count: int = 0) -> Commit:
        """Write what belongs to no part, and make all of it the product, or adopt that of whoever was faster.

        Args:
            arrays: Axis names and values by array name, each stored as one chunk.
            attrs: The product's attributes, JSON.
            part_count: How many parts there are.

        Raises:
            StoreLayoutError: If a part is missing, parts have different arrays, or attributes are not plain JSON.
            StoreUnavailableError: If the store does not answer; calling again is safe.
        """
        if self._manifest is None:
            self._manifest = self._complete(arrays, attrs, part_count)
            self._at_step("filled")
        return protocol.publish(self._store, self._path, self._manifest, self._at_step)

    def _complete(self, arrays: Mapping[str, NamedArray], attrs: Mapping[str, Any], part_count: int) -> Manifest:
        to_json(attrs)  # refuses what is not JSON before anything is written
        parts = []
        metadata: dict[str, Any] = {}
        for number in range(part_count):
            part = self.part(number)
            if part is None:
                raise StoreLayoutError(f"{self._path} has {part_count} parts and part {number} is not written yet.")
            for name, fields in part.arrays.items():
                if metadata.setdefault(name, fields) != fields:
                    raise StoreLayoutError(
                        f"Part {number} of {self._path} has another '{name}' ({fields['chunk_grid']}) than those "
                        f"before ({metadata[name]['chunk_grid']}). Give every part the same templates."
                    )
            parts.append(replace(part, arrays={}))
        target = RecordingStore(self._store, self._path, self._metadata)
        for name, (dims, values) in arrays.items():
            self._fill(target, name, ArrayTemplate.whole(values, dims), 0, values)
        return Manifest(uuid.uuid4().hex, dict(attrs), tuple(parts), target.entries, metadata | target.metadata)

    def _fill(
        self, target: RecordingStore, name: str, template: ArrayTemplate, start: int, values: Shaped[np.ndarray, "..."]
    ) -> None:
        is_text = template.dtype == "string" and values.dtype.kind in "UTO"
        if values.dtype != template.numpy_dtype and not is_text:
            raise StoreLayoutError(f"Array '{name}' holds {template.dtype}, got {values.dtype}. Convert it first.")
        template.require_region(start, values.shape)
        array = _create(target, name, template)
        if values.size:
            region = (slice(start, start + len(values)),) if values.ndim else ()
            array[(*region, ...)] = values.astype(template.numpy_dtype, copy=False)
        self._at_step("filling")

    def _record(self, number: int, part: Part) -> None:
        self._store.write_bytes(part_path(self._path, number), part.to_bytes())
        self._parts[number] = part
        self._at_step("part")


def write_product(
    store: Store, path: str, arrays: Mapping[str, NamedArray], attrs: Mapping[str, Any], at_step: StepHook = ignore_step
) -> Commit:
    """Write and commit arrays that are all at hand, each as one chunk."""
    return ProductWriter(store, path, at_step).commit(arrays, attrs)


def _create(store: RecordingStore, name: str, template: ArrayTemplate) -> "zarr.Array[Any]":
    return zarr.create_array(
        store,
        name=name,
        shape=template.shape,
        dtype=template.numpy_dtype,
        chunks=template.chunks,
        shards=template.shards,
        compressors=(ZstdCodec(level=_ZSTD_LEVEL), Crc32cCodec()),
        fill_value=template.missing,
        attributes=dict(template.attrs),
        dimension_names=template.dims,
        config={"write_empty_chunks": True},
    )
