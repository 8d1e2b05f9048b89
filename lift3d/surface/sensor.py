"""Scene geometry from the depth that views have: what sensors say, continued into their blind spots."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import ConfigError
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
        """Return depth and confidence of every view.

        Raises:
            ConfigError: If a view has no depth.
        """
        return agreed(SceneGeometry(self.spec.name, {view.id: _of_view(view) for view in views}))


def _of_view(view: SourceGuide) -> ViewGeometry:
    if view.z_depth is None:
        raise ConfigError(
            f"The geometry of sensors needs depth of every view, '{view.id}' has none; use sweep instead."
        )
    grid = FeatureGrid.covering(view.camera.size, GUIDE_STRIDE_PX)
    at = nearest_cells(cell_centers(*grid.lattice), view.camera.size.height, view.camera.size.width)
    is_valid = view.is_valid.reshape(-1)[at]
    z = view.z_depth.reshape(-1)[at]
    z = torch.where(is_valid & (z > 0), z, torch.nan)
    confidence = torch.isfinite(z).float()
    filled = continued(z)
    is_guess = torch.isnan(z) & torch.isfinite(filled) & is_valid
    return ViewGeometry(
        view.camera,
        grid,
        torch.where(is_guess, filled, z),
        torch.where(is_guess, CONTINUED_CONFIDENCE, confidence),
    )


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
