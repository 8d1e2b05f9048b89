"""How far cells look like what strokes lie on, and where such scores are cut; nothing here knows of files or views."""

import torch
from jaxtyping import Float
from torch import Tensor

# Distances below this are one to a threshold: what is left of rounding features of length 1 to float16.
_ROUNDING = 1e-3


def object_scores(
    cells: Float[Tensor, "cell channel"],
    positive: Float[Tensor, "entry channel"],
    negative: Float[Tensor, "other channel"] | None,
) -> Float[Tensor, " cell"]:
    """Return how much nearer cells are to the nearest positive entry (at d₊) than to the nearest negative one (at d₋).

    It is (d₋ − d₊) / (d₋ + d₊), in [−1, 1]; without negative entries it is −d₊. Cells are features at length 1.
    """
    to_positive = _nearest(cells, positive)
    if negative is None:
        return -to_positive
    to_negative = _nearest(cells, negative)
    # A cell at no distance from either is halfway.
    return (to_negative - to_positive) / (to_negative + to_positive).clamp(min=_ROUNDING)


def _nearest(cells: Float[Tensor, "cell channel"], entries: Float[Tensor, "entry channel"]) -> Float[Tensor, " cell"]:
    """Return the distance to the nearest entry; by differences, as by products a cell on an entry is not at 0."""
    return torch.cdist(cells, entries, compute_mode="donot_use_mm_for_euclid_dist").amin(1)


def separating(positive: Float[Tensor, " cell"], negative: Float[Tensor, " other"]) -> float:
    """Return the threshold that tells most of two groups of scores apart, in the middle of the widest gap that does.

    The share of positives at or above it and that of negatives below it are summed (Youden's J plus 1).

    Source:
        Youden, Index for rating diagnostic tests, Cancer 1950.
    """
    scores = torch.unique(torch.cat([positive, negative]))
    if len(scores) < 2:
        return float(scores[0])
    middles = (scores[1:] + scores[:-1]) / 2
    gaps = scores[1:] - scores[:-1]
    told = (positive[:, None] >= middles).double().mean(0) + (negative[:, None] < middles).double().mean(0)
    best = told >= told.max()
    return float(middles[best][gaps[best].argmax()])


def far_from_most(scores: Float[Tensor, " cell"]) -> float:
    """Return the threshold of scores −d on a view without negative strokes: Otsu's, of the logarithms of d.

    Objects are a small part of most views, and their distances a small part of the range: ratios tell them apart. The
    cut is exact; a histogram's would lie at the edge of a gap. The threshold is in the middle of the gap in distances:
    of scores that are interpolated from an object's cell to one beside it, half is the object's.

    Source:
        Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE Trans. SMC 1979, eq. 18.
    """
    distances = (-scores.double()).clamp(min=_ROUNDING).sort().values
    ordered = distances.log()
    if ordered[0] == ordered[-1]:
        return float(scores.min())
    below = torch.arange(1, len(ordered), dtype=torch.float64)
    sums = ordered.cumsum(0)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (len(ordered) - below)
    between = below * (len(ordered) - below) * (means[1] - means[0]).square()
    cut = int(between.argmax())
    return -float(distances[cut] + distances[cut + 1]) / 2
