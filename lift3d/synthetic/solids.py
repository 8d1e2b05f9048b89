"""Solids of a training world in any orientation, and the first surface along the rays of a camera.

The demonstration scenes have a tracer of their own whose pixels are fixed for ever; this one is made to change
with the training data: solids turn freely, cards have holes, ground has relief. Letters: in a solid's *unit*
coordinates each local axis is divided by the half size. A ray is ``center + t · direction`` with a direction
of camera z = 1, so that ``t`` is the z-depth.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int16
from numpy import ndarray

from lift3d.domain.camera import Camera

_NEAR = 1e-3
# Steps of the search for relief, spaced evenly in log t: fine near the camera, where detail is seen.
_RELIEF_STEPS, _RELIEF_BISECTIONS = 56, 6
# Rays that are followed at a time: small enough to stay in the processor's cache.
_STRIP_RAYS = 8192


class Kind(IntEnum):
    """Unit shapes. A hollow is a box seen from inside; a card lies in z = 0; relief is z = height(x, y)."""

    BOX = 0
    BALL = 1
    TUBE = 2
    CARD = 3
    HOLLOW = 4
    RELIEF = 5


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """A unit shape, stretched, turned and placed.

    Attributes:
        kind: Which unit shape.
        center: World units.
        half_size: Half the extent along each local axis, world units.
        axes: Local axes in the world, one per row.
        skins: Numbers of the skins of its faces (−x, +x, −y, +y, −z, +z).
        field: Heights in [−1, 1] of a relief; opacity of a card, which has holes where it is below a half.
    """

    kind: Kind
    center: Float[ndarray, "3"]
    half_size: Float[ndarray, "3"]
    axes: Float[ndarray, "3 3"]
    skins: tuple[int, int, int, int, int, int]
    field: Float32[ndarray, "row col"] | None = None

    @property
    def unit_from_world(self) -> Float[ndarray, "3 3"]:
        """Linear part of the map from the world to unit coordinates."""
        frame: ndarray = self.axes / self.half_size[:, None]
        return frame

    def distance(self, xyz_world: Float[ndarray, "point 3"]) -> Float[ndarray, " point"]:
        """Return how far points are from the box around the solid, 0 inside."""
        local = (xyz_world - self.center) @ self.axes.T
        distance: ndarray = np.linalg.norm(np.maximum(np.abs(local) - self.half_size, 0), axis=1)
        return distance


@dataclass(frozen=True, slots=True, eq=False)
class Rays:
    """The rays of a camera, ``samples`` per pixel and axis: direction = base + u · along_u + v · along_v.

    u and v are pixels; the sample (row i, column j) is at ``(j + 0.5, i + 0.5) / samples``.
    """

    rows: int
    cols: int
    samples: int
    origin: Float[ndarray, "3"]
    base: Float[ndarray, "3"]
    along_u: Float[ndarray, "3"]
    along_v: Float[ndarray, "3"]
    w2c: Float[ndarray, "4 4"]
    K: Float[ndarray, "3 3"]

    @classmethod
    def of(cls, camera: Camera, samples: int) -> "Rays":
        """Return the rays of a camera without skew."""
        K, w2c = camera.K.numpy(), camera.w2c.numpy()
        right, down, forward = w2c[:3, :3]
        return cls(
            rows=camera.size.height * samples,
            cols=camera.size.width * samples,
            samples=samples,
            origin=camera.center.numpy(),
            base=forward - right * K[0, 2] / K[0, 0] - down * K[1, 2] / K[1, 1],
            along_u=right / K[0, 0],
            along_v=down / K[1, 1],
            w2c=w2c,
            K=K,
        )

    def directions(self, frame: Float[ndarray, "3 3"], window: tuple[slice, slice]) -> Float32[ndarray, "3 row col"]:
        """Return the directions of a window of samples after a linear map."""
        rows, cols = np.arange(self.rows)[window[0]], np.arange(self.cols)[window[1]]
        u, v = (cols + 0.5) / self.samples, (rows + 0.5) / self.samples
        down = (frame @ self.base)[:, None] + np.outer(frame @ self.along_v, v)
        across = np.outer(frame @ self.along_u, u)
        direction: ndarray = down.astype(np.float32)[:, :, None] + across.astype(np.float32)[:, None, :]
        return direction


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Where rays end: z-depth (infinite in the sky) and the number of the solid (−1 in the sky)."""

    z_depth: Float32[ndarray, "row col"]
    solid: Int16[ndarray, "row col"]


