"""Which points a camera sees, by depth (camera z)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.geometry.projection import is_inside
from lift3d.geometry.sampling import nearest_cells


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
