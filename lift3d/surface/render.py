"""Depth of any camera: it sees the nearest layer of views' cells that other views do not see through.

Letters: a splat is a view's cell, fallen into a cell of the camera; a layer are splats of nearly one depth.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.geometry.projection import transfer
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells
from lift3d.surface.depth_map import DepthMap
from lift3d.surface.scene_surface import SceneSurface

# Layers tried per ray, nearest first.
MOST_LAYERS = 4
# Views that show a layer must be at least this many times those that see through it.
LEAST_SHARE = 1.0
# A layer needs this much confidence behind it: less than one view that is sure.
LEAST_SUPPORT = 0.3
# Cells into which nothing fell are asked for on a grid so many times coarser.
COARSER = 2
# Cells around one into which nothing fell, from which surfaces may go on into it.
REACH = 5


def render_depth(surface: SceneSurface, camera: Camera, stride_px: float) -> DepthMap:
    """Return depth of a camera, NaN where no view sees anything.

    The layer is found on cells as wide as those of the views, so that no gap between splats lets the ray through. Its
    depth is then the mean of its splats on cells of ``stride_px``, and that of the layer where none fell.
    """
    finest = min(min(view.grid.stride_u, view.grid.stride_v) for view in surface.views)
    splats = _Splats.of(surface, camera)
    layer = _layer(surface, camera, splats, FeatureGrid.covering(camera.size, max(stride_px, finest)))
    grid = FeatureGrid.covering(camera.size, stride_px)
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    around = layer.at(uv)
    cell = nearest_cells(splats.uv, *grid.lattice)
    is_layer = (cell >= 0) & ((splats.z / around[cell.clamp(min=0)] - 1).abs() < surface.tolerance)
    cell, weight = cell[is_layer], splats.weight[is_layer]
    total = torch.zeros(grid.cell_count).index_add_(0, cell, weight)
    mean = torch.zeros(grid.cell_count).index_add_(0, cell, weight * splats.z[is_layer]) / total
    return DepthMap(grid, torch.where(total > 0, mean, around).reshape(grid.shape))


@dataclass(frozen=True, slots=True, eq=False)
class _Splats:
    """Cells of all views that fall onto the camera's image: where, how deep, and how much each counts."""

    uv: Float[Tensor, "splat 2"]
    z: Float[Tensor, " splat"]
    weight: Float[Tensor, " splat"]

    @classmethod
    def of(cls, surface: SceneSurface, camera: Camera) -> "_Splats":
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        size = camera.size
        for view in surface.views:
            own = view.z_depth.reshape(-1)
            uv = cell_centers(*view.grid.lattice).reshape(-1, 2)
            at, z = transfer(uv, own, view.matrices, (camera.K, camera.w2c))
            keep = (z > 0) & (at[:, 0] >= 0) & (at[:, 0] < size.width) & (at[:, 1] >= 0) & (at[:, 1] < size.height)
            # A cell that is seen from nearer is one of many on the same surface.
            focal2 = float(camera.K[0, 0] * camera.K[1, 1] / (view.camera.K[0, 0] * view.camera.K[1, 1]))
            share = (focal2 * (own[keep] / z[keep]).square()).clamp(max=1)
            found.append((at[keep], z[keep], view.confidence.reshape(-1)[keep] * share))
        return cls(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def only(self, is_kept: Bool[Tensor, " splat"]) -> "_Splats":
        return _Splats(self.uv[is_kept], self.z[is_kept], self.weight[is_kept])


def _layer(surface: SceneSurface, camera: Camera, splats: _Splats, grid: FeatureGrid) -> DepthMap:
    """Return the depth of the nearest layer per cell that views show rather than see through."""
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    cell = nearest_cells(splats.uv, *grid.lattice)
    depth = torch.full((grid.cell_count,), torch.nan)
    behind = torch.zeros(grid.cell_count)
    likely = _Likely(surface, camera, uv)
    # On the image's very edge a place may be rounded into no cell.
    left, cells = splats.only(cell >= 0), cell[cell >= 0]
    for _ in range(MOST_LAYERS):
        is_open = torch.isnan(depth)[cells] & (left.z > behind[cells])
        left, cells = left.only(is_open), cells[is_open]
        if not len(cells):
            break
        found = nearest_layer(cells, left.z, left.weight, grid.cell_count, surface.tolerance)
        is_asked = torch.nonzero(torch.isfinite(found))[:, 0]
        shown, passed = likely.ask(is_asked, found[is_asked])
        is_seen = (shown >= LEAST_SUPPORT) & (shown >= LEAST_SHARE * passed)
        depth[is_asked[is_seen]] = found[is_asked[is_seen]]
        behind = torch.where(torch.isfinite(found), found * (1 + surface.tolerance), behind)
    if bool(torch.isnan(depth).any()) and min(grid.shape) > COARSER and grid.stride_u < camera.size.width / 8:
        coarse = FeatureGrid.covering(camera.size, grid.stride_u * COARSER)
        wide = _layer(surface, camera, splats, coarse).at(uv)
        for guess in (wide, *_around(depth.reshape(grid.shape))):
            is_asked = torch.nonzero(torch.isnan(depth) & torch.isfinite(guess))[:, 0]
            likely.ask(is_asked, guess[is_asked])
        depth = torch.where(torch.isnan(depth), likely.z_depth, depth)
    return DepthMap(grid, depth.reshape(grid.shape))


class _Likely:
    """Of the depths that were asked for at cells, that which most views show rather than see through."""

    def __init__(self, surface: SceneSurface, camera: Camera, uv: Float[Tensor, "cell 2"]) -> None:
        self._surface, self._camera, self._uv = surface, camera, uv
        self.z_depth = torch.full((len(uv),), torch.nan)
        self._share = torch.full((len(uv),), -1.0)

    def ask(
        self, cells: Int[Tensor, " cell"], z_depth: Float[Tensor, " cell"]
    ) -> tuple[Float[Tensor, " cell"], Float[Tensor, " cell"]]:
        """Return by how much views show depths at cells, and see through them."""
        look = self._surface.look(self._camera, self._uv[cells], z_depth)
        shown, passed = (look.shown * look.confidence).sum(1), (look.passed * look.confidence).sum(1)
        share = shown / (shown + passed + LEAST_SUPPORT)
        better = cells[share > self._share[cells]]
        is_better = share > self._share[cells]
        self.z_depth[better], self._share[better] = z_depth[is_better], share[is_better]
        return shown, passed


def _around(z_depth: Float[Tensor, "row col"]) -> tuple[Float[Tensor, " cell"], Float[Tensor, " cell"]]:
    """Return the farthest and the nearest depth around each cell."""
    far = F.max_pool2d(z_depth.nan_to_num(-torch.inf)[None], REACH, 1, REACH // 2)
    near = -F.max_pool2d(-z_depth.nan_to_num(torch.inf)[None], REACH, 1, REACH // 2)
    return far.flatten(), near.flatten()


def nearest_layer(
    cells: Int[Tensor, " splat"],
    z_depth: Float[Tensor, " splat"],
    weights: Float[Tensor, " splat"],
    count: int,
    tolerance: float,
) -> Float[Tensor, " cell"]:
    """Return, per cell, the mean depth of the nearest splat and of all within the tolerance of it; NaN without one."""
    nearest = torch.full((count,), torch.inf).scatter_reduce(0, cells, z_depth, "amin")
    reach = nearest
    for _ in range(2):
        # First the splats that reach from the nearest one, then those around their mean.
        low = torch.where(reach == nearest, nearest, reach * (1 - tolerance))
        is_near = (z_depth >= low[cells]) & (z_depth <= reach[cells] * (1 + tolerance))
        weight = torch.where(is_near, weights, 0.0) + 1e-9 * is_near
        total = torch.zeros(count).index_add_(0, cells, weight)
        reach = torch.zeros(count).index_add_(0, cells, weight * z_depth) / total
        reach = torch.where(total > 0, reach, torch.inf)
    return torch.where(torch.isinf(reach), torch.nan, reach)
