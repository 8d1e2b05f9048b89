"""The weighted sum: one sparse function for every lifter, every operator and any number of channels.

A tap reads its source bilinearly, so it is four cells of that source; a target cell is then a bag of
``4 · tap`` rows of the table of all source cells. The table exists only as one block of channels at a time.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.lifted import LiftedFeatures
from lift3d.domain.weights import BlendingWeights
from lift3d.errors import ConfigError, NonFiniteError, ShapeError
from lift3d.geometry.sampling import corners_apart, normalized_coordinates

# A block of one 37×37 map of ten sources is 3.5 MB: it stays in the last-level cache while bags are summed.
CHANNEL_BLOCK = 64
# Corners held at once (8 bytes each): 8192 cells of 32 taps in 8 MB.
CORNER_TILE = 2**20


def blend(weights: BlendingWeights, sources: Sequence[FeatureMap]) -> LiftedFeatures:
    """Sum the sources' features of one cut, in the order of ``weights.source_ids``, with the given weights.

    Features are float32, NaN where coverage is 0, in the memory layout of the first map; global tokens are blended with
    the view-marginal. Peak memory beyond arguments and result does not depend on the number of channels: one block of
    the table (``4 · CHANNEL_BLOCK`` bytes per source cell) and the corners of a tile of cells. A tile of rows gives the
    rows of the whole bit for bit. Not differentiable. ConfigError if a source has no map, ShapeError if maps differ in
    channels or tokens (their grids may), NonFiniteError if one has a NaN or infinite cell.
    """
    if not sources or len(sources) != len(weights.source_ids):
        raise ConfigError(
            f"Blending {len(weights.source_ids)} sources needs one feature map each, got {len(sources)} maps."
        )
    channels_of = sorted({source.channel_count for source in sources})
    if len(channels_of) > 1:
        raise ShapeError(f"All sources of one cut need the same channels, got {channels_of}.")
    channel_count, cell_count = channels_of[0], weights.grid.cell_count
    table_rows = sum(source.grid.cell_count for source in sources)
    # The table is rebuilt for every tile of cells, so the corners may take as much memory as one block of it.
    tile = max(CORNER_TILE, table_rows * CHANNEL_BLOCK // 2) // (4 * weights.source.shape[1]) + 1
    # Token models give maps whose channels are adjacent in memory; the result keeps that layout, without transposing.
    is_token_major = sources[0].values.stride(0) == 1
    values = torch.empty(cell_count, channel_count).T if is_token_major else torch.empty(channel_count, cell_count)
    # One piece of memory for all blocks: fresh pages cost as much as what is copied into them.
    table = torch.empty(table_rows * min(CHANNEL_BLOCK, channel_count))
    with torch.no_grad():
        for start in range(0, cell_count, tile):
            cells = slice(start, min(start + tile, cell_count))
            rows, shares = _bags(weights, cells, [source.grid for source in sources])
            for low in range(0, channel_count, CHANNEL_BLOCK):
                channels = slice(low, min(low + CHANNEL_BLOCK, channel_count))
                block = table[: table_rows * (channels.stop - low)].view(table_rows, -1)
                _fill(block, sources, channels)
                values[channels, cells] = F.embedding_bag(rows, block, mode="sum", per_sample_weights=shares).T
    return _lifted(weights, values, [source.global_tokens for source in sources])


class SourceTable:
    """The features of one cut of some sources, laid out once for the blends of many targets.

    Holds 4 bytes per channel and source cell. Blends as ``blend`` does, up to rounding; maps stand in the order in
    which weights count them. NonFiniteError if one has a NaN or infinite cell.
    """

    def __init__(self, maps: Sequence[FeatureMap]) -> None:
        self._grids = [one.grid for one in maps]
        self._tokens = [one.global_tokens for one in maps]
        self._rows = torch.empty(sum(grid.cell_count for grid in self._grids), maps[0].channel_count)
        _fill(self._rows, maps, slice(0, maps[0].channel_count))

    def blend(self, weights: BlendingWeights) -> LiftedFeatures:
        """Sum the sources' features with the given weights; global tokens are blended with the view-marginal."""
        tile = CORNER_TILE // (4 * weights.source.shape[1]) + 1
        values = torch.empty(self._rows.shape[1], weights.grid.cell_count)
        for start in range(0, weights.grid.cell_count, tile):
            cells = slice(start, min(start + tile, weights.grid.cell_count))
            rows, shares = _bags(weights, cells, self._grids)
            values[:, cells] = F.embedding_bag(rows, self._rows, mode="sum", per_sample_weights=shares).T
        return _lifted(weights, values, self._tokens)


def blend_picture(
    weights: BlendingWeights,
    images: Sequence[Float[Tensor, "channel _ _"]],
    stride_px: tuple[float, float] = (1.0, 1.0),
) -> Float[Tensor, "channel row col"]:
    """Return ``Σ_tap weight · image(uv)`` with bicubic reading, clamped to [0, 1]; 0 where not covered.

    The 2D model meets this picture instead of a photograph, and bilinear reading would blur it. Images have no holes
    and stand in the order of ``weights.source_ids``; ``stride_px`` is in source pixels, which taps are in, per pixel of
    theirs, (u, v).

    Source:
        Keys, Cubic convolution interpolation for digital image processing, 1981 (a = −0.75, as in PyTorch).
    """
    return picture_and_spread(weights, images, stride_px)[0]


