"""Depth on a grid, read between its cells without mixing what lies on both sides of an edge."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.geometry.sampling import bilinear_corners

# Relative step of depth beyond which neighbouring cells lie on different surfaces.
EDGE = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class DepthMap:
    """Depth of a target: z at the centres of cells, NaN where nothing is known, infinite where there is nothing."""

    grid: FeatureGrid
    z_depth: Float[Tensor, "row col"]

    def at(self, uv: Float[Tensor, "point 2"]) -> Float[Tensor, " point"]:
        """Return depth at pixels: disparity is mixed among cells of one surface, that of the nearest known cell.

        NaN where that cell shows nothing.
        """
        corner, share = bilinear_corners(uv, *self.grid.lattice)
        z = self.z_depth.reshape(-1)[corner]
        share = torch.where(torch.isnan(z), 0.0, torch.where(torch.isinf(z), share, share + 1e-6))
        own = z.gather(1, share.argmax(1, keepdim=True))
        mixed = torch.where((z / own - 1).abs() < EDGE, share, 0.0)
        return mixed.sum(1) / torch.where(mixed > 0, mixed / z, 0.0).sum(1)
