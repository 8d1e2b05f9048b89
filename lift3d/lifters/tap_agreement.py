"""What the features of an operator at a cell's taps say of one another, in scalars: stage II's inputs.

Letters: g is the feature at a tap, reduced to at most ``PROJECTED_CHANNELS`` channels; the consensus is the mean of
the taps by weight. Scalars do not change when channels are permuted, rotated or scaled together (of more than
``PROJECTED_CHANNELS`` channels: hardly).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.features import FeatureMap
from lift3d.domain.proposals import RayProposal
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import bilinear_corners, sample
from lift3d.lifters.networks.corrector import STATE_CHANNELS
from lift3d.lifters.weights import ReadablePixels

# Distances survive a random projection to this many channels within about 1/sqrt(32) (Johnson & Lindenstrauss, 1984).
PROJECTED_CHANNELS = 64
# Taps of the nearest views that the residual may use: what they saw is most like what the target sees.
NEAR_TAPS = 8
# Taps that are read beside the heaviest ones, so that a residual can undo the blur of bilinear reading.
NEIGHBOUR_OFFSETS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
SHARPENED_TAPS = 2
# Sides in cells of the windows that a source's agreement is averaged over; the whole view is one more.
CONTEXT_WIDTHS = (3, 9)
_TINY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class TapSet:
    """Taps that stage II may give weight to; those that are only within the residual's reach have weight 0.

    ``is_tap`` is false of padding and of what cannot be read, ``is_beside`` true one source cell beside another; the
    first ``weighted_count`` have weight, and the nearest views' follow. ``view_weight`` is how much a tap's source
    counts where near views are preferred, as colours prefer them.
    """

    weights: BlendingWeights
    is_tap: Bool[Tensor, "cell tap"]
    is_beside: Bool[Tensor, "cell tap"]
    weighted_count: int
    view_weight: Float[Tensor, "cell tap"]


def within_reach(
    agreeing: BlendingWeights, near: BlendingWeights, sources: Sequence[FeatureMap], readable: ReadablePixels
) -> TapSet:
    """Add to the weighted taps, with weight 0, the nearest views' and ones that lie one source cell beside those.

    ``agreeing`` are taps by visibility, ``near`` those that colours weigh, the heaviest first.
    """
    heavy, nearest = slice(0, SHARPENED_TAPS), slice(0, NEAR_TAPS)
    strides = torch.tensor([[one.grid.stride_u, one.grid.stride_v] for one in sources], dtype=torch.float32)
    offsets = torch.tensor(NEIGHBOUR_OFFSETS) * strides[near.source[:, heavy]][:, :, None]
    beside_uv = (near.uv[:, heavy, None] + offsets).flatten(1, 2)
    beside_source, beside_scale, is_heavy = (
        one[:, heavy].repeat_interleave(len(NEIGHBOUR_OFFSETS), 1)
        for one in (near.source, near.log_scale_ratio, near.weight > 0)
    )
    source = torch.cat([agreeing.source, near.source[:, nearest], beside_source], 1)
    log_scale = torch.cat([agreeing.log_scale_ratio, near.log_scale_ratio[:, nearest], beside_scale], 1)
    weighted_count, count = agreeing.source.shape[1], source.shape[1]
    weight = near.weight.new_zeros(len(source), count)
    weight[:, :weighted_count] = agreeing.weight
    is_beside = torch.zeros(len(source), count, dtype=torch.bool)
    is_beside[:, count - beside_source.shape[1] :] = True
    is_tap = torch.cat(
        [
            agreeing.weight > 0,
            near.weight[:, nearest] > 0,
            is_heavy & readable.at(beside_uv[..., 0], beside_uv[..., 1], beside_source),
        ],
        1,
    )
    by_source = weight.new_zeros(len(source), len(sources)).scatter_add_(1, near.source.long(), near.weight)
    widened = replace(
        agreeing,
        source=source,
        uv=torch.cat([agreeing.uv, near.uv[:, nearest], beside_uv], 1),
        weight=weight,
        log_scale_ratio=log_scale,
    )
    return TapSet(widened, is_tap, is_beside, weighted_count, by_source.gather(1, source.long()))


def projected(sources: Sequence[FeatureMap]) -> list[Float[Tensor, "channel row col"]]:
    """Return maps with no more than ``PROJECTED_CHANNELS`` channels: their own, or as many random mixtures of them."""
    channels = sources[0].channel_count
    if channels <= PROJECTED_CHANNELS:
        return [one.values for one in sources]
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(PROJECTED_CHANNELS, channels, generator=generator, device="cpu") / channels**0.5
    mixing = mixing.to(sources[0].values.device)
    return [torch.einsum("dc,crk->drk", mixing, one.values) for one in sources]


def features_at(
    weights: BlendingWeights, maps: Sequence[Float[Tensor, "channel row col"]], sources: Sequence[FeatureMap]
) -> Float[Tensor, "channel cell tap"]:
    """Read maps at the taps."""
    found = maps[0].new_zeros(maps[0].shape[0], *weights.source.shape)
    for index, (values, one) in enumerate(zip(maps, sources, strict=True)):
        cell, tap = (weights.source == index).nonzero(as_tuple=True)
        found[:, cell, tap] = sample(values, weights.uv[cell, tap], *one.grid.placement)
    return found


def gather(
    taps: TapSet, sources: Sequence[FeatureMap], guide: FeatureMap
) -> tuple[Float[Tensor, "cell tap channel"], Float[Tensor, "cell channel"]]:
    """Read the reduced features of the taps, and of the guide at the same cells."""
    weights = taps.weights
    reduced = projected([*sources, guide])
    # Channels last: whatever compares taps is then one batched product.
    at_taps = features_at(weights, reduced[: len(sources)], sources).permute(1, 2, 0).contiguous()
    # Centred and scaled by what the taps read, so that nothing depends on pixels that may not vote.
    share = weights.weight / weights.weight.sum().clamp(min=_TINY)
    mean = torch.einsum("nt,ntc->c", share, at_taps)
    at_taps -= mean
    scale = (share * at_taps.square().mean(-1)).sum().sqrt().clamp(min=_TINY)
    at_taps /= scale
    read = sample(reduced[-1], cell_centers(*weights.grid.lattice).reshape(-1, 2), *guide.grid.placement)
    return at_taps, (read.T - mean) / scale


def compare(
    taps: TapSet,
    g: Float[Tensor, "cell tap channel"],
    of_guide: Float[Tensor, "cell channel"],
    sources: Sequence[FeatureMap],
) -> Float[Tensor, "cell tap input"]:
    """Compare the features of a cell's taps with their consensus, with the nearest view's and with the guide."""
    weights, weight = taps.weights, taps.weights.weight
    # 1. All comparisons are inner products of the taps with three vectors per cell, and lengths.
    consensus = (weight[:, None] @ g)[:, 0]
    nearest = torch.where(taps.is_tap[:, taps.weighted_count, None], g[:, taps.weighted_count], consensus)
    others = torch.stack([consensus, of_guide, nearest], dim=-1)
    channels = g.shape[2]
    product = (g @ others) / channels
    square, other_square = g.square().mean(-1), others.square().mean(1)
    lengths = (square[..., None] * other_square[:, None]).sqrt().clamp(min=_TINY)
    cosine, toward, to_nearest = (product / lengths).unbind(-1)
    distance = (square[..., None] - 2 * product + other_square[:, None]).clamp(min=0).sqrt()
    deviation, error, _ = distance.unbind(-1)
    spread = (deviation * weight).sum(-1, keepdim=True)
    gap = (others[..., 0] - others[..., 1]).square().mean(1, keepdim=True).sqrt()
    norm, consensus_norm = square.sqrt(), other_square[:, :1].sqrt()
    # 2. In units that do not depend on the operator.
    relative, relative_error = (one.add(0.02).log() - (spread + 0.02).log() for one in (deviation, error))
    blur_u, blur_v = (4 * _bilinear_blur(weights, sources)).unbind(-1)
    inputs = torch.stack(
        [
            (weight + 1e-3).log() / 4,
            (taps.view_weight + 1e-3).log() / 4,
            to_nearest,
            deviation,
            (norm + 0.02).log() - (consensus_norm + 0.02).log(),
            weights.log_scale_ratio,
            blur_u,
            blur_v,
            (weight[:, None] * (weights.source[:, :, None] == weights.source[:, None, :])).sum(-1),
            weight.square().sum(-1, keepdim=True).expand_as(weight),
            taps.is_beside.float(),
            spread.expand_as(weight),
            gap.expand_as(weight),
            (gap.add(0.02).log() - spread.add(0.02).log()).expand_as(weight),
            cosine,
            relative,
            toward,
            relative_error,
            *_around(weights, len(sources), torch.stack([cosine, relative, toward, relative_error])),
        ],
        dim=-1,
    )
    return inputs * taps.is_tap[..., None]


def _around(
    weights: BlendingWeights, source_count: int, values: Float[Tensor, "value cell tap"]
) -> list[Float[Tensor, "cell tap"]]:
    """Return how each tap's source does in the cells around: which views suit varies slowly over the image.

    Means are by weight, over square windows; a source without weight in a window gives 0.
    """
    grid, weight = weights.grid, weights.weight
    index = weights.source.long()
    mass = weight.new_zeros(grid.cell_count, source_count).scatter_add_(1, index, weight)
    sums = [weight.new_zeros(grid.cell_count, source_count).scatter_add_(1, index, weight * one) for one in values]
    maps = torch.stack([mass, *sums]).reshape(len(values) + 1, grid.rows, grid.cols, source_count).movedim(-1, 1)
    found = []
    for width in CONTEXT_WIDTHS:
        pooled = F.avg_pool2d(maps, width, stride=1, padding=width // 2, count_include_pad=False)
        means = pooled[1:] / pooled[0].clamp(min=1e-3)
        found += [one.reshape(source_count, -1).T.gather(1, index) for one in means]
    of_view = maps.mean((2, 3))
    return found + [one[index] for one in of_view[1:] / of_view[0].clamp(min=1e-6)]


def state_at(proposal: RayProposal, weights: BlendingWeights) -> Float[Tensor, "cell state"]:
    """Read the guide state at an operator's cells; zeros where the proposal has none."""
    if proposal.state is None:
        return torch.zeros(weights.grid.cell_count, STATE_CHANNELS)
    centers = cell_centers(*weights.grid.lattice).reshape(-1, 2)
    corner, share = bilinear_corners(centers, *proposal.grid.lattice)
    return (proposal.state[corner] * share[..., None]).sum(1)


def _bilinear_blur(weights: BlendingWeights, sources: Sequence[FeatureMap]) -> Float[Tensor, "cell tap 2"]:
    """Return how much bilinear reading blurs along u and v: f·(1 − f) of the fraction f between cell centres."""
    strides = torch.tensor([[one.grid.stride_u, one.grid.stride_v] for one in sources])
    origins = torch.tensor([[one.grid.origin_u, one.grid.origin_v] for one in sources])
    at = (weights.uv - origins[weights.source]) / strides[weights.source] - 0.5
    fraction = at - at.floor()
    return fraction * (1 - fraction)