def picture_and_spread(
    weights: BlendingWeights,
    images: Sequence[Float[Tensor, "channel _ _"]],
    stride_px: tuple[float, float] = (1.0, 1.0),
) -> tuple[Float[Tensor, "channel row col"], Float[Tensor, "row col"]]:
    """Return the picture of ``blend_picture`` and the variance of its taps, of all channels together."""
    picture = images[0].new_zeros(len(images[0]), weights.grid.cell_count)
    square = picture.new_zeros(weights.grid.cell_count)
    for index, image in enumerate(images):
        cell, tap = ((weights.source == index) & (weights.weight > 0)).nonzero(as_tuple=True)
        at = normalized_coordinates(weights.uv[cell, tap], image.shape[1], image.shape[2], stride_px)
        read = F.grid_sample(image[None], at[None, None], mode="bicubic", padding_mode="border", align_corners=False)
        share = weights.weight[cell, tap]
        picture.index_add_(1, cell, read[0, :, 0] * share)
        square.index_add_(0, cell, read[0, :, 0].square().sum(0) * share)
    spread = (square - picture.square().sum(0)).clamp(min=0)
    return picture.clamp(0, 1).reshape(-1, *weights.grid.shape), spread.reshape(weights.grid.shape)


def view_marginal(weights: BlendingWeights) -> Float[Tensor, " source"]:
    """Return the share of the lifted view that each source makes up; sums to 1, or to 0 if uncovered."""
    share = weights.weight * weights.coverage[:, None]
    total = torch.zeros(len(weights.source_ids), dtype=torch.float64)
    total.index_add_(0, weights.source.flatten().long(), share.flatten().double())
    covered = weights.coverage.double().sum()
    return (total / torch.where(covered > 0, covered, 1.0)).float()


def _bags(
    weights: BlendingWeights, cells: slice, grids: Sequence[FeatureGrid]
) -> tuple[Int[Tensor, "cell corner"], Float[Tensor, "cell corner"]]:
    """Return the table rows that make up each cell, and their weights."""
    source, uv, weight = weights.source[cells], weights.uv[cells], weights.weight[cells]
    first, *others = dict.fromkeys(grids)
    rows, shares = corners_apart(uv, *first.lattice)
    for other in others:
        is_other = torch.tensor([grid == other for grid in grids])[source]
        for into, found in zip((rows, shares), corners_apart(uv[is_other], *other.lattice), strict=True):
            for corner, one in zip(into, found, strict=True):
                corner[is_other] = one
    # A table of 2³¹ cells would not fit anywhere, so rows have 32 bits.
    offset = torch.tensor([0, *(grid.cell_count for grid in grids[:-1])]).cumsum(0).int()[source]
    return torch.cat([row.add_(offset) for row in rows], 1), torch.cat([share.mul_(weight) for share in shares], 1)


def _fill(table: Float[Tensor, "source_cell channel"], sources: Sequence[FeatureMap], channels: slice) -> None:
    """Copy a block of channels of all sources into the table."""
    start = 0
    for source in sources:
        stop = start + source.grid.cell_count
        table[start:stop] = source.values[channels].flatten(1).T
        start = stop
    # A sum carries NaN and infinity in one pass without memory; only a suspicious one is looked at in detail.
    if not math.isfinite(float(table.sum())) and not bool(torch.isfinite(table).all()):
        raise NonFiniteError("Source features must be finite to be blended; got NaN or infinity from an encode.")


def _lifted(
    weights: BlendingWeights,
    values: Float[Tensor, "channel cell"],
    of_sources: Sequence[Float[Tensor, "token channel"] | None],
) -> LiftedFeatures:
    """Put sums on their grid, NaN where nothing is covered, with the blended tokens of the sources."""
    shape = weights.grid.shape
    values.index_fill_(1, torch.nonzero(weights.coverage <= 0)[:, 0], torch.nan)
    features = FeatureMap(values.reshape(-1, *shape), weights.grid, _blend_tokens(weights, of_sources))
    return LiftedFeatures(features, weights.coverage.reshape(shape), weights.z_depth.reshape(shape))


def _blend_tokens(
    weights: BlendingWeights, of_sources: Sequence[Float[Tensor, "token channel"] | None]
) -> Float[Tensor, "token channel"] | None:
    tokens = [one for one in of_sources if one is not None]
    if not tokens:
        return None
    if len(tokens) != len(of_sources) or len({tuple(token.shape) for token in tokens}) > 1:
        raise ShapeError("Either all sources of one cut have global tokens of one shape, or none has.")
    blended = torch.einsum("s,stc->tc", view_marginal(weights), torch.stack(tokens).float())
    return blended if bool((weights.coverage > 0).any()) else torch.full_like(blended, torch.nan)
