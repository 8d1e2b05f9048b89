"""Blending weights: what a lifter is. One row of taps per target cell, for any number of channels."""

from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.errors import ShapeError

# The fields that have an entry per cell.
PER_CELL = ("source", "uv", "weight", "log_scale_ratio", "z_depth", "coverage")


@dataclass(frozen=True, slots=True, eq=False)
class BlendingWeights:
    """Which source samples make up each target cell, and with what weight.

    Attributes:
        grid: The target's feature grid (all of it, or the rows of one tile).
        source_ids: What the source index refers to.
        source: Index of the tap's source view.
        uv: Where the tap samples its source, pixels of the source image.
        weight: Sums to 1 where coverage > 0 (a residual may make some negative), else all 0.
        log_scale_ratio: log(pixels of the source per pixel of the target) at the surface; 0 for an equal footprint,
            NaN where the lifter does not tell.
        z_depth: Expected z-depth in the target camera, NaN where not covered.
        coverage: In [0, 1]: share of the ray's probability that some source sees.
    """

    grid: FeatureGrid
    source_ids: tuple[ViewId, ...]
    source: Int[Tensor, "cell tap"]
    uv: Float[Tensor, "cell tap 2"]
    weight: Float[Tensor, "cell tap"]
    log_scale_ratio: Float[Tensor, "cell tap"]
    z_depth: Float[Tensor, " cell"]
    coverage: Float[Tensor, " cell"]

    def __post_init__(self) -> None:
        shape = (self.grid.cell_count, int(self.source.shape[-1]))
        got = {tuple(self.source.shape), tuple(self.weight.shape), tuple(self.log_scale_ratio.shape)}
        if got != {shape} or tuple(self.uv.shape) != (*shape, 2) or self.coverage.shape != shape[:1]:
            raise ShapeError(f"Blending weights of {shape[0]} cells and {shape[1]} taps have shapes {got}.")

    def rows(self, first: int, last: int) -> "BlendingWeights":
        """Return the weights of some rows of the grid."""
        grid = self.grid
        cells = slice(first * grid.cols, last * grid.cols)
        tile = replace(grid, rows=last - first, origin_v=grid.origin_v + grid.stride_v * first)
        part: dict[str, Any] = {name: getattr(self, name)[cells] for name in PER_CELL}
        return replace(self, grid=tile, **part)
