"""Consistency of predictions between two views: the warp error, and the floor of the warp itself beside it.

Letters: a and b are the views of a pair; S is a prediction. Short range is a baseline angle under 15°, long
range 15° to 45°: near and distant frames, as video consistency has them, told apart by angle instead of time.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lift3d.domain.lifted import PredictionKind
from lift3d.domain.scores import Score
from lift3d.geometry.projection import is_inside
from lift3d.metrics.correspondence import LONG_RANGE_DEG, SHORT_RANGE_DEG
from lift3d.metrics.counting import (
    counted_cells,
    embedding_grid,
    nearest_flags,
    nearest_values,
    pixel_grid,
    read_bilinear,
    reads_only_counted,
)
from lift3d.metrics.figures import pair_metric, undefined
from lift3d.metrics.protocol import Matches, ViewEvidence

Readings = tuple[Shaped[Tensor, "channel point"], Bool[Tensor, "point"]]


@pair_metric("lower", SHORT_RANGE_DEG)
def warp_error_short(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """Difference between S_a(uv_a) and S_b(uv_b) at baseline angles under 15°.

    RMSE of images over points and channels, share of unequal labels, mean absolute difference of scalars and
    masks, mean 1 − cosine of embeddings.
    """
    return _error(a, b, matches)


@pair_metric("lower", LONG_RANGE_DEG)
def warp_error_long(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """As warp_error_short, at long range: baseline angles from 15° to 45°."""
    return _error(a, b, matches)


@pair_metric("neither", SHORT_RANGE_DEG)
def warp_floor_short(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """Error of the warp alone, between S_b(uv_b) and S_b(uv_b_floor), at baseline angles under 15°.

    Measured as warp_error_short is: what comes of the scoring geometry and not of the prediction.
    """
    return _floor(a, b, matches)


@pair_metric("neither", LONG_RANGE_DEG)
def warp_floor_long(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """As warp_floor_short, at long range."""
    return _floor(a, b, matches)


def _error(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    first, first_counts = read_prediction(a, matches.uv_a)
    second, second_counts = read_prediction(b, matches.uv_b)
    counts = first_counts & second_counts
    return _difference(a.lifted.prediction.kind, first[:, counts], second[:, counts])


def _floor(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    size = b.frame.camera.size
    is_on_image = is_inside(matches.uv_b_floor, size.height, size.width)
    at_floor = torch.where(is_on_image[:, None], matches.uv_b_floor, matches.uv_b)
    _, first_counts = read_prediction(a, matches.uv_a)
    second, second_counts = read_prediction(b, matches.uv_b)
    again, again_counts = read_prediction(b, at_floor)
    counts = first_counts & second_counts & again_counts & is_on_image
    return _difference(b.lifted.prediction.kind, second[:, counts], again[:, counts])


def read_prediction(evidence: ViewEvidence, uv: Float[Tensor, "point 2"]) -> Readings:
    """Read the lifted prediction at pixels, and say where what was read counts.

    Labels are read at the nearest pixel, embeddings bilinearly on their feature grid, the rest bilinearly.
    """
    prediction = evidence.lifted.prediction
    if prediction.kind == "labels":
        return nearest_values(prediction.values, uv)[None], nearest_flags(evidence.counts, uv)
    if prediction.kind == "embedding":
        grid = embedding_grid(evidence)
        counts = counted_cells(evidence.counts, grid)
    else:
        grid, counts = pixel_grid(evidence.counts), evidence.counts
    values = prediction.values if prediction.values.ndim == 3 else prediction.values[None]
    return read_bilinear(values, uv, grid), reads_only_counted(uv, counts, grid)


def _difference(kind: PredictionKind, a: Shaped[Tensor, "channel point"], b: Shaped[Tensor, "channel point"]) -> Score:
    if a.shape[1] == 0:
        return undefined("no-points", "no matched point counts in both views")
    loss = float(_LOSSES[kind](a, b).mean())
    return Score(loss**0.5 if kind == "image" else loss, float(a.shape[1]))


def _cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    return 1 - torch.nn.functional.cosine_similarity(a, b, dim=0)


_LOSSES: dict[PredictionKind, Callable[[Tensor, Tensor], Tensor]] = {
    "image": lambda a, b: (a - b).square(),
    "labels": lambda a, b: (a != b).double(),
    "scalar": lambda a, b: (a - b).abs(),
    "masks": lambda a, b: (a - b).abs(),
    "embedding": _cosine_distance,
}
