"""Free space: where views show that there is nothing, no other view's surface can be."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.geometry.rays import cell_centers
from lift3d.surface.look import is_cut
from lift3d.surface.scene_surface import SceneSurface

# A cell is empty if all its pixels are, but for rounding.
WHOLE = 1 - 1e-3
# Narrower cells are empty only if those beside them are; those of two pixels may be a bit narrower, to fill an image.
_SURE_PX = 1.5


def empty_cells(is_empty: Bool[Tensor, "height width"], shape: tuple[int, int]) -> Bool[Tensor, "row col"]:
    """Return which cells of a grid over a view show nothing at all."""
    share: Float[Tensor, "row col"] = F.interpolate(is_empty[None, None].float(), shape, mode="area")[0, 0]
    return share > WHOLE


def carved(geometry: SceneGeometry, guides: Sequence[SourceGuide]) -> SceneGeometry:
    """Return the geometry with what views show to be empty: their own cells, and what lies before those of others.

    Transparent pixels carve; those that a mask hides are unknown, and carve nothing.
    """
    empty = {one.id: one.is_empty for one in guides if one.is_empty is not None and bool(one.is_empty.any())}
    if not empty:
        return geometry
    views = {
        name: _emptied(view, _empty_around(empty_cells(empty[name], view.grid.shape), view)) if name in empty else view
        for name, view in geometry.views.items()
    }
    surface = SceneSurface.of(SceneGeometry(geometry.method, views))
    return SceneGeometry(geometry.method, {name: _cut(view, surface) for name, view in views.items()})


def _empty_around(is_empty: Bool[Tensor, "row col"], view: ViewGeometry) -> Bool[Tensor, "row col"]:
    """Return empty cells around which a pixel is empty too: outlines are not surer than that."""
    reach = 1 if view.grid.stride_u < _SURE_PX else 0
    full = F.pad((~is_empty)[None].float(), (reach,) * 4)
    return F.max_pool2d(full, 2 * reach + 1, 1)[0] == 0


def _emptied(view: ViewGeometry, is_empty: Bool[Tensor, "row col"]) -> ViewGeometry:
    z_depth = torch.where(is_empty, torch.inf, view.z_depth)
    return ViewGeometry(view.camera, view.grid, z_depth, torch.where(is_empty, 1.0, view.confidence))


def _cut(view: ViewGeometry, surface: SceneSurface) -> ViewGeometry:
    at = torch.nonzero(torch.isfinite(view.z_depth).flatten())[:, 0]
    uv = cell_centers(*view.grid.lattice).reshape(-1, 2)[at]
    is_gone = torch.zeros(view.grid.cell_count, dtype=torch.bool)
    z_depth = view.z_depth.flatten()[at]
    is_gone[at] = is_cut(surface.look(view.camera, uv, z_depth, surface.asked(view.camera, uv, z_depth)))
    is_gone = is_gone.reshape(view.grid.shape)
    z_depth = torch.where(is_gone, torch.nan, view.z_depth)
    return ViewGeometry(view.camera, view.grid, z_depth, torch.where(is_gone, 0.0, view.confidence))
