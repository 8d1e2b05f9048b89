"""Consistency of predictions between two views: the warp error, and the floor of the warp itself beside it.

Letters: a and b are the views of a pair; S is a prediction. Short range is a baseline angle under 15°, long
range 15° to 45°: near and distant frames, as video consistency has them, told apart by angle instead of time.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.lifted import PredictionKind
from lift3d.domain.scores import Score
from lift3d.geometry.projection import is_inside
from lift3d.metrics.counting import Reading
from lift3d.metrics.figures import pair_metrics, undefined
from lift3d.metrics.protocol import Matches, ViewEvidence


def warp_error(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """Difference between S_a(uv_a) and S_b(uv_b).

    RMSE of images over points and channels, share of unequal labels, mean absolute difference of scalars and
    masks, mean 1 − cosine of embeddings.
    """
    first, second = Reading.of(a, matches.uv_a), Reading.of(b, matches.uv_b)
    return _difference(a.lifted.prediction.kind, first, second, first.counts & second.counts)


def warp_floor(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """Error of the warp alone, between S_b(uv_b) and S_b(uv_b_floor), measured as warp_error is.

    What comes of the scoring geometry and not of the prediction.
    """
    size = b.frame.camera.size
    is_on_image = is_inside(matches.uv_b_floor, size.height, size.width)
    at_floor = torch.where(is_on_image[:, None], matches.uv_b_floor, matches.uv_b)
    first, second, again = Reading.of(a, matches.uv_a), Reading.of(b, matches.uv_b), Reading.of(b, at_floor)
    counts = first.counts & second.counts & again.counts & is_on_image
    return _difference(b.lifted.prediction.kind, second, again, counts)


def _difference(kind: PredictionKind, one: Reading, other: Reading, counts: Bool[Tensor, " point"]) -> Score:
    point_count = int(counts.sum())
    if point_count == 0:
        return undefined("no-points", "no matched point counts in both views")
    loss = float(_LOSSES[kind](one.at(counts), other.at(counts)).mean())
    return Score(loss**0.5 if kind == "image" else loss, float(point_count))


def _cosine_distance(a: Float[Tensor, "point channel"], b: Float[Tensor, "point channel"]) -> Float[Tensor, " point"]:
    """Return 1 − cosine; a vector of norm 0 is at distance 1 of everything."""
    scale = (a.square().sum(1) * b.square().sum(1)).sqrt()
    return 1 - torch.where(scale > 0, (a * b).sum(1) / scale, 0.0)


_LOSSES: dict[PredictionKind, Callable[[Tensor, Tensor], Tensor]] = {
    "image": lambda a, b: (a - b).square(),
    "labels": lambda a, b: (a != b).double(),
    "scalar": lambda a, b: (a - b).abs(),
    "masks": lambda a, b: (a - b).abs(),
    "embedding": _cosine_distance,
}

warp_error_short, warp_error_long = pair_metrics("lower", warp_error)
warp_floor_short, warp_floor_long = pair_metrics("neither", warp_floor)
