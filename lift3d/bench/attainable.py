"""What linear combinations of raw source features can reach, whatever rule chooses their weights.

A rule here may look at the truth, the operator's own features of the target view: it is a bound, not a lifter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.bench.least_squares import affine_weights, convex_weights, error_gram
from lift3d.domain.features import FeatureMap
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.sampling import sample

Solver = Callable[[Float[Tensor, "cell tap tap"], Bool[Tensor, "cell tap"]], Float[Tensor, "cell tap"]]
# An affine fit with fewer equations than twice its unknowns says nothing: with as many it is exact for any truth.
EQUATIONS_PER_TAP = 2
# Halves of fewer channels than this are no test of each other.
FEWEST_CHANNELS_TO_HALVE = 16


@dataclass(frozen=True, slots=True, eq=False)
class CellErrors:
    """How far predicted features are from the true ones, per cell; NaN where undefined.

    Attributes:
        cosine_distance: 1 − cos; NaN where the truth is 0, 1 where only the prediction is.
        squared_error: Summed over channels.
    """

    cosine_distance: Float[Tensor, " cell"]
    squared_error: Float[Tensor, " cell"]

    @classmethod
    def of(cls, predicted: Float[Tensor, "cell channel"], truth: Float[Tensor, "cell channel"]) -> "CellErrors":
        """Compare predicted with true features, in float64."""
        x, y = predicted.double(), truth.double()
        scale = x.norm(dim=-1) * y.norm(dim=-1)
        cosine = torch.where(scale > 0, (x * y).sum(-1) / scale, torch.where(scale == 0, 0.0, torch.nan))
        cosine = torch.where(y.norm(dim=-1) == 0, torch.nan, cosine)
        return cls(1 - cosine, (x - y).square().sum(-1))

    def at(self, is_wanted: Bool[Tensor, " cell"]) -> "CellErrors":
        """Return the errors of some cells."""
        return CellErrors(self.cosine_distance[is_wanted], self.squared_error[is_wanted])


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Places in the sources that some cells may be combined from.

    Attributes:
        source: Index of the source view.
        uv: Where it is read, pixels of the source image; arbitrary but finite where not a tap.
        is_tap: False for padding.
    """

    source: Int[Tensor, "cell tap"]
    uv: Float[Tensor, "cell tap 2"]
    is_tap: Bool[Tensor, "cell tap"]

    @classmethod
    def of(cls, weights: BlendingWeights, cells: Int[Tensor, " pick"]) -> "Candidates":
        """Return the taps of the picked cells, without the columns in which all of them are padding."""
        is_tap = weights.weight[cells] != 0
        width = max(1, int(is_tap.any(0).nonzero().max()) + 1) if bool(is_tap.any()) else 1
        return cls(weights.source[cells, :width], weights.uv[cells, :width], is_tap[:, :width])

    def joined(self, other: "Candidates") -> "Candidates":
        """Return these and the other's candidates of the same cells."""
        return Candidates(
            torch.cat([self.source, other.source], dim=1),
            torch.cat([self.uv, other.uv], dim=1),
            torch.cat([self.is_tap, other.is_tap], dim=1),
        )

    def features(self, maps: Sequence[FeatureMap]) -> Float[Tensor, "pick tap channel"]:
        """Read the raw features there; padding is 0."""
        values = torch.zeros(*self.source.shape, maps[0].channel_count)
        for index, one in enumerate(maps):
            is_here = self.is_tap & (self.source == index)
            if bool(is_here.any()):
                strides, origin = (one.grid.stride_u, one.grid.stride_v), (one.grid.origin_u, one.grid.origin_v)
                values[is_here] = sample(one.values, self.uv[is_here], strides, origin).T
        return values


def attainable(
    weights: BlendingWeights,
    maps: Sequence[FeatureMap],
    truth: FeatureMap,
    cells: Int[Tensor, " pick"] | None = None,
) -> dict[str, CellErrors]:
    """Return the errors of the weights themselves and of the best other ones on the same taps.

    Args:
        weights: A lifter's, before any correction; their taps are what the other rules choose from.
        maps: The sources' features of one cut, in the order of ``weights.source_ids``.
        truth: The operator's own features of the true target view on the grid of the weights.
        cells: Cells to look at, row-major; all covered ones if None.

    Returns:
        Per rule, one entry per cell: ``blended`` (the weights as they are), ``nearest_tap`` (the best single tap),
        ``convex`` (the best nonnegative weights that sum to 1) and, where channels are at least twice the taps,
        ``affine`` (the best of any sign that sum to 1). ``convex`` is the bound of every rule without a residual.
    """
    if cells is None:
        cells = torch.nonzero(weights.coverage > 0)[:, 0]
    wanted = true_features(truth, cells)
    candidates = Candidates.of(weights, cells)
    values = candidates.features(maps)
    predicted = {"blended": combine(weights.weight[cells, : values.shape[1]], values)}
    predicted |= best_rules(values, candidates.is_tap, wanted)
    return {rule: CellErrors.of(one, wanted) for rule, one in predicted.items()}


def true_features(truth: FeatureMap, cells: Int[Tensor, " pick"]) -> Float[Tensor, "pick channel"]:
    """Return the features of some cells, row-major."""
    return truth.values.flatten(1)[:, cells].T


def combine(
    weight: Float[Tensor, "cell tap"], values: Float[Tensor, "cell tap channel"]
) -> Float[Tensor, "cell channel"]:
    """Return the weighted sums."""
    return (weight[:, None] @ values)[:, 0]


def best_rules(
    values: Float[Tensor, "cell tap channel"], is_tap: Bool[Tensor, "cell tap"], truth: Float[Tensor, "cell channel"]
) -> dict[str, Float[Tensor, "cell channel"]]:
    """Return what the best single tap, the best convex and the best affine weights give.

    The affine rule is left out where it would be exact for any truth.
    """
    gram = error_gram(values, truth, is_tap)
    distance = torch.where(is_tap, gram.diagonal(dim1=-2, dim2=-1), torch.inf)
    nearest = values[torch.arange(len(values)), distance.argmin(1)]
    predicted = {"nearest_tap": nearest, "convex": combine(convex_weights(gram, is_tap), values)}
    if may_fit_affine(values):
        predicted["affine"] = combine(affine_weights(gram, is_tap), values)
    return predicted


def may_fit_affine(values: Float[Tensor, "cell tap channel"]) -> bool:
    """Whether there are channels enough for an affine fit to mean something."""
    return values.shape[2] >= EQUATIONS_PER_TAP * values.shape[1]


def across_channels(
    values: Float[Tensor, "cell tap channel"],
    is_tap: Bool[Tensor, "cell tap"],
    truth: Float[Tensor, "cell channel"],
    solve: Solver,
) -> Float[Tensor, "cell channel"] | None:
    """Return every channel as weights predict it that were fitted to the other half of the channels alone.

    What a fit gains by mere freedom does not carry over to channels it has not seen, so this is the bound without
    overfitting. None where there are too few channels to halve.
    """
    channel_count = truth.shape[1]
    if channel_count < FEWEST_CHANNELS_TO_HALVE:
        return None
    shuffled = torch.randperm(channel_count, generator=torch.Generator().manual_seed(channel_count))
    halves = shuffled[: channel_count // 2], shuffled[channel_count // 2 :]
    predicted = torch.empty_like(truth)
    for seen, unseen in (halves, halves[::-1]):
        weight = solve(error_gram(values[..., seen], truth[:, seen], is_tap), is_tap)
        predicted[:, unseen] = combine(weight, values[..., unseen])
    return predicted
