"""Scene geometry from the depth that views have: what sensors say, continued into their blind spots."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import NoOverlapError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells
from lift3d.surface.agreement import agreed
from lift3d.surface.catalog import SENSOR

GUIDE_STRIDE_PX = 2.0
# What is continued is a guess: it counts where nothing else is known.
CONTINUED_CONFIDENCE = 0.2


class SensorGeometry:
    """Depth of the views, read at the centres of guide cells and moved to what the other views say."""

    spec = SENSOR

    def estimate(
        self, views: Sequence[SourceGuide], depth_range: DepthRange, find_tracks: Callable[[], Tracks]
    ) -> SceneGeometry:
        """Return depth and confidence of every view; one without depth stays unknown.

        Raises:
            NoOverlapError: If no view has depth.
        """
        if all(view.z_depth is None for view in views):
            raise NoOverlapError(f"None of the {len(views)} views has depth of a sensor. Use the geometry sweep.")
        return agreed(SceneGeometry(self.spec.name, {view.id: _of_view(view) for view in views}))


def _of_view(view: SourceGuide) -> ViewGeometry:
    grid = FeatureGrid.covering(view.camera.size, GUIDE_STRIDE_PX)
    if view.z_depth is None:
        return where_valid(view, grid, torch.full(grid.shape, torch.nan), torch.zeros(grid.shape))
    z = _at_cells(view, grid, view.z_depth)
    z = torch.where(_at_cells(view, grid, view.is_valid) & (z > 0), z, torch.nan)
    is_guess = torch.isnan(z)
    return where_valid(
        view, grid, torch.where(is_guess, continued(z), z), torch.where(is_guess, CONTINUED_CONFIDENCE, 1.0)
    )


def where_valid(
    view: SourceGuide, grid: FeatureGrid, z_depth: Float[Tensor, "row col"], confidence: Float[Tensor, "row col"]
) -> ViewGeometry:
    """Return what a view shows where its pixels may vote and the depth is known; unknown elsewhere."""
    is_known = _at_cells(view, grid, view.is_valid) & (z_depth > 0) & torch.isfinite(z_depth) & (confidence > 0)
    known = torch.where(is_known, z_depth, torch.nan).float()
    return ViewGeometry(view.camera, grid, known, torch.where(is_known, confidence, 0.0))


def _at_cells(view: SourceGuide, grid: FeatureGrid, pixels: Shaped[Tensor, "height width"]) -> Tensor:
    """Return what the pixels at the centres of cells hold."""
    return pixels.reshape(-1)[
        nearest_cells(cell_centers(*grid.lattice), view.camera.size.height, view.camera.size.width)
    ]


def continued(z_depth: Float[Tensor, "row col"]) -> Float[Tensor, "row col"]:
    """Return depth continued into its holes: mean disparity of what is known around, over windows that double."""
    disparity = (1 / z_depth)[None, None]
    known = torch.isfinite(disparity).float()
    levels = [(disparity.nan_to_num(0.0), known)]
    while min(levels[-1][1].shape[-2:]) > 1 and bool((levels[-1][1] == 0).any()):
        values, weight = levels[-1]
        total = functional.avg_pool2d(weight, 2, ceil_mode=True, count_include_pad=False)
        mean = functional.avg_pool2d(values * weight, 2, ceil_mode=True, count_include_pad=False)
        levels.append((mean / total.clamp(min=1e-12), (total > 0).float()))
    values = levels[-1][0]
    for own, weight in reversed(levels[:-1]):
        up = functional.interpolate(values, own.shape[-2:], mode="bilinear", align_corners=False)
        values = torch.where(weight > 0, own, up)
    return (1 / values[0, 0]).nan_to_num(posinf=torch.nan) if bool(known.any()) else z_depth
