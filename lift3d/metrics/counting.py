"""Which cells and points count, and reading maps at the points that do.

A point that is read bilinearly counts only if everything that is read there counts, so that nothing of a
pixel that does not count can reach a score.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import embedding_bag

from lift3d.domain.features import FeatureGrid
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.errors import ShapeError
from lift3d.geometry.rays import baseline_angle, cell_centers
from lift3d.geometry.sampling import bilinear_corners, nearest_cells
from lift3d.metrics.protocol import Observations, ViewEvidence

# Fewer shared points than this say nothing about a pair: the median angle and the error would be noise.
MIN_SHARED_POINTS = 16
# Channels turned to float64 at a time: bounds the copy whatever the width of the model.
CHANNEL_BLOCK = 64


def pixel_grid(counts: Bool[Tensor, "height width"]) -> FeatureGrid:
    """Return the grid whose cells are the pixels."""
    height, width = counts.shape
    return FeatureGrid(height, width, 1.0, 1.0)


def cells_of(evidence: ViewEvidence, grid: FeatureGrid) -> Bool[Tensor, "row col"]:
    """Return the cells of a view that count, found once for all its figures."""
    if grid not in evidence.cells:
        evidence.cells[grid] = counted_cells(evidence.counts, grid)
    return evidence.cells[grid]


def counted_cells(counts: Bool[Tensor, "height width"], grid: FeatureGrid) -> Bool[Tensor, "row col"]:
    """Return the cells of which at least half of the pixels count.

    A cell smaller than a pixel counts if the pixel at its centre does; a cell outside the image never does.
    """
    if grid == pixel_grid(counts):
        return counts
    row, col, total, is_full = _pixels_in_cells(*counts.shape, grid, counts.device)
    # Sums over rows, then over columns.
    by_row = torch.zeros(grid.rows + 1, counts.shape[1], dtype=torch.int32).index_add_(0, row, counts.int())
    by_cell = torch.zeros(grid.rows + 1, grid.cols + 1, dtype=torch.int32).index_add_(1, col, by_row)
    is_counted = 2 * by_cell[: grid.rows, : grid.cols] >= total
    if is_full:
        return is_counted
    centers = cell_centers(*grid.lattice).reshape(-1, 2)
    at_center = Corners.nearest(centers, pixel_grid(counts)).count(counts)
    return torch.where(total > 0, is_counted, at_center.reshape(total.shape))


@lru_cache(maxsize=64)
def _pixels_in_cells(
    height: int, width: int, grid: FeatureGrid, device: torch.device
) -> tuple[Int[Tensor, " height"], Int[Tensor, " width"], Int[Tensor, "row col"], bool]:
    """Return the row of cells that each row of pixels is in, likewise for columns, and how many pixels a cell has.

    And whether all have any. Which row of cells a pixel is in depends on its row alone. Pixels in no cell are in one
    past the last.
    """
    row = nearest_cells(cell_centers(height, 1)[:, 0], grid.rows, 1, (1.0, grid.stride_v), (0.0, grid.origin_v))
    col = nearest_cells(cell_centers(1, width)[0], 1, grid.cols, (grid.stride_u, 1.0), (grid.origin_u, 0.0))
    row, col = (one.to(device) for one in (row % (grid.rows + 1), col % (grid.cols + 1)))
    rows, cols = torch.bincount(row, minlength=grid.rows + 1), torch.bincount(col, minlength=grid.cols + 1)
    total = rows[: grid.rows, None] * cols[: grid.cols]
    return row, col, total, bool(total.all())


@dataclass(frozen=True, slots=True, eq=False)
class Corners:
    """The cells that reading a map touches at some points, and their shares, which sum to 1.

    A cell of share 0 is not touched: geometry.sampling.sample would let its NaN through.
    """

    cell: Int[Tensor, "point corner"]
    share: Float[Tensor, "point corner"]

    @classmethod
    @lru_cache(maxsize=8)
    def bilinear(cls, uv: Float[Tensor, "point 2"], grid: FeatureGrid) -> "Corners":
        """Return the four cells around each point; those of the last pair of views are at hand."""
        cell, share = bilinear_corners(uv, *grid.lattice)
        heaviest = cell.gather(1, share.argmax(1, keepdim=True))
        return cls(torch.where(share == 0, heaviest, cell), share.double())

    @classmethod
    def nearest(cls, uv: Float[Tensor, "point 2"], grid: FeatureGrid) -> "Corners":
        """Return the one cell that contains each point, −1 where none does."""
        cell = nearest_cells(uv, *grid.lattice)[:, None]
        return cls(cell, torch.ones(cell.shape, dtype=torch.float64))

    def only(self, is_chosen: Bool[Tensor, " point"]) -> "Corners":
        """Return the corners of some of the points."""
        chosen = is_chosen.nonzero()[:, 0]
        return self if len(chosen) == len(is_chosen) else Corners(self.cell[chosen], self.share[chosen])

    def count(self, counts: Bool[Tensor, "row col"]) -> Bool[Tensor, " point"]:
        """Whether every cell that is touched counts."""
        return (counts.reshape(-1)[self.cell] & (self.cell >= 0)).all(1)

    def read(self, values: Shaped[Tensor, "channel row col"]) -> Float[Tensor, "point channel"]:
        """Read a map, in float64; points must lie on its grid."""
        flat = values.flatten(1)
        if self.cell.numel() < flat.shape[1]:
            # Few points of a large map: only what is touched becomes float64.
            return (flat[:, self.cell].double() * self.share).sum(2).T
        table = flat.T.double().contiguous()
        return embedding_bag(self.cell, table, mode="sum", per_sample_weights=self.share)


def annotated_pixels(
    answer: Int[Tensor, "height width"], truth: Int[Tensor, "height width"] | None, counts: Bool[Tensor, "height width"]
) -> tuple[Int[Tensor, " pixel"], Int[Tensor, " pixel"]]:
    """Return answer and truth where pixels count and the truth is known; nothing of a view without it."""
    is_scored = torch.zeros_like(counts) if truth is None else counts & (truth != UNKNOWN_LABEL)
    return answer[is_scored].long(), (answer if truth is None else truth)[is_scored].long()


def paired(
    views: Iterable[tuple[Int[Tensor, " pixel"], Int[Tensor, " pixel"]]],
) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Return the pairs of answer and truth that occur in any view, and how many pixels have each: a few per view."""
    found = [torch.unique(torch.stack(view), dim=1, return_counts=True) for view in views]
    pairs, count = torch.cat([one for one, _ in found], dim=1), torch.cat([many for _, many in found])
    return pairs[0], pairs[1], count.double()


