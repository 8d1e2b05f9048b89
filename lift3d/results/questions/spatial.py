"""What is measured of things and between them, each with its tolerance, and in doubt where it is not to be relied on.

Doubts are reasons of ``question_templates.REFUSED``. Things must know where up is, but for ``nearest`` and views.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lift3d.results.questions.thing import STRAY, Shown, Thing, Vector

# A number that may be off by more than this share is in doubt.
NUMBER = 0.1
# Either end of a length is off by so many times a point's noise; outlines of masks by more than feet.
_FOOT, _OUTLINE = 1.0, 1.5
# How far back a thing goes is known if it is seen from so many degrees around it.
_AROUND_DEG = 80.0
# Spacings between the lowest points and what it stands on; balls hide where they touch it.
_FOOTING = 1.25
# Sides that face each other by less than this cosine may hide what is nearest of them.
_FACING = 0.5
# A middle may be off by this share of the size, for what is not seen of the back.
_MIDDLE = 0.1
# Of the points of a thing, as a view shows it, this share on either side is left out.
_FRINGE = 0.02


@dataclass(frozen=True, slots=True)
class Measured:
    """A length and its tolerance, in units of the world, or how clearly a relation holds; why it is in doubt, if it is.

    The sign of a relation says which way it holds; its tolerance is the margin that it must exceed.
    """

    value: float
    tolerance: float
    doubt: str = ""

    @classmethod
    def length(cls, value: float, tolerance: float, *doubts: str) -> "Measured":
        """Return a length, in doubt, too, if its tolerance is more than a tenth of it."""
        doubts = (*doubts, "noise" if tolerance > NUMBER * value else "")
        return cls(value, tolerance, next(filter(None, doubts), ""))

    @classmethod
    def relation(cls, value: float, margin: float, *doubts: str) -> "Measured":
        """Return a relation, in doubt, too, if it is not clear by the margin."""
        doubts = (*doubts, "noise" if abs(value) <= margin else "")
        return cls(value, margin, next(filter(None, doubts), ""))


def height(thing: Thing) -> Measured:
    """Measure along up."""
    low, high, is_cut = thing.extents[2]
    underside = "underside" if thing.footing > _FOOTING else ""
    return Measured.length(high - low, 2 * _FOOT * thing.noise, "cut-off" if is_cut else "", underside)


def width(thing: Thing) -> Measured:
    """Measure the longer level side of the smallest upright box."""
    low, high, is_cut = max(thing.extents[:2], key=lambda one: one[1] - one[0])
    return Measured.length(high - low, *_outlined(thing, is_cut=is_cut))


def longest(thing: Thing) -> Measured:
    """Measure the largest extent in any direction."""
    direction = thing.longest_side
    # Corners are few points; none of them is left out.
    value = float(np.ptp(thing.xyz @ direction))
    return Measured.length(value, *_outlined(thing, is_cut=thing.extent(direction)[2]))


def nearest(a: Thing, b: Thing) -> Measured:
    """Measure between the points of two things that are nearest to each other."""
    apart, at = b.tree.query(a.xyz)
    first = int(apart.argmin())
    p, q, value = a.xyz[first], b.xyz[at[first]], float(apart[first])
    towards = (q - p) / max(value, 1e-12)
    is_facing = min(_facing(a, p, towards), _facing(b, q, -towards)) >= _FACING
    return Measured.length(value, a.noise + b.noise, "" if is_facing else "out-of-sight")


def middles(a: Thing, b: Thing) -> Measured:
    """Measure between the middles of the smallest upright boxes of two things."""
    sizes = [width(one) for one in (a, b)]
    doubts = [one.doubt if one.doubt in ("cut-off", "one-sided") else "" for one in sizes]
    loose = _MIDDLE * float(np.hypot(sizes[0].value, sizes[1].value))
    return Measured.length(float(np.linalg.norm(a.middle - b.middle)), a.noise + b.noise + loose, *doubts)


def right_of(a: Shown, b: Shown, noise: float) -> Measured:
    """Measure how many pixels a thing lies to the right of another in a view; negative: to the left."""
    pixels = max(noise * float(one.camera.K[0, 0] / np.median(one.z_depth)) for one in (a, b))
    return _apart(_interval(a.uv[:, 0]), _interval(b.uv[:, 0]), pixels)


def behind(a: Shown, b: Shown, noise: float) -> Measured:
    """Measure how far a thing lies behind another along the camera's axis; negative: in front."""
    return _apart(_interval(a.z_depth), _interval(b.z_depth), noise)


