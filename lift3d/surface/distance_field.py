"""How far places near the surface are from it, by all views: a truncated signed distance in bricks of voxels.

Letters: a brick is a cube of 8×8×8 voxels; bricks stand in a lattice in the axes of the first view, and only those
near the surface are there, so that memory grows with the surface and not with the room around it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import taken
from lift3d.surface.scene_surface import SceneSurface, SeenSurface

SIDE = 8
# Distances beyond this many voxels are as good as free, or unknown behind a surface.
TRUNCATION = 3.0
# Bricks whose voxels are looked up at once: about 12 MB per column of numbers.
_AT_ONCE = 6000


@dataclass(frozen=True, slots=True, eq=False)
class DistanceField:
    """Signed distance to the surface in voxels, positive before it, within ±TRUNCATION; NaN where no view tells.

    ``brick`` is the place of each brick in the lattice, sorted; voxel (i, j, k) of the lattice is centred at
    ``spacing · (i, j, k)``, world units in the axes of the first view.
    """

    brick: Int[Tensor, "brick 3"]
    distance: Float[Tensor, "brick 8 8 8"]
    spacing: float


def distance_field(
    surface: SceneSurface, xyz: Float[Tensor, "point 3"], spacing: float, views: Sequence[int]
) -> DistanceField:
    """Return the mean of what some views say of the places around points on the surface, world coordinates.

    They are weighed by confidence and by resolution; ``spacing`` is the width of a voxel, world units.

    Source:
        Curless & Levoy, A volumetric method for building complex models from range images, SIGGRAPH 1996, §3.
    """
    first = surface.views[0].camera.w2c
    brick = _bricks_around(transform(first, xyz), spacing)
    total = torch.zeros(len(brick), SIDE**3)
    weight = torch.zeros_like(total)
    inside = torch.cartesian_prod(*(torch.arange(SIDE),) * 3).double() * spacing
    for view in (surface.views[number] for number in views):
        to_view = view.camera.w2c @ torch.linalg.inv(first)
        for chosen in _seen(view, transform(to_view, (brick + 0.5).double() * (SIDE * spacing)), SIDE * spacing):
            corner = transform(to_view, brick[chosen].double() * (SIDE * spacing))
            said, sure = _said(view, corner, inside @ to_view[:3, :3].T, spacing)
            total.index_add_(0, chosen, said.mul_(sure))
            weight.index_add_(0, chosen, sure)
    distance = torch.where(weight > 0, total / weight, torch.nan)
    return DistanceField(brick, distance.reshape(-1, SIDE, SIDE, SIDE), spacing)


def _bricks_around(xyz: Float[Tensor, "point 3"], spacing: float) -> Int[Tensor, "brick 3"]:
    """Return the bricks that hold a place within the truncation of a point."""
    reach = TRUNCATION * spacing
    corners = reach * (2.0 * torch.cartesian_prod(*(torch.arange(2),) * 3) - 1)
    found = [torch.unique(((xyz + corner) / (SIDE * spacing)).floor().long(), dim=0) for corner in corners.double()]
    every: Tensor = torch.unique(torch.cat(found), dim=0)
    return every


def _seen(view: SeenSurface, center: Float[Tensor, "brick 3"], side: float) -> Iterator[Int[Tensor, " chosen"]]:
    """Yield the bricks that may fall onto a view's image, some at a time."""
    K, size = view.camera.K, view.camera.size
    z, reach = center[:, 2], 0.87 * side
    margin = reach * torch.maximum(K[0, 0], K[1, 1]) / z.clamp(min=reach)
    u, v = (K @ (center / z.clamp(min=reach)[:, None]).T)[:2]
    is_seen = (z > reach) & (u > -margin) & (u < size.width + margin) & (v > -margin) & (v < size.height + margin)
    yield from torch.split(torch.nonzero(is_seen)[:, 0], _AT_ONCE)


def _said(
    view: SeenSurface, corner: Float[Tensor, "brick 3"], inside: Float[Tensor, "voxel 3"], spacing: float
) -> tuple[Float[Tensor, "brick voxel"], Float[Tensor, "brick voxel"]]:
    """Return what a view says of the voxels of bricks: distance along its ray in voxels, and how much it counts.

    Corners of bricks, and voxels from them, are in the view's axes, double precision.
    """
    K, (rows, cols, stride, origin) = view.camera.K, view.grid.lattice
    # Of homogeneous pixels the sum of a brick's and a voxel's is all that is done for each voxel of each brick.
    own, more = (corner @ K.T).float(), (inside @ K.T).float()
    x, y, z = (own[:, axis, None] + more[:, axis] for axis in range(3))
    col, row = (
        at.div_(z).sub_(begin).div_(step).floor_() for at, step, begin in zip((x, y), stride, origin, strict=True)
    )
    is_seen = (z > 0) & (col >= 0) & (col < cols) & (row >= 0) & (row < rows)
    cell = torch.where(is_seen, row.mul_(cols).add_(col), 0.0).long()
    seen, sure = taken(torch.stack([view.z_depth.flatten(), view.confidence.flatten()], dim=1), cell).unbind(-1)
    # Cells that are wider than a voxel tell less, and what is just behind them is as unknown.
    width = (z * float((view.grid.stride_u * view.grid.stride_v / (K[0, 0] * K[1, 1])) ** 0.5 / spacing)).clamp_(min=1)
    distance = (seen - z).div_(width * spacing)
    counts = torch.where(is_seen & (distance > -TRUNCATION), sure / width.square_(), 0.0)
    return distance.clamp_(-TRUNCATION, TRUNCATION).nan_to_num_(0.0), counts.nan_to_num_(0.0)