def cast(solids: Sequence[Solid], rays: Rays) -> Hits:
    """Find the first surface along each ray."""
    z_depth = np.full((rays.rows, rays.cols), np.inf, dtype=np.float32)
    index = np.full((rays.rows, rays.cols), -1, dtype=np.int16)
    for number, solid in enumerate(solids):
        window = _window(solid, rays)
        if window is None:
            continue
        frame = solid.unit_from_world
        origin = (frame @ (rays.origin - solid.center)).astype(np.float32)
        for part in _strips(window):
            t = _enter(solid, origin, rays.directions(frame, part))
            is_nearer = t < z_depth[part]
            z_depth[part] = np.where(is_nearer, t, z_depth[part])
            index[part][is_nearer] = number
    return Hits(z_depth, index)


def field_at(field: Float32[ndarray, "row col"], x: ndarray, y: ndarray) -> Float32[ndarray, "a b"]:
    """Read a field over the unit square [−1, 1]² bilinearly; the border value holds outside."""
    rows, cols = field.shape
    at_x = (x * np.float32(cols / 2) + np.float32(cols / 2 - 0.5)).astype(np.float32, copy=False)
    at_y = (y * np.float32(rows / 2) + np.float32(rows / 2 - 0.5)).astype(np.float32, copy=False)
    read: ndarray = cv2.remap(field, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return read


def _window(solid: Solid, rays: Rays) -> tuple[slice, slice] | None:
    """Rows and columns of the samples that can see the solid; None if none can."""
    everything = (slice(0, rays.rows), slice(0, rays.cols))
    if solid.kind == Kind.HOLLOW:
        return everything
    corners = _CORNERS * solid.half_size @ solid.axes + solid.center
    xyz = corners @ rays.w2c[:3, :3].T + rays.w2c[:3, 3]
    if xyz[:, 2].max() <= _NEAR:
        return None
    if xyz[:, 2].min() <= _NEAR:
        return everything
    uv = xyz[:, :2] / xyz[:, 2:] * rays.K.diagonal()[:2] + rays.K[:2, 2]
    low = np.floor(uv.min(0) * rays.samples).clip(0, (rays.cols, rays.rows)).astype(int)
    high = np.ceil(uv.max(0) * rays.samples).clip(0, (rays.cols, rays.rows)).astype(int)
    if (low >= high).any():
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def _strips(window: tuple[slice, slice]) -> Iterator[tuple[slice, slice]]:
    rows, cols = window
    step = max(1, _STRIP_RAYS // (cols.stop - cols.start))
    for top in range(rows.start, rows.stop, step):
        yield slice(top, min(top + step, rows.stop)), cols


_CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))


def _enter(
    solid: Solid, origin: Float32[ndarray, "3"], direction: Float32[ndarray, "3 row col"]
) -> Float32[ndarray, "row col"]:
    """Return t where rays enter (a hollow: leave) the solid, infinite where they miss it."""
    match solid.kind:
        case Kind.BOX:
            enter, leave = _slabs(origin, direction)
            return _first(enter, enter < leave)
        case Kind.HOLLOW:
            return _slabs(origin, direction)[1]
        case Kind.BALL:
            t, half_chord = _chord(origin, direction)
            return _first(t - half_chord, half_chord > 0)
        case Kind.TUBE:
            t, half_chord = _chord(origin[:2], direction[:2])
            low, high = _slabs(origin[2:], direction[2:])
            enter, leave = np.maximum(t - half_chord, low), np.minimum(t + half_chord, high)
            return _first(enter, (half_chord > 0) & (enter < leave))
        case Kind.CARD:
            return _enter_card(solid.field, origin, direction)
        case Kind.RELIEF:
            return _enter_relief(solid.field, origin, direction)


