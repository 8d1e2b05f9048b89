"""What one browser has chosen to see, and how that is kept until it comes back."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from lift3d.domain.keys import parse_json
from lift3d.viewer.viewed_scene import Colouring

Shape = Literal["points", "mesh", "picture"]
CameraStyle = Literal["hidden", "outlines", "pictures"]
# The first is what a browser without a graphics card draws while one waits for it.
POINT_COUNTS = (50_000, 200_000, 500_000, 1_000_000)
# What one with a graphics card draws at first.
WITH_CARD = 500_000
# As large as the page's scene is, each way.
ALL = (-8.0, 8.0)
# Longer texts are none of ours.
_MOST_TEXT = 20_000
# Names that are kept of those that people gave, the latest.
_MOST_NAMES = 100

Place = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Eye:
    """Where a browser looks from, and at what, in page coordinates."""

    position: Place
    look_at: Place
    up: Place
    fov: float


@dataclass(frozen=True, slots=True)
class Filter:
    """Which points are shown: seen by so many views, so sure, in a box of page units along its axes."""

    least_views: int = 1
    least_confidence: float = 0.0
    x: tuple[float, float] = ALL
    y: tuple[float, float] = ALL
    z: tuple[float, float] = ALL


@dataclass(frozen=True, slots=True)
class Choice:
    """Everything that a reload brings back."""

    run: str = ""
    scene: str = ""
    operator: str = ""
    lifter: str = ""
    colouring: Colouring = "photo"
    words: str = ""
    is_lifted: bool = True
    shape: Shape = "points"
    cameras: CameraStyle = "outlines"
    count: int = POINT_COUNTS[0]
    against: str = ""
    split: float = 0.5
    shown: Filter = Filter()
    eye: Eye | None = None
    # Of labels, by what they are labels of: those that are hidden, and what people call them.
    hidden: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        """Return it as a browser keeps it; of many names, as many as there is room for."""
        names = dict([*self.names.items()][-_MOST_NAMES:])
        while len(text := json.dumps(asdict(replace(self, names=names)))) > _MOST_TEXT and names:
            names.pop(next(iter(names)))
        return text

    @classmethod
    def of(cls, text: str | None, otherwise: "Choice") -> "Choice":
        """Read what a browser kept; what it does not have, or is no such thing, is as it would be otherwise."""
        try:
            given = parse_json(text[:_MOST_TEXT]) if text else {}
        except ValueError:
            return otherwise
        if not isinstance(given, dict):
            return otherwise
        eye, shown = given.pop("eye", None), given.pop("shown", None)
        kept = _alike(given, otherwise)
        allowed: dict[str, tuple[Any, ...]] = {"count": POINT_COUNTS}
        allowed |= {"shape": get_args(Shape), "cameras": get_args(CameraStyle), "colouring": get_args(Colouring)}
        kept = {name: value for name, value in kept.items() if value in allowed.get(name, (value,))}
        for name in ("hidden", "names"):
            kept[name] = {key: one for key, one in kept.get(name, {}).items() if isinstance(one, str)}
        if isinstance(shown, dict):
            kept["shown"] = replace(Filter(), **_alike(shown, Filter()))
        if isinstance(eye, dict) and {*eye} == {one.name for one in fields(Eye)}:
            somewhere = Eye((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0)
            found = _alike(eye, somewhere)
            kept["eye"] = Eye(**found) if len(found) == len(fields(Eye)) else None
        return replace(otherwise, **kept)


def _alike(given: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Return the fields that a model has, of the kind that it has them."""
    found = {}
    for one in fields(model):
        value, own = given.get(one.name), getattr(model, one.name)
        if isinstance(own, tuple) and isinstance(value, list) and len(value) == len(own):
            value = tuple(value)
        parts = value if isinstance(value, tuple) else (value,)
        kinds = (int, float) if isinstance(own, (tuple, float)) else type(own)
        if all(isinstance(part, kinds) and not (isinstance(part, float) and not math.isfinite(part)) for part in parts):
            found[one.name] = value
    return found
