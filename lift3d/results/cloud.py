"""Clouds of points: the covered cells of lifted views at their depths, in the scene's world."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.lifted import LiftedDepth
from lift3d.domain.scene import DepthRange
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells
from lift3d.pipeline.decode import COVERED

# Cells that bridge a jump in depth look like surfaces seen from the side; at more than this from its normal a surface
# is hardly seen at all.
_STEEPEST_DEG = 80.0
# As the readers of captures do it: percentiles of what is known, and a little beyond.
_PERCENTILES, _MARGIN = (1.0, 99.0), 1.25


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Points of surfaces, each seen by one view.

    Attributes:
        xyz: World coordinates of the scene.
        normals: Of unit length, world axes, towards the camera that saw the point.
        view: Position of the view that the point comes from, among those that were asked for.
        uv: Its pixel there, in the size that the view was lifted at.
        found: Points that there were before thinning.
    """

    xyz: Float[Tensor, "point 3"]
    normals: Float[Tensor, "point 3"]
    view: Int[Tensor, " point"]
    uv: Float[Tensor, "point 2"]
    found: int

    def __len__(self) -> int:
        return len(self.xyz)


def fused(depths: Iterable[LiftedDepth], view_count: int, most: int, limits: DepthRange | None = None) -> Cloud:
    """Back-project the depths of some views.

    Cells without depth around them, that hardly any source sees, at a jump in depth, or outside the limits are left
    out. What is more than ``most`` is thinned at random, with a fixed seed: evenly, and without the stripes that a
    step would leave.
    """
    quota = max(1, most // max(1, view_count))
    nothing = torch.zeros(0, 3, dtype=torch.float64)
    parts = [(nothing, nothing, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2, dtype=torch.float64))]
    found = 0
    for number, depth in enumerate(depths):
        uv, xyz, normals = _surface(depth, limits)
        found += len(uv)
        if len(uv) > quota:
            order = torch.randperm(len(uv), generator=torch.Generator().manual_seed(number))
            kept = order[:quota].sort().values
            uv, xyz, normals = uv[kept], xyz[kept], normals[kept]
        parts.append((xyz, normals, torch.full((len(uv),), number, dtype=torch.int64), uv))
    xyz, normals, view, uv = (torch.cat(column) for column in zip(*parts, strict=True))
    return Cloud(xyz, normals, view, uv, found)


def depth_limits(depths: Sequence[LiftedDepth]) -> DepthRange | None:
    """Return the range of the depths themselves, outliers cut; None if none is known."""
    spans = []
    for depth in depths:
        known = depth.z_depth[torch.isfinite(depth.z_depth) & (depth.z_depth > 0)]
        if len(known):
            spans.append(np.percentile(known.numpy(), _PERCENTILES))
    if not spans:
        return None
    near, far = np.percentile([one[0] for one in spans], 1.0), np.percentile([one[1] for one in spans], 99.0)
    return DepthRange(float(near) / _MARGIN, float(far) * _MARGIN)


def cells_at(grid: FeatureGrid, uv: Float[Tensor, "*batch 2"]) -> Int[Tensor, "*batch"]:
    """Return the row-major index of the cell under each pixel; beside the grid, that at its border."""
    stride, low = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    inside = [
        uv[..., axis].clamp(low[axis], low[axis] + stride[axis] * count)
        for axis, count in ((0, grid.cols), (1, grid.rows))
    ]
    return nearest_cells(torch.stack(inside, dim=-1), grid.rows, grid.cols, stride, low).clamp(min=0)


def whole_grid(size: ImageSize, rows: int, cols: int) -> FeatureGrid:
    """Return the grid of so many cells that covers an image."""
    return FeatureGrid(rows, cols, size.width / cols, size.height / rows)


def map_under(
    values: Shaped[np.ndarray, "row col *rest"],
    camera: Camera,
    grids: Sequence[FeatureGrid],
    uv: Float[Tensor, "point 2"],
) -> Shaped[np.ndarray, " point *rest"]:
    """Return what a map holds under pixels; its shape tells which of the view's grids it lies on, else the image."""
    shape = (values.shape[0], values.shape[1])
    grid = next((one for one in grids if (one.rows, one.cols) == shape), whole_grid(camera.size, *shape))
    return np.asarray(values.reshape(-1, *values.shape[2:])[cells_at(grid, uv).numpy()])


def _surface(
    depth: LiftedDepth, limits: DepthRange | None
) -> tuple[Float[Tensor, "point 2"], Float[Tensor, "point 3"], Float[Tensor, "point 3"]]:
    """Return pixels, world points and normals of the cells that stand on a surface."""
    grid, camera, z_depth = depth.grid, depth.camera, depth.z_depth.double()
    stride, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    uv = cell_centers(grid.rows, grid.cols, stride, origin).double()
    if min(grid.rows, grid.cols) < 2:
        nothing = torch.zeros(0, 3, dtype=torch.float64)
        return uv.reshape(-1, 2)[:0], nothing, nothing
    xyz_cam = unproject(uv, z_depth, camera.K)
    down, right = torch.gradient(xyz_cam, dim=(0, 1))
    # x right and y down make z forward, which is away from the camera. NaN beside holes.
    normals = torch.nn.functional.normalize(torch.linalg.cross(down, right, dim=-1), dim=-1)
    # Towards the camera, which is the origin here.
    cosine = -(normals * torch.nn.functional.normalize(xyz_cam, dim=-1)).sum(-1)
    kept = (depth.coverage >= COVERED) & (cosine >= math.cos(math.radians(_STEEPEST_DEG)))
    if limits is not None:
        kept &= (z_depth >= limits.near) & (z_depth <= limits.far)
    c2w = camera.c2w
    return uv[kept], transform(c2w, xyz_cam[kept]), normals[kept] @ c2w[:3, :3].T
