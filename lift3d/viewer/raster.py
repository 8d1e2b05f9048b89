"""Which point of the surface every pixel of a picture shows, from anywhere, without a graphics card.

Every point is a disc of a few pixels. Those that would be wider are drawn into pictures half as large, a fourth, and so
on, where they are as small, and close the gaps of the finer picture.

Letters: a key is a depth and the point that has it in one number, of which the least is the nearest.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from lift3d.viewer.surface_points import LEVELS

# Depths, page units, in steps of a key's upper half; the page's own far plane lies nearer.
_STEPS, _FARTHEST = 2.0**20, 1000.0
_NOTHING = 2**62
# Surfaces this much nearer, as a share of depth, hide what lies behind; nearer by less they are the same.
_BEHIND = 0.03
# No disc is larger than this, doubled so many times: beside the eye one would be the whole picture.
_MOST_LEVELS = 4
# Points between which there are fewer pixels than this are more than it takes.
_FINEST_PX = 1.0
_SAMPLE, _NEAR_SHARE = 4096, 0.4
# Discs of points are no larger; no larger than a dot they are one pixel.
_LARGEST_DISC_PX, _DOT_PX = 8.0, 1.6
_NEAREST = 1e-3
# The points of two cubes beside each other may lie so many times farther apart than the cubes.
_UNEVEN = 1.5
_LOW = 2**32 - 1


@dataclass(frozen=True, slots=True)
class PageCamera:
    """From where a picture is seen: in page coordinates, camera axes as OpenCV's, the principal point in the middle."""

    w2c: Float[Tensor, "4 4"]
    fov: float
    height: int
    width: int

    @property
    def focal(self) -> float:
        """Focal length, pixels."""
        return self.height / 2 / math.tan(self.fov / 2)


@dataclass(frozen=True, slots=True, eq=False)
class RasterPoints:
    """Points in page coordinates, the coarser before the finer, a column per axis.

    Attributes:
        xyz: Where they are.
        radius: Half of how far they are from the next.
        index: Which points of the cloud they are.
        level: How coarse they are, see ``by_detail``.
    """

    xyz: Float[Tensor, "3 point"]
    radius: Float[Tensor, " point"]
    index: Int[Tensor, " point"]
    level: UInt8[Tensor, " point"]

    def only(self, kept: Int[Tensor, " kept"]) -> "RasterPoints":
        """Return some of them."""
        return RasterPoints(self.xyz[:, kept].contiguous(), self.radius[kept], self.index[kept], self.level[kept])

    def first(self, count: int) -> "RasterPoints":
        """Return the first of them, the coarsest."""
        return RasterPoints(self.xyz[:, :count], self.radius[:count], self.index[:count], self.level[:count])

    def wider_of(self, count: int) -> float:
        """Return how many times farther apart than all the first of them lie."""
        counts, widths = self._steps
        return float(np.interp(math.log(max(1, count)), counts, widths))

    def count_of(self, wider: float) -> int:
        """Return how many of the first lie so many times farther apart than all."""
        counts, widths = self._steps
        return min(len(self.index), math.ceil(math.exp(float(np.interp(wider, widths[::-1], counts[::-1])))))

    @property
    def _steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logarithms of how many points there are up to each level, and how far apart they lie then."""
        of_levels = torch.bincount(self.level.int(), minlength=LEVELS + 1).flip(0).cumsum(0).clamp(min=1)
        widths = [2.0 ** (LEVELS - 1 - number) for number in range(LEVELS)] + [1.0]
        return of_levels.double().log().numpy(), np.array(widths)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a picture shows: at every pixel a point of the cloud, −1 where there is none, and its depth."""

    point: Int[Tensor, "height width"]
    z_depth: Float[Tensor, "height width"]


def seen_points(points: RasterPoints, camera: PageCamera) -> Seen:
    """Return what a camera sees of points."""
    points, grown = _coarse_enough(points, camera)
    height, width = camera.height, camera.width
    u, v, z = projected(points.xyz, camera)
    kept = torch.nonzero((z > _NEAREST) & (z < _FARTHEST) & (u >= 0) & (u < width) & (v >= 0) & (v < height))[:, 0]
    u, v, z = (one.index_select(0, kept) for one in (u, v, z))
    if not len(kept):
        return Seen(torch.full((height, width), -1), torch.full((height, width), torch.nan))
    size = (2 * grown * camera.focal) * points.radius.index_select(0, kept) / z
    keys = ((z * _STEPS).long() << 32) | torch.arange(len(kept))
    found = _with_discs(keys, u.long(), v.long(), size, height, width)
    if float(size.max()) > _LARGEST_DISC_PX:
        found = _with_wide(found, keys, u, v, size)
    is_some = found < _NOTHING
    point = points.index[kept[torch.where(is_some, found & _LOW, 0)]]
    return Seen(torch.where(is_some, point, -1), torch.where(is_some, _depth(found), torch.nan))