def _first(t: Float32[ndarray, "row col"], is_hit: Bool[ndarray, "row col"]) -> Float32[ndarray, "row col"]:
    return np.where(is_hit & (t > _NEAR), t, np.float32(np.inf))


def _slope(direction: ndarray) -> ndarray:
    """Return directions without zeros: a ray along a plane never crosses it, but the quotient stays finite."""
    return np.where(np.abs(direction) < 1e-9, np.float32(1e-9), direction)


def _slabs(origin: ndarray, direction: ndarray) -> tuple[ndarray, ndarray]:
    """Entry into and exit from the unit box (Kay & Kajiya 1986, Ray Tracing Complex Scenes)."""
    inverse = 1 / _slope(direction)
    middle, half = -origin[:, None, None] * inverse, np.abs(inverse)
    return (middle - half).max(0), (middle + half).min(0)


def _chord(origin: ndarray, direction: ndarray) -> tuple[ndarray, ndarray]:
    """Nearest approach to the centre, and half the chord of the unit ball or circle (0: missed)."""
    slope = _slope(direction)
    squared = (slope * slope).sum(0)
    t = -np.tensordot(origin, slope, 1) / squared
    # From the nearest point, not b² − ac, which loses digits (Haines & Akenine-Möller, Ray Tracing Gems, ch. 7).
    nearest = origin[:, None, None] + t * slope
    return t, np.sqrt(np.maximum((1 - (nearest * nearest).sum(0)) / squared, 0))


def _enter_card(field: ndarray | None, origin: ndarray, direction: ndarray) -> ndarray:
    t = -origin[2] / _slope(direction[2])
    x, y = origin[0] + t * direction[0], origin[1] + t * direction[1]
    is_hit = (np.abs(x) < 1) & (np.abs(y) < 1)
    if field is not None:
        is_hit &= field_at(field, x, y) > 0.5
    return _first(t, is_hit)


def _enter_relief(field: ndarray | None, origin: ndarray, direction: ndarray) -> ndarray:
    """March through the box around the relief to the first step below it, then halve that step."""
    heights = np.zeros((2, 2), dtype=np.float32) if field is None else field
    enter, leave = _slabs(origin, direction)
    is_crossed = (leave > _NEAR) & (enter < leave)
    near = np.where(is_crossed, np.maximum(enter, leave * 0.01).clip(min=_NEAR), 1).astype(np.float32)
    growth = (np.where(is_crossed, leave, near) / near) ** np.float32(1 / _RELIEF_STEPS)
    t, above, below = near, near, np.full_like(near, np.inf)
    for _ in range(_RELIEF_STEPS + 1):
        is_below = _is_below(heights, origin, direction, t)
        is_open = np.isinf(below) & is_crossed
        below = np.where(is_open & is_below, t, below)
        is_open &= ~is_below
        if not is_open.any():
            break
        above = np.where(is_open, t, above)
        t = np.multiply(t, growth, dtype=np.float32)
    is_hit = np.isfinite(below)
    low, high = np.where(is_hit, above, 1), np.where(is_hit, below, 1)
    for _ in range(_RELIEF_BISECTIONS):
        middle = (low + high) / 2
        is_below = _is_below(heights, origin, direction, middle)
        low, high = np.where(is_below, low, middle), np.where(is_below, middle, high)
    return _first((low + high) / 2, is_hit)


def _is_below(heights: ndarray, origin: ndarray, direction: ndarray, t: ndarray) -> ndarray:
    x, y, z = (origin[axis] + t * direction[axis] for axis in range(3))
    is_below: ndarray = z < field_at(heights, x, y)
    return is_below
