"""Scene geometry from splats of 3DGS: the depth at which they hide half of what is behind them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.geometry.gaussians import Gaussians
from lift3d.geometry.splatting import BandedPicture, Footprints
from lift3d.scenes.ply_splats import read_ply_splats
from lift3d.surface.catalog import SPLATS
from lift3d.surface.depth_map import given_grid
from lift3d.surface.file_geometry import FileGeometry
from lift3d.surface.frame_check import ReadSurface
from lift3d.surface.sensor import where_valid


class SplatsGeometry(FileGeometry):
    """Median depth of the splats of a ``.ply`` file, in the world of the scene."""

    spec = SPLATS

    def _read(self, views: Sequence[SourceGuide], near: float) -> ReadSurface:
        """Return where every view's light ends, the surer the more of it ends there."""
        splats = read_ply_splats(self._path)
        gaussians = Gaussians.of(splats.xyz, splats.opacity, splats.scale, splats.rotation)
        found = {view.id: _seen(view, gaussians, near, self.spec.tolerance) for view in views}
        opaque = splats.xyz[splats.opacity > 0.5]
        return ReadSurface(found, opaque if len(opaque) else None)


def _seen(view: SourceGuide, splats: Gaussians, near: float, tolerance: float) -> ViewGeometry:
    grid = given_grid(view.camera.size)
    bands = [_ended(band, tolerance) for _, band in BandedPicture(view.camera, grid, splats, near).bands()]
    depth, total = (torch.cat(one).reshape(grid.shape) for one in zip(*bands, strict=True))
    return where_valid(view, grid, depth, total)


def _ended(drawn: Footprints, tolerance: float) -> tuple[Float[Tensor, " cell"], Float[Tensor, " cell"]]:
    """Return where the light of each cell ends, and how much of it ends there."""
    z, cell, light = drawn.z_depth, drawn.cell, drawn.light
    count = drawn.grid.cell_count
    is_median = (light >= 0.5) & (light * (1 - drawn.alpha) < 0.5)
    median = torch.full((count,), torch.nan, dtype=z.dtype)
    median[cell[is_median]] = z[is_median]
    is_near = (z / median[cell] - 1).abs() < tolerance
    weight = torch.where(is_near, drawn.weight, 0.0)
    total, sums = (torch.zeros(count, dtype=z.dtype).index_add_(0, cell, one) for one in (weight, weight * z))
    return (sums / total).float(), total.float().clamp(max=1)
