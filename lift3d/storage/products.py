"""Products made of arrays: one Zarr group, filled whole or part by part, visible once committed.

Every array has dimension names, Zstd (for values of several bytes, Blosc's) and a CRC, stores its empty chunks, and
starts as missing (NaN for floats, -1 or all bits set for integers), so that nothing unwritten passes for data. Ids are
variable-length strings, which Zarr v3 and xarray read as they are (fixed-length ones are not in the standard).
"""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lift3d.errors import StoreLayoutError
from lift3d.storage import commit as protocol
from lift3d.storage.array_form import NamedArray
from lift3d.storage.commit import Commit, StepHook, Work, finished_part, ignore_step, read_entry
from lift3d.storage.layout import GROUP_FILE, part_path
from lift3d.storage.location import Store
from lift3d.storage.manifest import Manifest, Part, is_metadata, to_json
from lift3d.storage.reader import Product, open_product, products_in, understood
from lift3d.storage.recorder import Recorder

__all__ = ["NamedArray", "Product", "ProductWriter", "open_product", "products_in", "understood", "write_product"]


class ProductWriter:
    """Makes one product. Several workers may, each some parts of it or the same ones.

    Parts are recorded for other workers, and for whoever comes after this one's death; ``records_parts`` says whether
    to, as this writer alone can make and commit all of it soon.
    """

    def __init__(self, store: Store, path: str, at_step: StepHook = ignore_step, *, records_parts: bool = True) -> None:
        self._store = store
        self._path = path
        self._at_step = at_step
        self._records_parts = records_parts
        self._work = Work()
        self._parts: dict[int, Part] = {}
        self._metadata: dict[str, bytes] = {}
        at_step("begun")

    def part(self, number: int) -> Part | None:
        """Return what is recorded of a part that is finished, by whomever; None for one that is not."""
        if number not in self._parts:
            found = finished_part(self._store, self._path, number)
            if found is None:
                return None
            self._parts[number] = found
            self._work.adopted.update(found.objects)
            self._records_parts = True  # to be tidied up
        return self._parts[number]

    def write_part(
        self, number: int, arrays: Mapping[str, NamedArray], length: int, unit: int, note: Any = None
    ) -> None:
        """Write a part: one shard of each array along its first axis, a chunk per entry; then it is recorded.

        The first axis of all arrays has so many entries once whole, and so many a part, of which only the last may be
        shorter. The note is JSON for whoever commits. StoreLayoutError if an array is of another length, or of a type
        that not every reader knows.
        """
        target = Recorder(self._store, self._path, self._metadata, self._work.adopted)
        start = number * unit
        for name, array in arrays.items():
            if start + len(array[1]) != min(start + unit, length):
                raise StoreLayoutError(
                    f"Part {number} of '{name}' has {len(array[1])} of {length} entries; expected {unit}, or what is "
                    "left of the last part."
                )
            self._put(target, name, array, (start, length, unit))
        self._record(number, Part(target.entries, target.metadata, note))

    def copy_part(self, number: int, length: int, donor: Product, donor_number: int) -> None:
        """Write a part with the objects of another product's part of the same arrays; nothing is decoded.

        The length is that of the first axis of all arrays, once whole.
        """
        given = donor.manifest.part_record(donor_number)
        target = Recorder(self._store, self._path, self._metadata, self._work.adopted)
        for name, fields in given.arrays.items():
            target.put(f"{name}/{GROUP_FILE}", to_json({**fields, "shape": [length, *fields["shape"][1:]]}))
        for key, entry in given.objects.items():
            if is_metadata(key):
                continue
            name, _, _, *rest = key.split("/")
            content = read_entry(self._store, donor.commit.path, key, entry)
            target.put("/".join([name, "c", str(number), *rest]), content)
        self._record(number, Part(target.entries, target.metadata, given.note))

    def complete(self, name: str, same: str, part_count: int) -> bool:
        """See to it that all parts or none have an array, and say which.

        Parts that are without it, and not empty, get what they have in another array of the same form.
        """
        parts = [self.part(number) for number in range(part_count)]
        fields = next((part.arrays[name] for part in parts if part is not None and name in part.arrays), None)
        if fields is None:
            return False
        for number, part in enumerate(parts):
            if part is not None and same in part.arrays and name not in part.arrays:
                target = Recorder(self._store, self._path, self._metadata, self._work.adopted)
                target.put(f"{name}/{GROUP_FILE}", to_json(fields))
                for key, entry in part.objects.items():
                    if key.startswith(f"{same}/c/"):
                        content = read_entry(self._store, self._path, key, entry)
                        target.put(f"{name}{key.removeprefix(same)}", content)
                whole = Part({**part.objects, **target.entries}, {**part.arrays, **target.metadata}, part.note)
                self._record(number, whole)
        return True

    def commit(self, arrays: Mapping[str, NamedArray], attrs: Mapping[str, Any], part_count: int = 0) -> Commit:
        """Write what belongs to no part, and make all of it the product, or adopt that of whoever was faster.

        Each array is stored as one chunk; attributes are JSON. StoreLayoutError if a part is missing, parts have
        different arrays, or attributes are not plain JSON.
        """
        manifest = self._complete(arrays, attrs, part_count)
        self._at_step("filled")
        commit = protocol.publish(self._store, self._path, manifest, self._work, self._at_step)
        if part_count and self._records_parts:
            protocol.forget_parts(self._store, self._path)
        return commit

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
                        f"before ({metadata[name]['chunk_grid']}). Give every part the same arrays."
                    )
            parts.append(replace(part, arrays={}))
        target = Recorder(self._store, self._path, self._metadata, self._work.adopted)
        for name, array in arrays.items():
            self._put(target, name, array)
        return Manifest(uuid.uuid4().hex, dict(attrs), tuple(parts), target.entries, metadata | target.metadata)

    def _put(self, target: Recorder, name: str, array: NamedArray, part: tuple[int, int, int] | None = None) -> None:
        # Zarr makes arrays: a run is planned without it.
        from lift3d.storage.packed import packed

        for key, content in packed(name, array, part).items():
            if key != GROUP_FILE:  # that of the group, which the commit writes
                # Without a copy: an object may be a whole part of a scene.
                target.put(key, np.asarray(content.as_numpy_array()).data.toreadonly().cast("B"))
        self._at_step("filling")

    def _record(self, number: int, part: Part) -> None:
        if self._records_parts:
            self._store.write_bytes(part_path(self._path, number), part.to_bytes())
        self._parts[number] = part
        self._at_step("part")


def write_product(
    store: Store, path: str, arrays: Mapping[str, NamedArray], attrs: Mapping[str, Any], at_step: StepHook = ignore_step
) -> Commit:
    """Write and commit arrays that are all at hand, each as one chunk."""
    return ProductWriter(store, path, at_step).commit(arrays, attrs)
