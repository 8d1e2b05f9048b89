"""The rules of the oracle: every way to predict a target's features that it compares, for one view and operator."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.bench.attainable import (
    Candidates,
    across_channels,
    best_rules,
    combine,
    may_fit_affine,
    true_features,
)
from lift3d.bench.least_squares import affine_weights, convex_weights, error_gram
from lift3d.bench.oracle_causes import (
    AROUND,
    CENTRE,
    WINDOW,
    at_own_depth,
    at_true_depth,
    best_views,
    neighbours,
    picked_places,
    source_shares,
)
from lift3d.domain.features import FeatureMap
from lift3d.domain.proposals import RayProposal
from lift3d.domain.weights import BlendingWeights
from lift3d.lifters.protocol import Lifter

Predicted = dict[str, Float[Tensor, "pick channel"]]

# In the order of the tables.
RULES = {
    "blended": "the lifter's own weights, corrected if it corrects",
    "nearest_tap": "the best single tap of each cell",
    "views_around": "best convex weights over the sources, fitted to the eight cells around and not to the cell itself",
    "views_window": "best convex weights over the sources, the same for 3×3 cells",
    "views": "best convex weights over the sources, each read where the lifter reads it",
    "convex_across": "as convex, but each half of the channels by weights fitted to the other half",
    "convex": "best nonnegative weights that sum to 1 over the taps: the bound of rules without a residual",
    "affine_across": "as affine, but each half of the channels by weights fitted to the other half",
    "affine": "best weights of any sign that sum to 1, where channels are at least twice the taps",
    "convex_neighbours_across": "as convex_neighbours, by halves of the channels",
    "convex_neighbours": "convex over the taps and the cells around the eight heaviest",
    "blended_true": "the lifter's shares of the sources, read at the true depth",
    "views_window_true": "as views_window, read at the true depth",
    "views_true": "as views, read at the true depth",
    "convex_true_across": "as convex_true, by halves of the channels",
    "convex_true": "convex over the taps and every source at the true depth",
    "reencoded": "the 2D model run on the picture that the lifter renders: no linear combination of source features",
}


def needs_depth(rule: str) -> bool:
    """Whether a rule reads the target's own depth."""
    return "_true" in rule


@dataclass(frozen=True, slots=True, eq=False)
class TargetView:
    """One target as one operator sees it.

    Attributes:
        lifter: Gives the corrector.
        proposal: Of the target.
        maps: The sources' features of one cut, in the proposal's order.
        truth: The operator's own features of the true target view.
        places: Where the sources show the true surface, for all cells; None without depth.
        is_valid: Cells with a measurement.
        cells: The cells to predict.
    """

    lifter: Lifter
    proposal: RayProposal
    maps: Sequence[FeatureMap]
    truth: FeatureMap
    places: Candidates | None
    is_valid: Bool[Tensor, " cell"]
    cells: Int[Tensor, " pick"]

    @property
    def wanted(self) -> Float[Tensor, "pick channel"]:
        """The true features."""
        return true_features(self.truth, self.cells)

    @property
    def is_known(self) -> Bool[Tensor, " pick"]:
        """Whether the true depth is known and some source shows the surface there."""
        if self.places is None:
            return torch.zeros(len(self.cells), dtype=torch.bool)
        return self.places.is_tap[self.cells].any(-1)

    def predictions(self, weights: BlendingWeights, *, with_neighbours: bool) -> Predicted:
        """Return what every rule but ``reencoded`` makes of the taps.

        Args:
            weights: Taps, before any correction.
            with_neighbours: Whether to try the cells around the taps, too, which takes longest.
        """
        taps = Candidates.of(weights, self.cells)
        values, wanted = taps.features(self.maps), self.wanted
        found = {"blended": self._blended(weights), **best_rules(values, taps.is_tap, wanted)}
        halved = {"convex_across": across_channels(values, taps.is_tap, wanted, convex_weights)}
        if may_fit_affine(values[..., ::2]):
            halved["affine_across"] = across_channels(values, taps.is_tap, wanted, affine_weights)
        found |= {rule: one for rule, one in halved.items() if one is not None}
        own = at_own_depth(weights, self.maps)
        for rule, steps in (("views", CENTRE), ("views_window", WINDOW), ("views_around", AROUND)):
            found[rule] = best_views(own, self.truth, self.is_valid, self.cells, steps)
        if with_neighbours:
            found |= self._with(taps, neighbours(taps, self.maps), "neighbours")
        if self.places is not None:
            found |= self._at_true_depth(weights, taps, self.places)
        return found

    def _blended(self, weights: BlendingWeights) -> Float[Tensor, "pick channel"]:
        corrected = self.lifter.correct(self.proposal, weights, self.maps)
        taps = Candidates.of(corrected, self.cells)
        return combine(corrected.weight[self.cells, : taps.source.shape[1]], taps.features(self.maps))

    def _with(self, taps: Candidates, others: Candidates, name: str) -> Predicted:
        """Return the best convex weights over more candidates than the taps."""
        joined = taps.joined(others)
        values = joined.features(self.maps)
        weight = convex_weights(error_gram(values, self.wanted, joined.is_tap), joined.is_tap)
        halved = across_channels(values, joined.is_tap, self.wanted, convex_weights)
        across = {} if halved is None else {f"convex_{name}_across": halved}
        return {f"convex_{name}": combine(weight, values), **across}

    def _at_true_depth(self, weights: BlendingWeights, taps: Candidates, places: Candidates) -> Predicted:
        here = picked_places(places, self.cells)
        # A source that the lifter ignores counts a little, so that a cell it misjudged altogether has an answer;
        # where no source shows the true surface there is none, NaN.
        share = (source_shares(weights, self.cells).sum(-1) + 1e-6) * here.is_tap
        read = at_true_depth(places, self.maps)
        return {
            "blended_true": combine(share / share.sum(-1, keepdim=True), here.features(self.maps)),
            "views_true": best_views(read, self.truth, self.is_valid, self.cells, CENTRE),
            "views_window_true": best_views(read, self.truth, self.is_valid, self.cells, WINDOW),
            **self._with(taps, here, "true"),
        }


def truncated(weights: BlendingWeights, tap_count: int) -> BlendingWeights:
    """Return the heaviest taps alone, as ``weights_at`` gives them for that count."""
    weight = weights.weight[:, :tap_count]
    total = weight.sum(-1, keepdim=True)
    return replace(
        weights,
        source=weights.source[:, :tap_count],
        uv=weights.uv[:, :tap_count],
        weight=weight / torch.where(total > 0, total, 1.0),
        log_scale_ratio=weights.log_scale_ratio[:, :tap_count],
    )
