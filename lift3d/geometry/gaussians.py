"""Gaussians of 3D Gaussian splatting drawn onto the cells of a grid, and back: who shows what is one list of pairs.

Letters: a covariance is that of a splat on the image, pixels squared; light is what is left of a ray.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.geometry.projection import project
from lift3d.geometry.rasterization import cells_in_boxes
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform

# What hides less than this is not drawn, as in 3DGS; more than that never, so that logarithms are finite.
_LEAST_ALPHA, _MOST_ALPHA = 1 / 255, 0.99
# A splat ends at so many standard deviations.
_EXTENT = 3.0
# Variance of the filter of a cell, in cells squared.
_CELL_VARIANCE = 0.3
# Beyond this share of the image's half width, the slope of a splat's projection no longer grows.
_WIDEST = 1.3


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """Splats with their covariances, world units."""

    xyz: Float[Tensor, "splat 3"]
    opacity: Float[Tensor, " splat"]
    covariance: Float[Tensor, "splat 3 3"]

    @classmethod
    def of(
        cls,
        xyz: Float[Tensor, "splat 3"],
        opacity: Float[Tensor, " splat"],
        scale: Float[Tensor, "splat 3"],
        rotation: Float[Tensor, "splat 4"],
    ) -> "Gaussians":
        """Put them together from standard deviations along own axes, which quaternions (w, x, y, z) turn."""
        w, x, y, z = torch.nn.functional.normalize(rotation, dim=-1).unbind(-1)
        rows = [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ]
        axes = torch.stack(rows, dim=-1).reshape(-1, 3, 3) * scale[:, None, :]
        return cls(xyz, opacity, axes @ axes.mT)


@dataclass(frozen=True, slots=True, eq=False)
class Footprints:
    """Where a camera sees splats: pairs of a splat and a cell that it covers, by cell, the nearest first.

    Attributes:
        grid: Of the cells.
        splat: Of each pair.
        cell: Row-major.
        z_depth: Of the splat's centre, camera z.
        alpha: How much of the light the splat takes.
        light: What is left of the ray before it, from 1 on.
    """

    grid: FeatureGrid
    splat: Int[Tensor, " pair"]
    cell: Int[Tensor, " pair"]
    z_depth: Float[Tensor, " pair"]
    alpha: Float[Tensor, " pair"]
    light: Float[Tensor, " pair"]

    @property
    def weight(self) -> Float[Tensor, " pair"]:
        """How much of the cell's colour is the splat's: light times alpha."""
        return self.light * self.alpha

    def rendered(
        self, values: Float[Tensor, "splat channel"]
    ) -> tuple[Float[Tensor, "channel row col"], Float[Tensor, "row col"]]:
        """Return the sum of the splats' values by weight, and the sum of the weights: what is not there is dark."""
        weight = self.weight.to(values)
        picture = torch.zeros(self.grid.cell_count, values.shape[1], dtype=values.dtype)
        picture.index_add_(0, self.cell, weight[:, None] * values[self.splat])
        total = torch.zeros(self.grid.cell_count, dtype=values.dtype).index_add_(0, self.cell, weight)
        return picture.T.reshape(-1, *self.grid.shape), total.reshape(self.grid.shape)

    def rendered_depth(self) -> tuple[Float[Tensor, "row col"], Float[Tensor, "row col"]]:
        """Return the mean depth of what is seen, by weight, NaN where nothing is, and the sum of the weights."""
        sums, total = (
            torch.zeros(self.grid.cell_count, dtype=self.weight.dtype).index_add_(0, self.cell, one)
            for one in (self.weight * self.z_depth, self.weight)
        )
        return (sums / total).reshape(self.grid.shape), total.reshape(self.grid.shape)

    def given_back(
        self, values: Float[Tensor, "cell channel"], splat_count: int
    ) -> tuple[Float[Tensor, "splat channel"], Float[Tensor, " splat"]]:
        """Return, for each splat, the sum of the cells' values by the same weights, and that of the weights.

        Cells of which any value is NaN give nothing. The quotient, summed over views first, is the normalised
        back-projection.

        Source:
            Marrie et al., LUDVIG, ICCV 2025, eq. 3.
        """
        is_known = torch.isfinite(values).all(1)[self.cell]
        splat, cell, weight = self.splat[is_known], self.cell[is_known], self.weight[is_known].to(values)
        sums = torch.zeros(splat_count, values.shape[1], dtype=values.dtype)
        sums.index_add_(0, splat, weight[:, None] * values[cell])
        return sums, torch.zeros(splat_count, dtype=values.dtype).index_add_(0, splat, weight)


