"""Rays of pixels and of feature cells, and the angle between two of them.

Letters: ``direction_z1`` has camera z = 1, so ``z_depth · direction_z1`` is the camera-space point.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.geometry.projection import unproject


def cell_centers(
    rows: int, cols: int, stride: tuple[float, float] = (1.0, 1.0), origin: tuple[float, float] = (0.0, 0.0)
) -> Float[Tensor, "row col 2"]:
    """Return the pixel at the centre of each cell, ``origin + stride · (c + 0.5, r + 0.5)``; (u, v) order."""
    u = origin[0] + stride[0] * (torch.arange(cols, dtype=torch.float32) + 0.5)
    v = origin[1] + stride[1] * (torch.arange(rows, dtype=torch.float32) + 0.5)
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def directions_z1(uv: Float[Tensor, "*batch 2"], K: Float[Tensor, "3 3"]) -> Float[Tensor, "*batch 3"]:
    """Return camera-space directions with z = 1."""
    return unproject(uv, torch.ones_like(uv[..., 0]), K.to(uv.dtype))


def inverse_depth_planes(near: float, far: float, count: int) -> Float[Tensor, " plane"]:
    """Return z-depths spaced evenly in 1/z, near first.

    Even steps in 1/z are even steps along every epipolar line up to second order, so no step is wasted on far planes.
    """
    return 1.0 / torch.linspace(1.0 / near, 1.0 / far, count, dtype=torch.float64).to(torch.float32)


def baseline_angle(
    xyz_world: Float[Tensor, "point 3"], center_a: Float[Tensor, "3"], center_b: Float[Tensor, "*view 3"]
) -> Float[Tensor, "*view point"]:
    """Return the angle at each point between the rays to two camera centres, or to one and to each of several; radians.

    Source:
        The triangulation angle of COLMAP's documentation; atan2 form, exact for small angles.
    """
    to_a, to_b = center_a.to(xyz_world) - xyz_world, center_b.to(xyz_world)[..., None, :] - xyz_world
    return torch.atan2(torch.linalg.cross(to_a.expand_as(to_b), to_b).norm(dim=-1), (to_a * to_b).sum(-1))
