"""Where the surfaces that a view sees may be: points to compare views by, and the range of depth to search."""

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import DepthRange
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform

# Points per axis of the image that stand for what a view sees.
_ROWS, _COLS = 6, 8
# They lie at these shares of the range of disparity, and of that of log depth: a range that is a guess is so wide that
# its middle is far nearer than any surface by the first, or farther than all by the second.
_SHARES = (1 / 4, 1 / 2, 3 / 4)
# Quantiles of a view's depths that bound its range, with a margin for what the coarse grid did not show.
_QUANTILES, _MARGIN = (0.01, 0.99), 1.3
# Depths less sure than this share of the view's surest do not count.
_SURE = 0.5
_FEWEST_CELLS = 20


def frustum_probes(camera: Camera, span: DepthRange) -> Float[Tensor, "probe 3"]:
    """Return points of a view's frustum that stand for what it sees, world coordinates.

    Depths that were found would tell more, but where they are wrong they choose views that keep them so.
    """
    shares, near, far = torch.tensor(_SHARES, dtype=torch.float64), span.near, span.far
    in_disparity = 1 / ((1 - shares) / near + shares / far)
    z_depth = torch.cat([in_disparity, near * (far / near) ** shares])
    stride = (camera.size.width / _COLS, camera.size.height / _ROWS)
    uv = cell_centers(_ROWS, _COLS, stride).reshape(-1, 2).double()
    xyz = unproject(uv.repeat(len(z_depth), 1), z_depth.repeat_interleave(len(uv)), camera.K)
    return transform(camera.c2w, xyz)


def depth_span(
    z_depth: Float[Tensor, "row col"], weight: Float[Tensor, "row col"], depth_range: DepthRange
) -> DepthRange:
    """Return the range of depth of what a view shows surely, with a margin, within that of the scene."""
    sure = z_depth[weight > _SURE * weight.max()].double()
    if len(sure) < _FEWEST_CELLS:
        return depth_range
    nearest, farthest = torch.quantile(sure, torch.tensor(_QUANTILES, dtype=torch.float64)).tolist()
    near, far = max(depth_range.near, nearest / _MARGIN), min(depth_range.far, farthest * _MARGIN)
    return DepthRange(near, far) if near < far else depth_range
