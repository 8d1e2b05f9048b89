"""What tests measure truths with: correspondences of two views through depth, and the angle of two rotations.

Letters: a is the view whose pixels are asked about, b the view they are looked up in.
"""

import torch
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from lift3d.geometry.projection import is_inside, transfer
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells, sample


def correspondences(
    z_depth_a: Float[Tensor, "height_a width_a"],
    z_depth_b: Float[Tensor, "height_b width_b"],
    a: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
    b: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
    relative_tolerance: float = 0.02,
) -> tuple[Float[Tensor, "height_a width_a 2"], Bool[Tensor, "height_a width_a"]]:
    """Find where each pixel of a lies in b (NaN where unknown), and whether b sees the same surface there.

    Views are (K, w2c); visible in b is what lies no further than |z − D_b| / z from its depth.
    """
    rows, cols = z_depth_a.shape
    uv_a = cell_centers(rows, cols).reshape(-1, 2)
    uv_b, z_b = transfer(uv_a, z_depth_a.reshape(-1), a, b)
    is_seen = agrees_with_depth(uv_b, z_b, z_depth_b, relative_tolerance)
    return uv_b.reshape(rows, cols, 2), is_seen.reshape(rows, cols)


def agrees_with_depth(
    uv: Float[Tensor, "*batch 2"],
    z_depth: Float[Tensor, "*batch"],
    surface_z: Float[Tensor, "height width"],
    relative_tolerance: float,
) -> Bool[Tensor, "*batch"]:
    """Whether points lie on the surface that a depth map shows: ``|z − D(uv)| < tolerance · z``.

    The depth map is read at the nearest pixel, since depth must not be interpolated over an edge. Points outside the
    image or where either depth is unknown do not agree.
    """
    height, width = surface_z.shape
    index = nearest_cells(uv, height, width)
    seen_z = surface_z.reshape(-1)[index.clamp(min=0)]
    is_known = (index >= 0) & is_inside(uv, height, width) & torch.isfinite(seen_z) & torch.isfinite(z_depth)
    return is_known & ((z_depth - seen_z).abs() < relative_tolerance * z_depth)


def warp(
    values_b: Float[Tensor, "channel row col"],
    uv_b: Float[Tensor, "height width 2"],
    stride: tuple[float, float] = (1.0, 1.0),
    origin: tuple[float, float] = (0.0, 0.0),
) -> Float[Tensor, "channel height width"]:
    """Resample a map of view b at correspondences; NaN where there is none."""
    rows, cols = values_b.shape[-2:]
    extent = (rows * stride[1] + origin[1], cols * stride[0] + origin[0])
    inside = is_inside(uv_b, round(extent[0]), round(extent[1]))
    out = sample(values_b, uv_b, stride, origin)
    return torch.where(inside, out, torch.full_like(out, torch.nan))


def rotation_angle(a: Float[Tensor, "3 3"], b: Float[Tensor, "3 3"]) -> float:
    """Return the angle between two rotations, radians."""
    return float(Rotation.from_matrix((a.T @ b).double()).magnitude())