def above(a: Thing, b: Thing) -> Measured:
    """Measure by how much a thing lies above another, not even touching it from the side; negative: below."""
    first, second = (one.extents[2] for one in (a, b))
    # What stands on another is above it, though the two touch.
    slack = a.noise + b.noise
    found = _apart((first[0] + slack, first[1] - slack), (second[0] + slack, second[1] - slack), 0.0)
    upper = a if found.value > 0 else b
    return Measured.relation(found.value, 0.0, found.doubt, "" if upper.is_standing else "underside")


def farther(a: Thing, b: Thing, camera_center: Vector) -> Measured:
    """Measure how much farther from a camera a thing is than another, at its nearest point; its middle must be, too."""
    far = [np.quantile(np.linalg.norm(one.xyz - camera_center, axis=1), (STRAY, 0.5)) for one in (a, b)]
    apart = far[0] - far[1]
    return Measured.relation(float(apart[0]), a.noise + b.noise, "overlap" if apart[0] * apart[1] <= 0 else "")


def taller(a: Thing, b: Thing) -> Measured:
    """Measure how much taller a thing is than another."""
    own, other = height(a), height(b)
    doubts = [one.doubt if one.doubt != "noise" else "" for one in (own, other)]
    return Measured.relation(own.value - other.value, own.tolerance + other.tolerance, *doubts)


def higher(a: Thing, b: Thing) -> Measured:
    """Measure how much higher up the middle of a thing is than that of another; its ends must not be lower."""
    first, second = (one.extents[2] for one in (a, b))
    ends = np.array(first[:2]) - np.array(second[:2])
    value, slack = float(ends.mean()), a.noise + b.noise
    loose = _MIDDLE * (first[1] - first[0] + second[1] - second[0])
    is_mixed = bool((ends * np.sign(value) < -slack).any())
    doubts = ["cut-off" if first[2] or second[2] else "", "overlap" if is_mixed else ""]
    return Measured.relation(value, slack + loose, *doubts, "" if a.is_standing and b.is_standing else "underside")


def _outlined(thing: Thing, *, is_cut: bool) -> tuple[float, str, str]:
    """Return the tolerance of a size between outlines, and its doubts."""
    one_sided = "one-sided" if thing.around_deg < _AROUND_DEG else ""
    return 2 * _OUTLINE * thing.noise, "cut-off" if is_cut else "", one_sided


def _facing(thing: Thing, place: Vector, towards: Vector) -> float:
    """Return the cosine between a direction and the thing's normal around a place."""
    near = np.linalg.norm(thing.xyz - place, axis=1) <= 2 * thing.spacing
    normal = thing.normals[near].mean(0)
    return float(normal @ towards / max(float(np.linalg.norm(normal)), 1e-12))


def _interval(values: Float[ndarray, " point"]) -> tuple[float, float]:
    low, high = np.quantile(values, (_FRINGE, 1 - _FRINGE))
    return float(low), float(high)


def _apart(a: tuple[float, float], b: tuple[float, float], margin: float) -> Measured:
    """Return the gap between two intervals, negative if the first is the lower; in doubt if they overlap."""
    if a[0] > b[1] or a[1] < b[0]:
        return Measured.relation(a[0] - b[1] if a[0] > b[1] else a[1] - b[0], margin)
    return Measured.relation(sum(a) / 2 - sum(b) / 2, margin, "overlap")
