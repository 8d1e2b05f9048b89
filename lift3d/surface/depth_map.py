"""Depth on a grid, read between its cells without mixing what lies on both sides of an edge."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.geometry.sampling import bilinear_corners, taken

# Relative step of depth beyond which neighbouring cells lie on different surfaces.
EDGE = 0.03
# Depth that is given is kept on cells of a pixel, since outlines are as sharp as cells: of pictures up to so many
# pixels, of larger ones on as many cells, until these are this wide.
_FINE_CELLS, _WIDEST_PX = 65_536, 2.0


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
        z = taken(self.z_depth.reshape(-1), corner)
        share = torch.where(torch.isnan(z), 0.0, torch.where(torch.isinf(z), share, share + 1e-6))
        own = z.gather(1, share.argmax(1, keepdim=True))
        mixed = torch.where((z / own - 1).abs() < EDGE, share, 0.0)
        return mixed.sum(1) / torch.where(mixed > 0, mixed / z, 0.0).sum(1)


def given_stride_px(image: ImageSize) -> float:
    """Return how wide cells of depth are that is given, not searched."""
    return min(_WIDEST_PX, max(1.0, math.sqrt(image.height * image.width / _FINE_CELLS)))


def given_grid(image: ImageSize) -> FeatureGrid:
    """Return the cells of depth that is given."""
    return FeatureGrid.covering(image, given_stride_px(image))
