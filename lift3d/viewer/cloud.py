"""One point cloud of all views: what each lifted cell's depth says of the surface, in world coordinates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.lifted import LiftedFeatures
from lift3d.domain.scene import DepthRange
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform

# More say nothing more; 3 MB on the way to the browser.
MAX_POINTS = 200_000
# Cells that hardly any source sees have a guess for a depth.
_LEAST_COVERAGE = 0.5
# As the readers of captures do it: percentiles of what is known, and a little beyond.
_PERCENTILES, _MARGIN = (1.0, 99.0), 1.25


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Points of the surface, each seen by one view.

    Attributes:
        points: World coordinates.
        view: Position of the view that the point comes from.
        uv: Its pixel there, in the size that the view was lifted at.
        found: Points that there were before thinning.
    """

    points: Float[Tensor, "point 3"]
    view: Int[Tensor, " point"]
    uv: Float[Tensor, "point 2"]
    found: int


def fuse(
    views: Sequence[tuple[Camera, LiftedFeatures]], depth_range: DepthRange | None = None, most: int = MAX_POINTS
) -> Cloud:
    """Back-project the depths of all views.

    Points without a depth, of cells that are hardly covered, and outside the range are left out. What is more than
    ``most`` is thinned at random, with a fixed seed: evenly, and without the stripes that a step would leave.

    Args:
        views: Camera and one lifted cut of each view.
        depth_range: Of the scene; where it is not known, the range of the depths themselves, outliers cut.
        most: Points at most.
    """
    limits = depth_range or _range_of(views)
    order = torch.Generator().manual_seed(0)
    quota = max(1, most // max(1, len(views)))
    points, owners, pixels, found = [], [], [], 0
    for index, (camera, cut) in enumerate(views):
        z, grid = cut.z_depth, cut.features.grid
        is_good = torch.isfinite(z) & (cut.coverage >= _LEAST_COVERAGE)
        if limits is not None:
            is_good &= (z >= limits.near) & (z <= limits.far)
        kept = is_good.flatten().nonzero()[:, 0]
        found += len(kept)
        if len(kept) > quota:
            kept = kept[torch.randperm(len(kept), generator=order)[:quota].sort().values]
        uv = cell_centers(grid.rows, grid.cols, (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v))
        uv = uv.reshape(-1, 2)[kept]
        xyz = unproject(uv.double(), z.flatten()[kept].double(), camera.K)
        points.append(transform(camera.c2w, xyz))
        owners.append(torch.full((len(kept),), index, dtype=torch.int64))
        pixels.append(uv)
    if not points:
        return Cloud(torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2), 0)
    return Cloud(torch.cat(points), torch.cat(owners), torch.cat(pixels), found)


def pick(
    points: Float[Tensor, "point 3"], origin: Float[Tensor, "3"], direction: Float[Tensor, "3"]
) -> tuple[int, float] | None:
    """Return the point that a click meant: the foremost near the ray; and its distance along it.

    Returns:
        Index and distance, in units of the points; None if none is near.
    """
    # About seven pixels of a window 800 pixels high; what the eye takes for a hit.
    near_enough, hopeless = 0.01, 0.03
    ray = direction / direction.norm()
    offset = points - origin
    along = offset @ ray
    tangent = (offset - along[:, None] * ray).norm(dim=1) / along.clamp(min=1e-9)
    tangent = torch.where(along > 0, tangent, torch.inf)
    if len(points) == 0 or float(tangent.min()) > hopeless:
        return None
    if float(tangent.min()) > near_enough:
        best = int(tangent.argmin())
        return best, float(along[best])
    foremost = float(along[tangent <= near_enough].min())
    # Of one surface, the point nearest to the ray.
    is_there = (tangent <= near_enough) & (along <= 1.03 * foremost)
    best = int(torch.where(is_there, tangent, torch.inf).argmin())
    return best, float(along[best])


def _range_of(views: Sequence[tuple[Camera, LiftedFeatures]]) -> DepthRange | None:
    spans = []
    for _, cut in views:
        known = cut.z_depth[torch.isfinite(cut.z_depth) & (cut.z_depth > 0)]
        if len(known):
            spans.append(np.percentile(known.numpy(), _PERCENTILES))
    if not spans:
        return None
    near, far = np.percentile([one[0] for one in spans], 1.0), np.percentile([one[1] for one in spans], 99.0)
    return DepthRange(float(near) / _MARGIN, float(far) * _MARGIN)