def _with_discs(
    keys: Int[Tensor, " point"],
    col: Int[Tensor, " point"],
    row: Int[Tensor, " point"],
    size: Float[Tensor, " point"],
    height: int,
    width: int,
) -> Int[Tensor, "height width"]:
    """Return the nearest key at each pixel, every point a disc of its size, if that is no larger than the largest."""
    found = torch.full((height * width,), _NOTHING).scatter_reduce_(0, row * width + col, keys, "amin")
    radius, most = size / 2, int(_LARGEST_DISC_PX / 2)
    rings: dict[float, list[tuple[int, int]]] = {}
    for down, right in itertools.product(range(-most, most + 1), repeat=2):
        rings.setdefault(math.hypot(down, right), []).append((down, right))
    for apart in sorted(rings)[1:]:
        if apart > most:
            break
        # Of those that reached the ring before, those that reach this one, too.
        kept = torch.nonzero(radius >= max(apart, _DOT_PX / 2))[:, 0]
        radius, keys, col, row = (one.index_select(0, kept) for one in (radius, keys, col, row))
        for down, right in rings[apart]:
            at, under = col + right, row + down
            is_inside = (at >= 0) & (at < width) & (under >= 0) & (under < height)
            pixel = torch.where(is_inside, under * width + at, 0)
            found.scatter_reduce_(0, pixel, torch.where(is_inside, keys, _NOTHING), "amin")
    return found.reshape(height, width)


def _with_wide(
    found: Int[Tensor, "height width"],
    keys: Int[Tensor, " point"],
    u: Float[Tensor, " point"],
    v: Float[Tensor, " point"],
    size: Float[Tensor, " point"],
) -> Int[Tensor, "height width"]:
    """Close what lies between points that are wider than any disc: by discs in pictures half as large, and so on."""
    most = min(_MOST_LEVELS, math.ceil(math.log2(float(size.max()) / _LARGEST_DISC_PX)))
    wide: Tensor | None = None
    for number in reversed(range(most + 1)):
        own, scale = found, 2**number
        if number:
            kept = torch.nonzero(size > scale * _LARGEST_DISC_PX / 2)[:, 0]
            if number < most:
                kept = kept[size[kept] <= scale * _LARGEST_DISC_PX]
            col, row = ((one[kept] / scale).long() for one in (u, v))
            height, width = (math.ceil(side / scale) for side in found.shape)
            own = _with_discs(keys[kept], col, row, size[kept] / scale, height, width)
        if wide is not None:
            wide = wide.repeat_interleave(2, 0).repeat_interleave(2, 1)[: own.shape[0], : own.shape[1]]
            own = torch.where(_depth(own) <= _depth(wide) * (1 + _BEHIND), own, wide)
        wide = own
    return found if wide is None else wide


def _depth(keys: Int[Tensor, "row col"]) -> Float[Tensor, "row col"]:
    return (keys >> 32).float() / _STEPS


def projected(xyz: Float[Tensor, "3 point"], camera: PageCamera) -> tuple[Tensor, Tensor, Tensor]:
    """Return pixels, across and down, and depths of points."""
    K = torch.tensor([[camera.focal, 0, camera.width / 2], [0, camera.focal, camera.height / 2], [0, 0, 1]])
    rows = (K.double() @ camera.w2c[:3].double()).float()
    x, y, z = torch.addmm(rows[:, 3:], rows[:, :3], xyz)
    return x / z, y / z, z


def _coarse_enough(points: RasterPoints, camera: PageCamera) -> tuple[RasterPoints, float]:
    """Return the first points, as many as it takes, and by how much farther apart they are than all."""
    step = max(1, len(points.index) // _SAMPLE)
    u, v, z = projected(points.xyz[:, ::step], camera)
    is_seen = (z > _NEAREST) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    apart = 2 * camera.focal * points.radius[::step][is_seen] / z[is_seen]
    if not len(apart):
        return points, 1.0
    wider = _FINEST_PX / max(float(apart.quantile(_NEAR_SHARE)), 1e-6)
    # Whole levels: of half of one, gaps would be as wide as without it.
    count = points.count_of(2.0 ** math.floor(math.log2(wider))) if wider >= 2 else len(points.index)
    if count >= len(points.index):
        return points, 1.0
    return points.first(count), _UNEVEN * points.wider_of(count)
