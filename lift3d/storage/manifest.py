"""What an attempt consists of: every object with its size and CRC-32C, and the product's attributes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np

from lift3d.errors import StoreLayoutError


@dataclass(frozen=True, slots=True)
class Entry:
    """What a stored object must look like: size in bytes and CRC-32C of its content."""

    size: int
    crc32c: int

    @classmethod
    def of(cls, content: bytes | memoryview) -> "Entry":
        """Describe the content of an object."""
        # The library takes arrays and bytes, but no views of memory.
        known = content if isinstance(content, bytes) else np.frombuffer(content, dtype=np.uint8)
        return cls(len(content), int(google_crc32c.value(known)))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an attempt consists of.

    Attributes:
        attempt: Name of the private folder.
        entries: Objects by their key below that folder, the manifest itself left out; the one written first is first.
        attrs: The product's attributes, JSON.
    """

    attempt: str
    entries: Mapping[str, Entry]
    attrs: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the manifest as canonical JSON.

        Raises:
            StoreLayoutError: If the attributes are not plain JSON (NaN is not).
        """
        content = {
            "attempt": self.attempt,
            "entries": {key: [entry.size, entry.crc32c] for key, entry in self.entries.items()},
            "attrs": self.attrs,
        }
        return to_json(content)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Manifest":
        """Parse what ``to_bytes`` wrote."""
        fields = json.loads(content)
        entries = {key: Entry(*pair) for key, pair in fields["entries"].items()}
        return cls(fields["attempt"], entries, fields["attrs"])


def to_json(content: Any) -> bytes:
    """Return content as JSON with sorted keys.

    Raises:
        StoreLayoutError: If it is not plain JSON.
    """
    try:
        return json.dumps(content, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise StoreLayoutError(
            f"Attributes and documents are plain JSON with finite numbers: {error}. Write None for a missing number."
        ) from error
