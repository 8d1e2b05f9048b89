"""Splats drawn onto the cells of a grid, and back: who shows what is one list of pairs.

Letters: light is what is left of a ray; a band is some rows of the grid, drawn at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.errors import MissingExtraError
from lift3d.geometry.gaussians import LEAST_ALPHA, Ellipses, Gaussians
from lift3d.geometry.rasterization import cells_in_boxes
from lift3d.geometry.rays import cell_centers

# Never more than that, so that logarithms are finite.
_MOST_ALPHA = 0.99
# Pairs that are held at once, of 48 bytes, three times that as they are sorted: about a gigabyte.
MOST_PAIRS = 2**23


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


def footprints(grid: FeatureGrid, ellipses: Ellipses) -> Footprints:
    """Return the splats that show in each cell. Memory is that of the pairs."""
    centers = cell_centers(*grid.lattice).double().reshape(-1, 2)
    uv, reach, z_depth = ellipses.uv, ellipses.reach, ellipses.z_depth
    # By depth, so that a stable sort by cell leaves the nearest first.
    none = ellipses.splat[:0]
    parts = [(none, none, z_depth[:0], z_depth[:0])]
    for at, cell in cells_in_boxes(uv - reach, uv + reach, grid.lattice):
        (x, y), own = (centers[cell] - uv[at]).T, ellipses.covariance[at]
        distance = own[:, 1, 1] * x * x - 2 * own[:, 0, 1] * x * y + own[:, 0, 0] * y * y
        alpha = (ellipses.opacity[at] * (-distance / ellipses.determinant[at] / 2).exp()).clamp(max=_MOST_ALPHA)
        is_drawn = alpha > LEAST_ALPHA
        at = at[is_drawn]
        parts.append((ellipses.splat[at], cell[is_drawn], z_depth[at], alpha[is_drawn]))
    splat, cell, z, alpha = (torch.cat(one) for one in zip(*parts, strict=True))
    by_cell = cell.argsort(stable=True)
    splat, cell, z, alpha = (one[by_cell] for one in (splat, cell, z, alpha))
    kept = torch.log1p(-alpha)
    ends = kept.cumsum(0)
    first = torch.searchsorted(cell, torch.arange(grid.cell_count))
    before = ends - kept - torch.cat([torch.zeros(1, dtype=ends.dtype), ends])[first][cell]
    return Footprints(grid, splat, cell, z, alpha, before.exp())


@runtime_checkable
class SplatPicture(Protocol):
    """What a camera sees of splats: values of splats to cells by weight, and back by the same weights."""

    def rendered(
        self, values: Float[Tensor, "splat channel"]
    ) -> tuple[Float[Tensor, "channel row col"], Float[Tensor, "row col"]]:
        """As of Footprints."""
        ...

    def rendered_depth(self) -> tuple[Float[Tensor, "row col"], Float[Tensor, "row col"]]:
        """As of Footprints."""
        ...

    def given_back(
        self, values: Float[Tensor, "cell channel"], splat_count: int
    ) -> tuple[Float[Tensor, "splat channel"], Float[Tensor, " splat"]]:
        """As of Footprints."""
        ...


class BandedPicture:
    """Splats drawn in plain torch, band by band, so that memory is bounded however many there are.

    A picture of one band keeps it; others are drawn again each time that they are asked.
    """

    def __init__(self, camera: Camera, grid: FeatureGrid, splats: Gaussians, near: float) -> None:
        self.grid = grid
        self._ellipses = Ellipses.of(camera, grid, splats, near)

    def bands(self) -> Iterator[tuple[slice, Footprints]]:
        """Yield the cells of each band, and what shows in them."""
        for top, end in self._rows:
            yield slice(top * self.grid.cols, end * self.grid.cols), self._drawn(top, end)

    def rendered(
        self, values: Float[Tensor, "splat channel"]
    ) -> tuple[Float[Tensor, "channel row col"], Float[Tensor, "row col"]]:
        """Return the sum of the splats' values by weight, and the sum of the weights: what is not there is dark."""
        parts = [band.rendered(values) for _, band in self.bands()]
        return torch.cat([picture for picture, _ in parts], dim=1), torch.cat([total for _, total in parts])

    def rendered_depth(self) -> tuple[Float[Tensor, "row col"], Float[Tensor, "row col"]]:
        """Return the mean depth of what is seen, by weight, NaN where nothing is, and the sum of the weights."""
        parts = [band.rendered_depth() for _, band in self.bands()]
        return torch.cat([depth for depth, _ in parts]), torch.cat([total for _, total in parts])

    def given_back(
        self, values: Float[Tensor, "cell channel"], splat_count: int
    ) -> tuple[Float[Tensor, "splat channel"], Float[Tensor, " splat"]]:
        """Return sums of the cells' values, and of the weights, of each splat, as ``Footprints.given_back``."""
        sums = torch.zeros(splat_count, values.shape[1], dtype=values.dtype)
        weights = torch.zeros(splat_count, dtype=values.dtype)
        for cells, band in self.bands():
            own, weight = band.given_back(values[cells], splat_count)
            sums += own
            weights += weight
        return sums, weights

    @cached_property
    def _rows(self) -> list[tuple[int, int]]:
        """First row and end of each band: of as many rows as may have ``MOST_PAIRS``, one at least."""
        pairs, bands, begin = self._most_pairs_by_row().cumsum(0), [], 0
        while begin < self.grid.rows:
            before = int(pairs[begin - 1]) if begin else 0
            end = int(torch.searchsorted(pairs, before + MOST_PAIRS, right=True))
            bands.append((begin, max(begin + 1, end)))
            begin = bands[-1][1]
        return bands

    def _most_pairs_by_row(self) -> Int[Tensor, " row"]:
        """Return how many cells of each row lie in the boxes of splats."""
        uv, reach = self._ellipses.uv, self._ellipses.reach
        step, start = (torch.tensor(one, dtype=uv.dtype) for one in self.grid.placement)
        most = torch.tensor([self.grid.cols, self.grid.rows], dtype=uv.dtype)
        low, high = (((uv + sign * reach - start) / step).nan_to_num(-1.0) for sign in (-1, 1))
        low, high = low.floor().clamp(min=0).minimum(most), high.ceil().clamp(min=0).minimum(most)
        width, (top, end) = (high - low).clamp(min=0)[:, 0].long(), (low[:, 1].long(), high[:, 1].long())
        width = torch.where(end > top, width, 0)
        changes = torch.zeros(self.grid.rows + 1, dtype=torch.long)
        return changes.index_add_(0, top, width).index_add_(0, end, -width).cumsum(0)[:-1]

    def _drawn(self, top: int, end: int) -> Footprints:
        if (top, end) == (0, self.grid.rows):
            return self._whole
        grid = self.grid
        origin_v = grid.origin_v + top * grid.stride_v
        band = FeatureGrid(end - top, grid.cols, grid.stride_u, grid.stride_v, grid.origin_u, origin_v)
        return footprints(band, self._ellipses)

    @cached_property
    def _whole(self) -> Footprints:
        return footprints(self.grid, self._ellipses)


def splat_picture(camera: Camera, grid: FeatureGrid, splats: Gaussians, near: float) -> SplatPicture:
    """Return what a camera sees of splats: by gsplat where it is installed and there is CUDA, else in plain torch."""
    if torch.cuda.is_available():
        try:
            from lift3d.geometry.gsplat import GsplatPicture, has_kernels
        except MissingExtraError:
            pass
        else:
            if has_kernels():
                return GsplatPicture(camera, grid, splats, near)
    return BandedPicture(camera, grid, splats, near)
