"""What a run remembers of a scene: small, no arrays. Light: imports neither torch nor pandas."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from pydantic import TypeAdapter

from lift3d.domain.keys import SceneId, ViewId, parse_json

# The operator's plain answer on each true target image, stored and scored like a lifter.
RAW2D = "raw2d"


# What stages count, in the order of the line; their plural takes an s.
_COUNTED = {
    "features": "feature map",
    "tracks": "track set",
    "states": "scene state",
    "surfaces": "surface",
    "lifted": "lifted product",
    "scores": "score table",
}


@dataclass(frozen=True, slots=True)
class DroppedView:
    """A view that could not be used, and why; it becomes a row of the table."""

    id: ViewId
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class LiftedProduct:
    """Where the lifted views of one operator and lifter (or raw2d) lie.

    ``parts`` are the paths in the order of the targets; none if the scene has no such views, for a ``reason``.
    """

    operator: str
    lifter: str
    digest: str
    parts: tuple[str, ...]
    reason: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether these are the plain 2D answers."""
        return self.lifter == RAW2D


@dataclass(frozen=True, slots=True)
class SceneRecord:
    """What came of a scene in a run; failed, for a reason, if nothing could be computed.

    ``location`` is what the recipe calls it, ``protocol`` how targets were chosen (heldout-8), ``inputs`` the digest of
    all that the scene depended on; ``notes`` say what the reader repaired, assumed or passed over. ``surface`` is what
    the scene's surface comes from, such as ``mesh 'scan.ply'`` (empty if no lifter reads it). ``lifted`` has raw2d
    first for each operator; ``rows`` is the digest of the file of score rows; ``computed`` counts the products of each
    kind that were missing. Who is quarantined was given up after costing too many workers.
    """

    scene: SceneId
    location: str
    outcome: Literal["ok", "failed"]
    reason: str = ""
    protocol: str = ""
    inputs: str = ""
    view_count: int = 0
    target_count: int = 0
    dropped: tuple[DroppedView, ...] = ()
    notes: tuple[str, ...] = ()
    surface: str = ""
    lifted: tuple[LiftedProduct, ...] = ()
    rows: str = ""
    computed: Mapping[str, int] = field(default_factory=dict)
    is_quarantined: bool = False
    surface_path: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the scene was computed."""
        return self.outcome == "ok"

    @property
    def products(self) -> tuple[LiftedProduct, ...]:
        """The products that have views."""
        return tuple(one for one in self.lifted if one.parts)

    @property
    def operators(self) -> tuple[str, ...]:
        """Operators that have views, in the recipe's order, as they spell themselves."""
        return tuple(dict.fromkeys(one.operator for one in self.products))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Operators and lifters that gave views, raw2d left out: what a run is for."""
        return tuple((one.operator, one.lifter) for one in self.products if not one.is_plain)

    @property
    def paths(self) -> tuple[str, ...]:
        """The products that the record rests on; what it was computed from (features, tracks) is a cache."""
        return tuple(path for one in self.lifted for path in one.parts)

    def parts(self, operator: str, lifter: str) -> tuple[str, ...]:
        """Return the paths of the views of one operator and lifter."""
        found = (one.parts for one in self.lifted if (one.operator, one.lifter) == (operator, lifter))
        return next(found, ())

    def reasons(self, operator: str) -> tuple[str, ...]:
        """Return why an operator was not lifted by some lifters."""
        return tuple(one.reason for one in self.lifted if one.operator == operator and not one.is_plain and one.reason)

    def to_bytes(self) -> bytes:
        """Return the record as it is stored: JSON, equal for equal records."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def parsed(cls, content: bytes) -> "SceneRecord | None":
        """Return a stored record; None if it is damaged or of another form, which is as good as no record."""
        try:
            # Not by pydantic's own JSON reader: names of files may hold lone surrogates, which it refuses.
            return _RECORD.validate_python(parse_json(content))
        except ValueError:
            return None


_RECORD = TypeAdapter(SceneRecord)


def counted(number: int, noun: str) -> str:
    """Return a number of things in words: 1 view, 2 views."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def computed_words(computed: Mapping[str, int]) -> str:
    """Return what was computed, the line's products first; empty if nothing was."""
    products = [counted(computed[kind], noun) for kind, noun in _COUNTED.items() if kind in computed]
    return ", ".join([*products, *(f"{computed[kind]} {kind}" for kind in sorted(computed.keys() - _COUNTED.keys()))])
