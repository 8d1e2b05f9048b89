"""Products made of arrays: one Zarr group per attempt, laid out before it is filled, visible once committed.

Every array has dimension names, Zstd and a CRC, stores its empty chunks, and starts as missing (NaN for
floats, -1 or all bits set for integers), so that xarray opens a product as it is and nothing unwritten
passes for data. Ids are variable-length strings, which Zarr v3 and xarray read as they are (fixed-length
ones are not in the standard).
"""

import json
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from jaxtyping import Shaped
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype

from lift3d.errors import StoreLayoutError, UnknownNameError
from lift3d.storage import commit as protocol
from lift3d.storage.commit import Commit, StepHook, ignore_step
from lift3d.storage.layout import ARRAYS_FOLDER, attempt_path
from lift3d.storage.location import Store
from lift3d.storage.manifest import Manifest, to_json
from lift3d.storage.opened import GROUP_FILE, Product, open_product
from lift3d.storage.templates import ArrayTemplate, to_half
from lift3d.storage.verified import VerifiedStore

__all__ = [
    "ArrayTemplate",
    "Product",
    "ProductWriter",
    "begin_product",
    "open_product",
    "to_half",
    "write_product",
]

# Features are close to noise: higher levels cost time and gain next to nothing.
_ZSTD_LEVEL = 1


class ProductWriter:
    """One attempt at a product: fill every region once, then commit. Threads may share it; processes may not.

    As a context manager it abandons the attempt if it is left without having tried to commit.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        templates: Mapping[str, ArrayTemplate],
        attrs: Mapping[str, Any],
        at_step: StepHook = ignore_step,
    ) -> None:
        self._store = store
        self._path = path
        self._attempt = protocol.new_attempt()
        self._templates = dict(templates)
        self._attrs = dict(attrs)
        self._at_step = at_step
        self._lock = threading.Lock()
        self._claimed: set[tuple[str, tuple[int, ...]]] = set()
        self._manifest: Manifest | None = None
        to_json(self._attrs)  # refuses what is not JSON before any work is done
        folder = f"{attempt_path(path, self._attempt)}/{ARRAYS_FOLDER}"
        self._zarr = VerifiedStore(store, folder, {}, read_only=False)
        self._arrays = {name: _create(self._zarr, name, made) for name, made in self._templates.items()}
        at_step("begun")

    def __enter__(self) -> "ProductWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.abandon()

    def fill(self, name: str, start: tuple[int, ...], values: Shaped[np.ndarray, "..."]) -> None:
        """Write whole write units (shards, or chunks where there are none) of one array.

        Args:
            name: The array.
            start: Index of the region's first element along every axis.
            values: The region, of the template's dtype; ends on a unit's border or at the array's end.

        Raises:
            StoreLayoutError: If the region cuts a unit, was written before, or has another dtype.
        """
        if name not in self._templates:
            raise UnknownNameError.of("array", name, self._templates)
        template = self._templates[name]
        is_text = template.dtype == "string" and values.dtype.kind in "UTO"
        if values.dtype != template.numpy_dtype and not is_text:
            raise StoreLayoutError(f"Array '{name}' holds {template.dtype}, got {values.dtype}. Convert it first.")
        region = template.region(start, values.shape)
        units = {(name, unit) for unit in template.units(region)}
        self._claim(units)
        try:
            self._arrays[name][region] = values.astype(template.numpy_dtype, copy=False)
        except BaseException:
            with self._lock:
                self._claimed -= units
            raise
        self._at_step("filling")

    def commit(self, extra_attrs: Mapping[str, Any] | None = None) -> Commit:
        """Make this attempt the product, or adopt the one that was faster.

        Raises:
            StoreLayoutError: If a region was never filled, attributes are not plain JSON, or a second try has
                other attributes than the first.
            StoreUnavailableError: If the store does not answer; calling again is safe.
        """
        attrs = {**self._attrs, **(extra_attrs or {})}
        if self._manifest is None:
            self._check_filled()
            self._write_group(attrs)
            self._at_step("filled")
            entries = {f"{ARRAYS_FOLDER}/{key}": entry for key, entry in self._zarr.entries.items()}
            self._manifest = Manifest(self._attempt, entries, attrs)
        elif attrs != self._manifest.attrs:
            raise StoreLayoutError("A commit that is tried again has the attributes of the first try.")
        return protocol.commit_attempt(self._store, self._path, self._manifest, self._at_step)

    def abandon(self) -> None:
        """Delete what this attempt wrote, unless a commit was tried: that may have succeeded."""
        if self._manifest is None:
            self._store.delete_prefix(attempt_path(self._path, self._attempt))

    def _claim(self, units: set[tuple[str, tuple[int, ...]]]) -> None:
        # Two writers inside one shard lose data silently (a shard is read, modified and written back).
        with self._lock:
            taken = self._claimed & units
            if taken:
                name, unit = min(taken)
                raise StoreLayoutError(
                    f"Unit {unit} of array '{name}' has a writer already. Give every shard one writer, once."
                )
            self._claimed |= units

    def _check_filled(self) -> None:
        for name, template in self._templates.items():
            filled_count = sum(claimed == name for claimed, _ in self._claimed)
            if filled_count != template.unit_count:
                raise StoreLayoutError(
                    f"Array '{name}' of {self._path} has {filled_count} of {template.unit_count} units; "
                    f"fill all of them before the commit."
                )

    def _write_group(self, attrs: dict[str, Any]) -> None:
        # The metadata of all arrays, repeated in the group, lets readers open a product with one request.
        # Zarr's own function for this lists the store and warns that the standard does not have it yet.
        prototype = default_buffer_prototype()
        metadata = {
            name: json.loads(array.metadata.to_buffer_dict(prototype)[GROUP_FILE].to_bytes())
            for name, array in sorted(self._arrays.items())
        }
        group = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": attrs,
            "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": metadata},
        }
        self._zarr.put(GROUP_FILE, to_json(group))


def begin_product(
    store: Store,
    path: str,
    templates: Mapping[str, ArrayTemplate],
    attrs: Mapping[str, Any],
    at_step: StepHook = ignore_step,
) -> ProductWriter:
    """Lay out a private attempt at a product.

    Args:
        store: Where to write.
        path: The product, see ``lift3d.storage.layout``.
        templates: Its arrays.
        attrs: Its attributes, JSON.
        at_step: Called after every step of the protocol (tests).

    Raises:
        StoreLayoutError: If the attributes are not plain JSON.
        StoreUnavailableError: If the store does not answer or refuses.
    """
    return ProductWriter(store, path, templates, attrs, at_step)


def write_product(
    store: Store,
    path: str,
    arrays: Mapping[str, tuple[tuple[str, ...], Shaped[np.ndarray, "..."]]],
    attrs: Mapping[str, Any],
    at_step: StepHook = ignore_step,
) -> Commit:
    """Write and commit arrays that are all at hand, each as one chunk.

    Args:
        store: Where to write.
        path: The product.
        arrays: Axis names and values by array name.
        attrs: The product's attributes, JSON.
        at_step: Called after every step of the protocol (tests).

    Raises:
        StoreLayoutError: If the attributes are not plain JSON.
        StoreUnavailableError: If the store does not answer or refuses.
    """
    templates = {name: ArrayTemplate.whole(values, dims) for name, (dims, values) in arrays.items()}
    with begin_product(store, path, templates, attrs, at_step) as writer:
        for name, (_, values) in arrays.items():
            if values.size:
                writer.fill(name, (0,) * values.ndim, values)
        return writer.commit()


def _create(store: VerifiedStore, name: str, template: ArrayTemplate) -> "zarr.Array[Any]":
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
