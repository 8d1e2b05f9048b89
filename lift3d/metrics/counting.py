"""Which cells and points count, and reading maps at the points that do.

A point that is read bilinearly counts only if everything that is read there counts, so that nothing of a
pixel that does not count can reach a score.
"""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.errors import ShapeError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import bilinear_corners, nearest_cells
from lift3d.metrics.protocol import ViewEvidence


def pixel_grid(counts: Bool[Tensor, "height width"]) -> FeatureGrid:
    """Return the grid whose cells are the pixels."""
    height, width = counts.shape
    return FeatureGrid(height, width, 1.0, 1.0)


def counted_cells(counts: Bool[Tensor, "height width"], grid: FeatureGrid) -> Bool[Tensor, "row col"]:
    """Return the cells of which at least half of the pixels count.

    A cell smaller than a pixel counts if the pixel at its centre does; a cell outside the image never does.
    """
    stride, origin = _placement(grid)
    pixels = cell_centers(*counts.shape).reshape(-1, 2)
    cell = nearest_cells(pixels, grid.rows, grid.cols, stride, origin)
    is_in_cell = cell >= 0
    total = torch.bincount(cell[is_in_cell], minlength=grid.cell_count)
    counted = torch.bincount(cell[is_in_cell & counts.reshape(-1)], minlength=grid.cell_count)
    centers = cell_centers(grid.rows, grid.cols, stride, origin).reshape(-1, 2)
    at_center = nearest_flags(counts, centers)
    return torch.where(total > 0, 2 * counted >= total, at_center).reshape(grid.rows, grid.cols)


def nearest_flags(flags: Bool[Tensor, "height width"], uv: Float[Tensor, "point 2"]) -> Bool[Tensor, "point"]:
    """Return the flag of the pixel that contains each point; False outside the image."""
    index = nearest_cells(uv, *flags.shape)
    return (index >= 0) & flags.reshape(-1)[index.clamp(min=0)]


def nearest_values(values: Shaped[Tensor, "height width"], uv: Float[Tensor, "point 2"]) -> Shaped[Tensor, "point"]:
    """Return the value of the pixel that contains each point; points must lie on the image."""
    return values.reshape(-1)[nearest_cells(uv, *values.shape).clamp(min=0)]


def reads_only_counted(
    uv: Float[Tensor, "point 2"], counts: Bool[Tensor, "row col"], grid: FeatureGrid
) -> Bool[Tensor, "point"]:
    """Whether every cell that bilinear reading touches at a point counts."""
    index, weight = bilinear_corners(uv, grid.rows, grid.cols, *_placement(grid))
    return (counts.reshape(-1)[index] | (weight == 0)).all(-1)


def read_bilinear(
    values: Float[Tensor, "channel row col"], uv: Float[Tensor, "point 2"], grid: FeatureGrid
) -> Float[Tensor, "channel point"]:
    """Read a map bilinearly at points, in float64.

    A cell of weight 0 is not read at all: geometry.sampling.sample would let its NaN through.
    """
    index, weight = bilinear_corners(uv, grid.rows, grid.cols, *_placement(grid))
    flat = values.reshape(values.shape[0], -1)
    total = torch.zeros(values.shape[0], len(uv), dtype=torch.float64)
    for corner in range(4):
        share = weight[:, corner].double()
        total += torch.where(share == 0, 0.0, flat[:, index[:, corner]].double() * share)
    return total


def embedding_grid(evidence: ViewEvidence) -> FeatureGrid:
    """Return the grid of a predicted embedding: that of the cut which has as many cells.

    Raises:
        ShapeError: If no cut has.
    """
    prediction = evidence.lifted.prediction
    for feature_map in evidence.filled:
        if (feature_map.grid.rows, feature_map.grid.cols) == tuple(prediction.values.shape[1:]):
            return feature_map.grid
    raise ShapeError(
        f"View '{evidence.lifted.target}': an embedding of shape {tuple(prediction.values.shape)} lies on "
        f"the grid of none of the cuts; embeddings stay on the feature grid.",
        view=evidence.lifted.target,
    )


def _placement(grid: FeatureGrid) -> tuple[tuple[float, float], tuple[float, float]]:
    return (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
