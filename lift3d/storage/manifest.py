"""What a product consists of: every object with its size and CRC-32, part by part. Sealed, so that no bit may flip."""

import hashlib
import json
import operator
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lift3d.domain.keys import parse_json
from lift3d.errors import StoreLayoutError
from lift3d.storage.array_form import array_forms, check_arrays
from lift3d.storage.layout import GROUP_FILE, is_key

_OPEN_SEAL = "0" * 64
_SEAL = re.compile(rb'"lift3d_seal": "([0-9a-f]{64})"')
_OWN_ATTRIBUTES = "lift3d"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a stored object must look like: size in bytes and CRC-32 of its content.

    Not CRC-32C: chunks end with their own, and that of a whole that ends so is the same whatever it holds.
    """

    size: int
    crc32: int

    @classmethod
    def of(cls, content: bytes | memoryview) -> "Entry":
        """Describe the content of an object."""
        return cls(len(content), zlib.crc32(content))


@dataclass(frozen=True, slots=True)
class Part:
    """Some regions of a product's arrays, done by one worker: objects and Zarr metadata, by key and name.

    ``note`` is JSON that the writer wants to know when all parts are there.
    """

    objects: Mapping[str, Entry]
    arrays: Mapping[str, Any]
    note: Any = None

    def to_bytes(self) -> bytes:
        """Return the record of the part, sealed."""
        return _sealed({"lift3d_seal": _OPEN_SEAL, "arrays": self.arrays, **_part_fields(self)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Part":
        """Parse what ``to_bytes`` wrote; ValueError if it is something else."""
        with _only_value_errors():
            fields = _unsealed(content)
            array_forms(fields["arrays"])
            return cls(_entries(fields["objects"]), fields["arrays"], fields["note"])


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a product consists of; its form in the store is the ``zarr.json`` of the group.

    ``write_id`` tells one write of it from another; parts stand in order, without metadata of arrays; ``objects``
    belong to no part.
    """

    write_id: str
    attrs: Mapping[str, Any]
    parts: tuple[Part, ...]
    objects: Mapping[str, Entry]
    arrays: Mapping[str, Any]

    @property
    def entries(self) -> dict[str, Entry]:
        """Every object but the group file, by key below the product."""
        found = dict(self.objects)
        for part in self.parts:
            found |= part.objects
        return found

    def part_record(self, number: int) -> Part:
        """Return a part as it is recorded on its own."""
        part = self.parts[number]
        names = {key.split("/")[0] for key in part.objects}
        return replace(part, arrays={name: self.arrays[name] for name in sorted(names)})

    def to_bytes(self) -> bytes:
        """Return the group file: attributes, the manifest among them, and the metadata of all arrays."""
        own = {
            "lift3d_seal": _OPEN_SEAL,
            "write_id": self.write_id,
            "parts": [_part_fields(part) for part in self.parts],
            "objects": _pairs(self.objects),
        }
        # With all metadata here a reader opens the group by one request. Zarr's own function for this lists the store.
        return _sealed(
            {
                "zarr_format": 3,
                "node_type": "group",
                "attributes": {**self.attrs, _OWN_ATTRIBUTES: own},
                "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": self.arrays},
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "Manifest":
        """Parse what ``to_bytes`` wrote; ValueError if it is something else, or arrays and objects do not fit."""
        with _only_value_errors():
            group = _unsealed(content)
            attrs = dict(group["attributes"])
            own = attrs.pop(_OWN_ATTRIBUTES)
            parts = tuple(Part(_entries(one["objects"]), {}, one["note"]) for one in own["parts"])
            arrays = dict(group["consolidated_metadata"]["metadata"])
            found = cls(str(own["write_id"]), attrs, parts, _entries(own["objects"]), arrays)
            sizes = {key: entry.size for key, entry in found.entries.items()}
            empty = [number for number, part in enumerate(parts) if not part.objects]
            check_arrays(arrays, sizes, empty)
            return found


def to_json(content: Any) -> bytes:
    """Return content as JSON with sorted keys."""
    try:
        return json.dumps(content, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise StoreLayoutError(
            f"Attributes are plain JSON with finite numbers: {error}. Write None for a missing number."
        ) from error


def is_metadata(key: str) -> bool:
    """Whether an object is metadata of Zarr, rather than values."""
    return key.rsplit("/", 1)[-1] == GROUP_FILE


def _part_fields(part: Part) -> dict[str, Any]:
    return {"objects": _pairs(part.objects), "note": part.note}


def _pairs(entries: Mapping[str, Entry]) -> dict[str, list[int]]:
    return {key: [entry.size, entry.crc32] for key, entry in entries.items()}


def _entries(pairs: Mapping[str, Any]) -> dict[str, Entry]:
    entries = {key: Entry(*map(operator.index, pair)) for key, pair in pairs.items()}
    if any(not is_key(key) or entry.size < 0 for key, entry in entries.items()):
        raise ValueError("a key leads out of the product, or a size is negative")
    return entries


@contextmanager
def _only_value_errors() -> Iterator[None]:
    """Raise what JSON of another form leads to as ValueError."""
    try:
        yield
    except (TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"it is of another form ({type(error).__name__}: {error})") from error


def _sealed(content: Mapping[str, Any]) -> bytes:
    """Return JSON that holds the SHA-256 of itself, taken while zeros stand in its place."""
    encoded = to_json(content)
    seal = hashlib.sha256(encoded).hexdigest()
    return encoded.replace(f'"lift3d_seal": "{_OPEN_SEAL}"'.encode(), f'"lift3d_seal": "{seal}"'.encode())


def _unsealed(content: bytes) -> Any:
    found = _SEAL.search(content)
    if found is None:
        raise ValueError("there is no seal")
    start, end = found.span(1)
    if hashlib.sha256(content[:start] + _OPEN_SEAL.encode() + content[end:]).hexdigest() != found[1].decode():
        raise ValueError("the seal is broken")
    return parse_json(content)