def summed(place: Int[Tensor, " pixel"], pixels: Float[Tensor, " pixel"], count: int) -> Float[Tensor, " place"]:
    """Return how many pixels fall on each of ``count`` places; whole numbers, so that their order is irrelevant."""
    return torch.zeros(count, dtype=torch.float64).index_add_(0, place, pixels)


def embedding_grid(evidence: ViewEvidence) -> FeatureGrid:
    """Return the grid of a predicted embedding: that of the cut which has as many cells; ShapeError if none has."""
    prediction = evidence.lifted.prediction
    for feature_map in evidence.filled:
        if feature_map.grid.shape == tuple(prediction.values.shape[1:]):
            return feature_map.grid
    raise ShapeError(
        f"View '{evidence.lifted.target}': an embedding of shape {tuple(prediction.values.shape)} lies on "
        f"the grid of none of the cuts; embeddings stay on the feature grid.",
        view=evidence.lifted.target,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The lifted prediction of a view at some pixels: where it is read, and whether all that is read counts."""

    values: Shaped[Tensor, "channel row col"]
    corners: Corners
    counts: Bool[Tensor, " point"]

    @classmethod
    def of(cls, evidence: ViewEvidence, uv: Float[Tensor, "point 2"]) -> "Reading":
        """Labels are read at the nearest pixel, embeddings bilinearly on their feature grid, the rest bilinearly."""
        prediction, grid, counts = evidence.lifted.prediction, pixel_grid(evidence.counts), evidence.counts
        if prediction.kind == "embedding":
            grid = embedding_grid(evidence)
            counts = cells_of(evidence, grid)
        corners = Corners.nearest(uv, grid) if prediction.kind == "labels" else Corners.bilinear(uv, grid)
        values = prediction.values if prediction.values.ndim == 3 else prediction.values[None]
        return cls(values, corners, corners.count(counts))

    def at(self, is_chosen: Bool[Tensor, " point"]) -> Float[Tensor, "chosen channel"]:
        """Read the chosen points."""
        return self.corners.only(is_chosen).read(self.values)


def collect_observations(
    point: Int[Tensor, " observation"], view: Int[Tensor, " observation"], uv: Float[Tensor, "observation 2"]
) -> Observations:
    """Sort observations by point, then view, drop points that one view alone sees, and number the rest from 0."""
    order = torch.argsort(view, stable=True)
    order = order[torch.argsort(point[order], stable=True)]
    point, view, uv = point[order], view[order], uv[order]
    _, inverse, count = torch.unique(point, return_inverse=True, return_counts=True)
    is_shared = count[inverse] >= 2
    _, renumbered = torch.unique(point[is_shared], return_inverse=True)
    return Observations(renumbered, view[is_shared], uv[is_shared])


def evenly(values: Tensor, limit: int) -> Tensor:
    """Keep every nth entry so that at most ``limit`` are left."""
    return values[:: max(1, -(-len(values) // limit))]


def rows_of_views(view: Int[Tensor, " observation"], view_count: int) -> tuple[Int[Tensor, " row"], ...]:
    """Return which observations are of each view: sorted once, not searched for view by view."""
    return torch.split(torch.argsort(view, stable=True), torch.bincount(view, minlength=view_count).tolist())


def median_angles(
    xyz: Float[Tensor, "point 3"],
    center_a: Float[Tensor, "3"],
    centers: Float[Tensor, "view 3"],
    is_seen: Bool[Tensor, "view point"],
    least: int = MIN_SHARED_POINTS,
) -> Float[Tensor, " view"]:
    """Return the median baseline angle in degrees over the points that each view sees; NaN of fewer than ``least``."""
    angle = torch.where(is_seen, baseline_angle(xyz, center_a, centers), torch.nan)
    is_enough = is_seen.sum(1) >= least
    median = torch.full((len(centers),), torch.nan, dtype=torch.float64)
    if bool(is_enough.any()):
        median[is_enough] = torch.rad2deg(angle[is_enough].nanmedian(1).values)
    return median
