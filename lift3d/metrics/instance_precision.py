"""Average precision of masks without classes, by the protocol of ScanNet's benchmark of 3D instances.

Letters: the curve is of precision over recall as predictions are taken in by falling confidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

# Those of the benchmark's script, which ends before 0.95.
OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(9))
AP50_AT, AP25_AT = 0.5, 0.25
# Instances and predictions of fewer points are left out, as in the benchmark.
FEWEST_POINTS = 100


@dataclass(frozen=True, slots=True)
class InstancePrecision:
    """Average precision: mean over OVERLAPS, at IoU 0.5, at IoU 0.25; NaN where there is no instance to be found."""

    ap: float
    ap50: float
    ap25: float
    instances: int
    predictions: int


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """Predictions and instances: points they share, how many each has, and of predictions those that are ignored."""

    shared: Float[ndarray, "prediction instance"]
    iou: Float[ndarray, "prediction instance"]
    ignored: Float[ndarray, " prediction"]
    confidence: Float[ndarray, " prediction"]


def average_precision(
    predictions: Sequence[Bool[ndarray, " point"]],
    confidence: Sequence[float],
    true: Int[ndarray, " point"],
    fewest: int = FEWEST_POINTS,
) -> InstancePrecision:
    """Return AP, AP50 and AP25 of predicted masks of points, which may overlap.

    Args:
        predictions: Masks of points.
        confidence: Of each.
        true: The instance of each point; negative where there is none or nothing is known, which counts neither for
            nor against a prediction that lies there by more than the overlap asked for.
        fewest: Points that an instance, or a prediction, must have to count.

    Source:
        Dai et al., ScanNet, CVPR 2017: evaluate_semantic_instance.py of its benchmark, all instances of one class.
    """
    kept = [number for number, mask in enumerate(predictions) if int(mask.sum()) >= fewest]
    ids, sizes = np.unique(true[true >= 0], return_counts=True)
    masks = np.stack([predictions[number] for number in kept]) if kept else np.zeros((0, len(true)), dtype=bool)
    # A mask at a time: a matrix of all points and instances would be large.
    place = np.searchsorted(ids, true)
    known = true >= 0
    shared = np.array(
        [np.bincount(place[mask & known], minlength=len(ids)) for mask in masks], dtype=np.float64
    ).reshape(len(masks), len(ids))
    points = masks.sum(1).astype(np.float64)
    is_counted = sizes >= fewest
    ignored = 1 - shared[:, is_counted].sum(1) / points
    shared, sizes = shared[:, is_counted], sizes[is_counted]
    iou = shared / (points[:, None] + sizes - shared)
    matches = _Matches(shared, iou, ignored, np.array([confidence[number] for number in kept], dtype=np.float64))
    at = {overlap: _at_overlap(matches, overlap) for overlap in (*OVERLAPS, AP25_AT)}
    mean = float(np.mean([at[overlap] for overlap in OVERLAPS]))
    return InstancePrecision(mean, at[AP50_AT], at[AP25_AT], len(sizes), len(masks))


def masks_of(ids: Int[ndarray, " point"]) -> list[Bool[ndarray, " point"]]:
    """Return the masks of ids 0, 1, …, each point being in one at most."""
    return [ids == number for number in range(int(ids.max(initial=-1)) + 1)]


def _at_overlap(matches: _Matches, overlap: float) -> float:
    """Return the area under the curve at one overlap."""
    if not matches.iou.shape[1]:
        return float("nan")
    is_match = matches.iou > overlap
    is_right, score, missed = [], [], 0
    # Above one half a prediction matches one instance; below, it is that of the first which it matches.
    is_taken = np.zeros(len(matches.confidence), dtype=bool)
    for candidates in is_match.T:
        own = np.nonzero(candidates & ~is_taken)[0]
        if not len(own):
            missed += 1
            continue
        # The surest is right; others that match the same instance are wrong.
        ranked = np.sort(matches.confidence[own])[::-1]
        is_right += [True] + [False] * (len(own) - 1)
        score += ranked.tolist()
        is_taken[own[:1]] = True
    for number in np.nonzero(~is_match.any(1))[0]:
        if matches.ignored[number] <= overlap:
            is_right.append(False)
            score.append(float(matches.confidence[number]))
    return _area(np.array(is_right, dtype=bool), np.array(score), missed)


def _area(is_right: Bool[ndarray, " answer"], score: Float[ndarray, " answer"], missed: int) -> float:
    if not len(score):
        return 0.0
    order = np.argsort(score, kind="stable")
    is_right, score = is_right[order], score[order]
    right_from = is_right[::-1].cumsum()[::-1]
    _, first = np.unique(score, return_index=True)
    found = right_from[first]
    precision = np.append(found / (len(score) - first), 1.0)
    recall = np.append(found / (right_from[0] + missed), 0.0)
    # Steps around each point of the curve, half of either side; the last point is at recall 0.
    steps = np.convolve(np.concatenate([recall[:1], recall, [0.0]]), [-0.5, 0.0, 0.5], "valid")
    return float(precision @ steps)