def footprints(camera: Camera, grid: FeatureGrid, splats: Gaussians, near: float) -> Footprints:
    """Return the splats that a camera sees in each cell, from a depth of ``near`` on.

    Memory is that of the pairs, 48 bytes each.

    Source:
        Kerbl et al., 3D Gaussian splatting, SIGGRAPH 2023, §4; opacity under a cell's filter: Yu et al.,
        Mip-splatting, CVPR 2024, §5.2.
    """
    xyz = transform(camera.w2c, splats.xyz)
    order = xyz[:, 2].argsort(stable=True)
    order = order[xyz[order, 2] > near]
    xyz, opacity = xyz[order], splats.opacity[order]
    uv, _ = project(xyz, camera.K)
    sharp = _on_image(camera, xyz, splats.covariance[order])
    filtered = sharp + torch.diag(_CELL_VARIANCE * torch.tensor([grid.stride_u, grid.stride_v]).double().square())
    determinant = filtered.det()
    opacity = opacity * (sharp.det().clamp(min=0) / determinant).sqrt()
    reach = _EXTENT * filtered.diagonal(dim1=1, dim2=2).sqrt()
    reach = torch.where((opacity > _LEAST_ALPHA)[:, None], reach, -1.0)
    centers = cell_centers(*grid.lattice).double().reshape(-1, 2)
    # By depth, so that a stable sort by cell leaves the nearest first.
    parts = [(order[:0], order[:0], xyz[:0, 2], xyz[:0, 2])]
    for at, cell in cells_in_boxes(uv - reach, uv + reach, grid.lattice):
        (x, y), own = (centers[cell] - uv[at]).T, filtered[at]
        distance = (own[:, 1, 1] * x * x - 2 * own[:, 0, 1] * x * y + own[:, 0, 0] * y * y) / determinant[at]
        alpha = (opacity[at] * (-distance / 2).exp()).clamp(max=_MOST_ALPHA)
        is_drawn = alpha > _LEAST_ALPHA
        at = at[is_drawn]
        parts.append((order[at], cell[is_drawn], xyz[at, 2], alpha[is_drawn]))
    splat, cell, z, alpha = (torch.cat(one) for one in zip(*parts, strict=True))
    by_cell = cell.argsort(stable=True)
    splat, cell, z, alpha = (one[by_cell] for one in (splat, cell, z, alpha))
    kept = torch.log1p(-alpha)
    ends = kept.cumsum(0)
    first = torch.searchsorted(cell, torch.arange(grid.cell_count))
    before = ends - kept - torch.cat([torch.zeros(1, dtype=ends.dtype), ends])[first][cell]
    return Footprints(grid, splat, cell, z, alpha, before.exp())


def _on_image(
    camera: Camera, xyz: Float[Tensor, "splat 3"], covariance: Float[Tensor, "splat 3 3"]
) -> Float[Tensor, "splat 2 2"]:
    """Return covariances on the image, by the slope of the projection at the centre of each splat."""
    K, z = camera.K, xyz[:, 2]
    widest = [
        float(_WIDEST * side / (2 * K[axis, axis])) for axis, side in enumerate((camera.size.width, camera.size.height))
    ]
    x, y = ((xyz[:, axis] / z).clamp(-limit, limit) for axis, limit in enumerate(widest))
    none = torch.zeros_like(z)
    rows = [K[0, 0] / z, K[0, 1] / z, -(K[0, 0] * x + K[0, 1] * y) / z, none, K[1, 1] / z, -K[1, 1] * y / z]
    slope = torch.stack(rows, dim=-1).reshape(-1, 2, 3) @ camera.w2c[:3, :3].to(z.device)
    return slope @ covariance @ slope.mT
