"""The surface as points: one per spot, where enough views agree.

Letters: a spot is a cell of a lattice of cubes that stands in the axes of the first view, so that neither the place
nor the heading of the world matters; its width is that of the views' cells on the surface.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.surface.scene_surface import SceneSurface, SeenSurface

# Views that show a point, weighed by confidence: two that are sure, fewer only where all points have fewer.
_LEAST_SUPPORT, _SUPPORT_SHARE = 1.5, 0.5
# They are at least so many times those that see through it.
_MAJORITY = 1.0
# Cells that are seen at less than this cosine to the normal bridge a step, or are hardly seen at all.
_LEAST_COSINE = 0.17
# A lattice that holds more than this many times the points wanted is made coarser before any view is asked.
_ASKED_SHARE = 2.0
_COARSER = 1.26
# Bits per axis of the number of a spot.
_AXIS_BITS = 20


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePoints:
    """Points of the surface of a scene, world coordinates, double precision; unit normals towards the views.

    ``spacing`` is the width of a spot; ``found`` the points that there would be if it had not been made larger.
    """

    xyz: Float[Tensor, "point 3"]
    normals: Float[Tensor, "point 3"]
    spacing: float
    found: int


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Cells of all views: where they are in the axes of the first view, and which cell of which view they are."""

    xyz: Float[Tensor, "cell 3"]
    normals: Float[Tensor, "cell 3"]
    weight: Float[Tensor, " cell"]
    width: Float[Tensor, " cell"]
    view: Int[Tensor, " cell"]
    index: Int[Tensor, " cell"]

    @classmethod
    def of(cls, surface: SceneSurface) -> "_Cells":
        first = surface.views[0].camera.w2c
        parts = [_cells_of(view, number, first) for number, view in enumerate(surface.views)]
        return cls(*(torch.cat(column) for column in zip(*parts, strict=True)))


def surface_points(surface: SceneSurface, most: int) -> SurfacePoints:
    """Return the points that enough views agree on, ``most`` at most; none if there are none.

    A point is the mean of the cells of its spot, by confidence. Independent of the order of views; equal for a world
    that is moved or scaled, but for rounding.
    """
    cells = _Cells.of(surface)
    if not len(cells.xyz):
        nothing = torch.zeros(0, 3, dtype=torch.float64)
        return SurfacePoints(nothing, nothing, 0.0, 0)
    spacing = float(cells.width.median())
    spot, count = _spots(cells.xyz, spacing)
    found = count
    while count > _ASKED_SHARE * most:
        spacing *= _COARSER
        spot, count = _spots(cells.xyz, spacing)
    points = _in_spots(cells, spot, count)
    is_kept = _is_agreed(surface, points)
    # Of the finer spots, as large a share would have been kept.
    found = round(found * float(is_kept.double().mean()))
    points = _Cells(*(getattr(points, name)[is_kept] for name in _Cells.__slots__))
    while len(points.xyz) > most:
        spacing *= _COARSER
        points = _in_spots(points, *_spots(points.xyz, spacing))
    c2w = surface.views[0].camera.c2w
    normals = torch.nn.functional.normalize(points.normals.double() @ c2w[:3, :3].T, dim=-1)
    return SurfacePoints(transform(c2w, points.xyz.double()), normals, spacing, found)


def thinned(
    xyz: Float[Tensor, "point 3"], spacing: float, first: Float[Tensor, "4 4"], most: int
) -> tuple[Float[Tensor, "spot 3"], float]:
    """Return the means of points in wider spots, ``most`` at most, and how wide those are; ``first`` as w2c."""
    place = transform(first, xyz)
    spot, count = _spots(place, spacing)
    while count > most:
        spacing *= _COARSER
        spot, count = _spots(place, spacing)
    total = torch.zeros(count, 3, dtype=xyz.dtype).index_add_(0, spot, xyz)
    return total / torch.bincount(spot, minlength=count)[:, None], spacing


