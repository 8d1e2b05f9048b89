"""Why features are lost: further candidates and coarser choices, each of which isolates one cause.

Letters: a reader gives, for some cells, one feature per source view; what is fitted to it chooses views and nothing
else. Weights fitted to a window of cells can be judged with three channels, and those fitted around a cell without it
owe nothing to the freedom of a fit.
"""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.bench.attainable import Candidates, combine, true_features
from lift3d.bench.least_squares import convex_weights, error_gram
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import Frame
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.projection import is_inside, transfer
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells

Reader = Callable[[Int[Tensor, " pick"]], tuple[Float[Tensor, "pick source channel"], Bool[Tensor, "pick source"]]]
# Relative difference of two depths of one surface: consumer sensors err by 1 % at 2 m, slanted pixels by as much.
DEPTH_TOLERANCE = 0.03
# Heaviest taps whose eight neighbours are candidates, too.
NEIGHBOURED_TAPS = 8
Steps = tuple[tuple[int, int], ...]
CENTRE: Steps = ((0, 0),)
WINDOW: Steps = tuple(product((-1, 0, 1), (-1, 0, 1)))
AROUND: Steps = tuple(step for step in WINDOW if step != (0, 0))


def at_own_depth(weights: BlendingWeights, maps: Sequence[FeatureMap]) -> Reader:
    """Read each source where the weights read it, its taps in their own proportion: only views are left to choose."""

    def read(cells: Int[Tensor, " pick"]) -> tuple[Tensor, Tensor]:
        candidates = Candidates.of(weights, cells)
        values = candidates.features(maps)
        share = source_shares(weights, cells)[..., : values.shape[1]]
        total = share.sum(-1, keepdim=True)
        return (share / torch.where(total > 0, total, 1.0)) @ values, total[..., 0] > 0

    return read


def source_shares(weights: BlendingWeights, cells: Int[Tensor, " pick"]) -> Float[Tensor, "pick source tap"]:
    """Return the taps' weights, spread over a source axis."""
    is_of = weights.source[cells][:, None] == torch.arange(len(weights.source_ids))[:, None]
    return torch.where(is_of, weights.weight[cells][:, None], 0.0)


def at_true_depth(places: Candidates, maps: Sequence[FeatureMap]) -> Reader:
    """Read each source at the true surface.

    Args:
        places: Of all cells, from ``true_surface``.
        maps: The sources' features.
    """

    def read(cells: Int[Tensor, " pick"]) -> tuple[Tensor, Tensor]:
        picked = picked_places(places, cells)
        return picked.features(maps), picked.is_tap

    return read


def picked_places(places: Candidates, cells: Int[Tensor, " pick"]) -> Candidates:
    """Return the candidates of some cells."""
    return Candidates(places.source[cells], places.uv[cells], places.is_tap[cells])


def true_surface(target: Frame, sources: Sequence[Frame], grid: FeatureGrid) -> Candidates | None:
    """Return where each source shows the true surface at the centre of every cell of the target.

    A source whose own depth shows something else there is no candidate; one without depth is taken at its word.
    None where the target has no depth.
    """
    if target.z_depth is None:
        return None
    centers = cell_centers(grid.rows, grid.cols, (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v))
    uv = centers.flatten(0, 1)
    z_depth = _read_nearest(target.z_depth, uv)
    found_uv, found = [], []
    for source in sources:
        cameras = ((one.camera.K, one.camera.w2c) for one in (target, source))
        at, z_there = transfer(uv, z_depth, *cameras)
        is_seen = is_inside(at, *source.is_valid.shape) & (_read_nearest(source.is_valid.float(), at) == 1)
        if source.z_depth is not None:
            # NaN compares as false: an unknown depth contradicts nothing.
            is_seen &= ~((_read_nearest(source.z_depth, at) - z_there).abs() >= DEPTH_TOLERANCE * z_there)
        found_uv.append(torch.where(is_seen[:, None], at, 0.0))
        found.append(is_seen)
    index = torch.arange(len(sources)).expand(grid.cell_count, -1)
    return Candidates(index, torch.stack(found_uv, dim=1), torch.stack(found, dim=1))


def _read_nearest(values: Float[Tensor, "height width"], uv: Float[Tensor, "point 2"]) -> Float[Tensor, " point"]:
    """Read the pixel that contains each point; NaN outside."""
    index = nearest_cells(uv, *values.shape)
    return torch.where(index >= 0, values.flatten()[index.clamp(min=0)], torch.nan)


def neighbours(taps: Candidates, maps: Sequence[FeatureMap]) -> Candidates:
    """Return the places one source cell beside, above and below the heaviest taps: what a shift could correct."""
    heaviest = slice(0, NEIGHBOURED_TAPS)
    source, uv, is_tap = taps.source[:, heaviest], taps.uv[:, heaviest], taps.is_tap[:, heaviest]
    stride = torch.tensor([[one.grid.stride_u, one.grid.stride_v] for one in maps])[source]
    shifted = [uv + stride * torch.tensor(step) for step in AROUND]
    # Beyond the border the border value holds, so a shift out of the image is a repetition and does no harm.
    return Candidates(source.repeat(1, len(AROUND)), torch.cat(shifted, dim=1), is_tap.repeat(1, len(AROUND)))


def best_views(
    read: Reader,
    truth: FeatureMap,
    is_valid: Bool[Tensor, " cell"],
    cells: Int[Tensor, " pick"],
    steps: Sequence[tuple[int, int]] = CENTRE,
) -> Float[Tensor, "pick channel"]:
    """Return what the best convex weights over views give, fitted to some cells around each cell together.

    Args:
        read: One feature per source.
        truth: The operator's own features of the target.
        is_valid: Cells of the target with a measurement; the others are passed over.
        cells: Cells to predict.
        steps: Which cells the weights of one are fitted to, as (rows, columns) away: CENTRE, WINDOW or AROUND.

    Returns:
        Features of the cells; NaN where no view is seen in all of what it is fitted to, and in the cell itself.
    """
    grid = truth.grid
    row, col = cells // grid.cols, cells % grid.cols
    values, is_view = read(cells)
    gram = torch.zeros(len(cells), values.shape[1], values.shape[1], dtype=torch.float64)
    for down, right in steps:
        beside = (row + down).clamp(0, grid.rows - 1) * grid.cols + (col + right).clamp(0, grid.cols - 1)
        there, is_seen = read(beside)
        # A neighbour that no source is seen in, or without a measurement, has no say.
        counts = (is_valid[beside] & is_seen.any(-1))[:, None]
        gram += error_gram(there, true_features(truth, beside), is_seen & counts)
        is_view = is_view & (is_seen | ~counts)
    weight = convex_weights(gram * (is_view[:, :, None] & is_view[:, None]), is_view)
    return torch.where(is_view.any(-1, keepdim=True), combine(weight, values), torch.nan)
