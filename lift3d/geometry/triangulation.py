"""Points seen by several cameras: the least-squares place of each.

Letters: an observation is one pixel of one camera; all observations of all points are handled at once.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def reprojection_offsets(
    xyz_world: Float[Tensor, "observation 3"],
    uv: Float[Tensor, "observation 2"],
    K: Float[Tensor, "observation 3 3"],
    w2c: Float[Tensor, "observation 4 4"],
) -> tuple[Float[Tensor, "observation 2"], Float[Tensor, "observation 2 3"], Float[Tensor, " observation"]]:
    """Return projected minus observed pixels, their derivative by the point, and camera z.

    Points behind a camera give offsets without meaning; look at camera z first.

    Source:
        Hartley & Zisserman, Multiple View Geometry, 2nd ed., §6.1.
    """
    xyz_cam = (w2c[:, :3, :3] @ xyz_world[..., None])[..., 0] + w2c[:, :3, 3]
    z = xyz_cam[:, 2]
    xyw = (K @ (xyz_cam / z[:, None])[..., None])[..., 0]
    # The derivative of K (x/z, y/z, 1) by the camera point is K (I − (x/z, y/z, 1) e_zᵀ) / z.
    along_z = torch.zeros_like(K)
    along_z[:, :, 2] = xyw
    derivative = ((K - along_z) / z[:, None, None]) @ w2c[:, :3, :3]
    return xyw[:, :2] - uv, derivative[:, :2], z


def refine_points(
    points: Float[Tensor, "point 3"],
    point_index: Int[Tensor, " observation"],
    uv: Float[Tensor, "observation 2"],
    K: Float[Tensor, "observation 3 3"],
    w2c: Float[Tensor, "observation 4 4"],
    step_count: int = 4,
) -> Float[Tensor, "point 3"]:
    """Move points to the least sum of squared reprojection errors; cameras stay.

    The answer does not depend on the world frame, other than that of linear triangulation.

    Args:
        points: Start near the answer, in front of the cameras, seen from at least two places.
        point_index: Which point an observation belongs to.
        uv: Observed pixels.
        K: Intrinsics of the camera of each observation.
        w2c: Its pose.
        step_count: Gauss–Newton steps; convergence is quadratic near the answer.

    Source:
        Hartley & Zisserman, Multiple View Geometry, 2nd ed., §12.3 and A6.1.
    """
    xyz = points.clone()
    for _ in range(step_count):
        offset, derivative, _ = reprojection_offsets(xyz[point_index], uv, K, w2c)
        transposed = derivative.transpose(1, 2)
        normal = xyz.new_zeros(len(xyz), 3, 3).index_add_(0, point_index, transposed @ derivative)
        right = xyz.new_zeros(len(xyz), 3, 1).index_add_(0, point_index, transposed @ offset[..., None])
        step, info = torch.linalg.solve_ex(normal, right)
        # A singular system (rays that are all parallel) leaves the point where it is.
        xyz = torch.where((info == 0)[:, None] & torch.isfinite(step[..., 0]), xyz - step[..., 0], xyz)
    return xyz
