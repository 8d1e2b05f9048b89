"""Scene geometry from the depth that views have: what sensors say, and across blind spots within one surface."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import NoOverlapError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells
from lift3d.surface.agreement import agreed
from lift3d.surface.catalog import SENSOR
from lift3d.surface.depth_map import given_grid
from lift3d.surface.held import held

# What is bridged is a guess: it counts where nothing else is known.
BRIDGED_CONFIDENCE = 0.2
# Ends of a hole whose depths differ by less than this share are of one surface.
ONE_SURFACE = 0.1


class SensorGeometry:
    """Depth of the views, read at the centres of guide cells and moved to what the other views say."""

    spec = SENSOR

    def estimate(
        self, views: Sequence[SourceGuide], depth_range: DepthRange, find_tracks: Callable[[], Tracks]
    ) -> SceneGeometry:
        """Return depth and confidence of every view; one without stays unknown. NoOverlapError if none has depth."""
        if all(view.z_depth is None for view in views):
            raise NoOverlapError(f"None of the {len(views)} views has depth of a sensor. Use the geometry sweep.")
        cell_count = sum(given_grid(view.camera.size).cell_count for view in views)
        return agreed(SceneGeometry(self.spec.name, held(((view.id, sensed(view)) for view in views), cell_count)))


def sensed(view: SourceGuide) -> ViewGeometry:
    """Return the depth that a view has, at the centres of the cells of given depth; what is bridged is a guess."""
    grid = given_grid(view.camera.size)
    if view.z_depth is None:
        return where_valid(view, grid, torch.full(grid.shape, torch.nan), torch.zeros(grid.shape))
    z = _at_cells(view, grid, view.z_depth)
    z = torch.where(_at_cells(view, grid, view.is_valid) & (z > 0), z, torch.nan)
    is_guess = torch.isnan(z)
    return where_valid(view, grid, torch.where(is_guess, bridged(z), z), torch.where(is_guess, BRIDGED_CONFIDENCE, 1.0))


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


def bridged(z_depth: Float[Tensor, "row col"]) -> Float[Tensor, "row col"]:
    """Return depth with holes bridged, linearly in disparity, where both ends in a row or a column are of one surface.

    A hole between things at different depths is the shadow of the nearer one: continued, it would stand before what
    other views see there.
    """
    disparity = 1 / z_depth
    total, count = torch.zeros_like(z_depth), torch.zeros_like(z_depth)
    for axis in (0, 1):
        before, steps = _last_known(disparity, axis)
        after, back = (one.flip(axis) for one in _last_known(disparity.flip(axis), axis))
        is_one = (before / after - 1).abs() < ONE_SURFACE
        total += torch.where(is_one, (before * back + after * steps) / (steps + back).clamp(min=1), 0.0)
        count += is_one
    return torch.where(torch.isfinite(z_depth), z_depth, count / total)


def _last_known(
    values: Float[Tensor, "row col"], axis: int
) -> tuple[Float[Tensor, "row col"], Float[Tensor, "row col"]]:
    """Return, for each cell, the last known value along an axis, NaN before the first, and how far back it is."""
    place = torch.arange(values.shape[axis]).unsqueeze(1 - axis).expand_as(values)
    last = torch.where(torch.isfinite(values), place, -1).cummax(axis).values
    found = torch.where(last >= 0, values.gather(axis, last.clamp(min=0)), torch.nan)
    return found, (place - last).float()
