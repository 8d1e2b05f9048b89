"""World points to pixels (uv, origin at the outer corner of the top-left one) and back; K is in pixels, z camera z."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.geometry.rigid import inverse, transform

MIN_Z = 1e-8


def project(
    xyz_cam: Float[Tensor, "*batch 3"], K: Float[Tensor, "3 3"]
) -> tuple[Float[Tensor, "*batch 2"], Bool[Tensor, "*batch"]]:
    """Return pixels of camera-space points, and whether they lie in front of the camera; pixels of others are NaN.

    Source:
        Hartley & Zisserman, Multiple View Geometry, 2nd ed., §6.1.
    """
    z = xyz_cam[..., 2]
    is_in_front = z > MIN_Z
    safe_z = torch.where(is_in_front, z, torch.ones_like(z))
    x, y = xyz_cam[..., 0] / safe_z, xyz_cam[..., 1] / safe_z
    u = K[0, 0] * x + K[0, 1] * y + K[0, 2]
    v = K[1, 1] * y + K[1, 2]
    uv = torch.stack([u, v], dim=-1)
    return torch.where(is_in_front[..., None], uv, torch.full_like(uv, torch.nan)), is_in_front


def unproject(
    uv: Float[Tensor, "*batch 2"], z_depth: Float[Tensor, "*batch"], K: Float[Tensor, "3 3"]
) -> Float[Tensor, "*batch 3"]:
    """Return points in the OpenCV camera frame, world units, of pixels at a z-depth; NaN where that is NaN.

    Source:
        Hartley & Zisserman, Multiple View Geometry, 2nd ed., §6.1.
    """
    y = (uv[..., 1] - K[1, 2]) / K[1, 1]
    x = (uv[..., 0] - K[0, 2] - K[0, 1] * y) / K[0, 0]
    return torch.stack([x * z_depth, y * z_depth, z_depth], dim=-1)


def transfer(
    uv: Float[Tensor, "point 2"],
    z_depth: Float[Tensor, " point"],
    a: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
    b: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
) -> tuple[Float[Tensor, "point 2"], Float[Tensor, " point"]]:
    """Take pixels of a with depth to pixels and z of b, cameras (K, w2c); NaN behind b and where depth is unknown."""
    a2b = (b[1] @ inverse(a[1])).to(uv.dtype)
    xyz_b = transform(a2b, unproject(uv, z_depth, a[0].to(uv.dtype)))
    uv_b, _ = project(xyz_b, b[0].to(uv.dtype))
    return uv_b, xyz_b[..., 2]


def is_inside(uv: Float[Tensor, "*batch 2"], height: int, width: int) -> Bool[Tensor, "*batch"]:
    """Whether pixels lie on the image (NaN does not)."""
    u, v = uv[..., 0], uv[..., 1]
    return (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
