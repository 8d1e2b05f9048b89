"""Where a ray of one camera can appear in another."""

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.geometry.projection import MIN_Z, project, unproject
from lift3d.geometry.rigid import inverse, transform


def epipolar_segment(
    uv: Float[Tensor, "point 2"],
    near: float,
    far: float,
    a: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
    b: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
) -> Float[Tensor, "point 2 2"]:
    """Return the two ends, in pixels of b, of the rays of a between two depths.

    The part of a ray behind b is cut off just in front of it; a ray wholly behind b gives NaN.

    Source:
        Hartley & Zisserman, Multiple View Geometry, 2nd ed., §9.1.
    """
    a2b = (b[1] @ inverse(a[1])).to(uv.dtype)
    ends = [transform(a2b, unproject(uv, torch.full_like(uv[:, 0], z), a[0].to(uv.dtype))) for z in (near, far)]
    clipped = [_clip_in_front(ends[0], ends[1]), _clip_in_front(ends[1], ends[0])]
    return torch.stack([project(end, b[0].to(uv.dtype))[0] for end in clipped], dim=1)


def _clip_in_front(end: Tensor, other: Tensor) -> Tensor:
    floor = 2 * MIN_Z
    z, other_z = end[:, 2], other[:, 2]
    step = torch.where((z < floor) & (other_z > floor), (floor - z) / (other_z - z), torch.zeros_like(z))
    return end + step[:, None] * (other - end)


def baseline_angle(
    xyz_world: Float[Tensor, "point 3"], center_a: Float[Tensor, "3"], center_b: Float[Tensor, "3"]
) -> Float[Tensor, " point"]:
    """Return the angle at each point between the rays to two camera centres, radians.

    Source:
        The triangulation angle of COLMAP's documentation; atan2 form, exact for small angles.
    """
    to_a, to_b = center_a.to(xyz_world) - xyz_world, center_b.to(xyz_world) - xyz_world
    return torch.atan2(torch.linalg.cross(to_a, to_b).norm(dim=-1), (to_a * to_b).sum(-1))