def _cells_of(view: SeenSurface, number: int, first: Float[Tensor, "4 4"]) -> tuple[Tensor, ...]:
    """Return the columns of a view's cells that stand on a surface."""
    K, grid = view.camera.K.float(), view.grid
    to_first = (first @ view.camera.c2w).float()
    z_depth = torch.where(torch.isfinite(view.z_depth), view.z_depth, torch.nan)
    own = unproject(cell_centers(*grid.lattice), z_depth, K)
    if min(grid.shape) < 2:
        own = own[:0, :0]
        normals = own
    else:
        down, right = torch.gradient(own, dim=(0, 1))
        # x right and y down make z forward, which is away from the camera. NaN beside holes.
        normals = torch.nn.functional.normalize(torch.linalg.cross(down, right, dim=-1), dim=-1)
    cosine = -(normals * torch.nn.functional.normalize(own, dim=-1)).sum(-1)
    at = torch.nonzero(cosine.flatten() > _LEAST_COSINE)[:, 0]
    normals, own = normals.reshape(-1, 3)[at], own.reshape(-1, 3)[at]
    return (
        transform(to_first, own),
        normals @ to_first[:3, :3].T,
        view.confidence.flatten()[at],
        own[:, 2] * float((grid.stride_u * grid.stride_v / (K[0, 0] * K[1, 1])) ** 0.5),
        torch.full_like(at, number),
        at,
    )


def _spots(xyz: Float[Tensor, "cell 3"], spacing: float) -> tuple[Int[Tensor, " cell"], int]:
    """Return the number of each cell's spot, and how many there are."""
    half = 2 ** (_AXIS_BITS - 1)
    # From the middle of a cube, so that no wall of the lattice passes through the first camera.
    place = (xyz / spacing + 0.5).floor().clamp(-half, half - 1).long() + half
    key = (place[:, 0] << (2 * _AXIS_BITS)) | (place[:, 1] << _AXIS_BITS) | place[:, 2]
    known, spot = torch.unique(key, return_inverse=True)
    return spot, len(known)


def _in_spots(cells: _Cells, spot: Int[Tensor, " cell"], count: int) -> _Cells:
    """Return one point per spot, the mean of its cells; it is the cell of the one that is surest."""
    best = torch.zeros(count).scatter_reduce_(0, spot, cells.weight, "amax")
    number = torch.arange(len(spot))
    chosen = torch.full((count,), len(spot)).scatter_reduce_(
        0, spot, torch.where(cells.weight == best[spot], number, len(spot)), "amin"
    )
    total = torch.zeros(count).index_add_(0, spot, cells.weight)

    def mean(values: Float[Tensor, "cell axis"]) -> Float[Tensor, "spot axis"]:
        summed = torch.zeros(count, values.shape[1]).index_add_(0, spot, values * cells.weight[:, None])
        return summed / total[:, None]

    return _Cells(
        mean(cells.xyz), mean(cells.normals), total, cells.width[chosen], cells.view[chosen], cells.index[chosen]
    )


def _is_agreed(surface: SceneSurface, points: _Cells) -> Bool[Tensor, " point"]:
    """Whether enough views show a point, and more of them than see through it."""
    support, against = torch.zeros(len(points.view)), torch.zeros(len(points.view))
    for number, view in enumerate(surface.views):
        own = torch.nonzero(points.view == number)[:, 0]
        at = points.index[own]
        if not len(at):
            continue
        uv, z_depth = cell_centers(*view.grid.lattice).reshape(-1, 2)[at], view.z_depth.flatten()[at]
        asked = surface.asked(view.camera, uv, z_depth)
        look = surface.look(view.camera, uv, z_depth, asked)
        support[own] = asked.among_all(look.shown * look.confidence).sum(1)
        against[own] = asked.among_all(look.passed * look.confidence).sum(1)
    least = min(_LEAST_SUPPORT, _SUPPORT_SHARE * float(support.median()))
    return (support >= least) & (support >= _MAJORITY * against)
