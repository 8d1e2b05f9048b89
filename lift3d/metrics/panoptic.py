"""Panoptic quality of masks: over each view, and over the whole scene at once, where ids must agree across views.

Masks have no classes here, so all segments are of one. A pixel is of the mask that claims it most, and of none if that
is less than half. A mask's number means nothing to PQ within a view; over the scene it does, which is what the gap
between the two figures tells.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.scores import Score
from lift3d.metrics.counting import annotated_pixels, paired, summed
from lift3d.metrics.figures import scene_metric, undefined, view_metric
from lift3d.metrics.protocol import SceneEvidence, ViewEvidence

# A mask that claims less than half of a pixel does not have it.
CLAIMED = 0.5
# Kirillov et al. 2019: above one half a segment has at most one match.
MATCHED_ABOVE = 0.5
NO_SEGMENT = -1


@view_metric("higher", kinds=("masks",), quantities=("instance",), needs=("instances",))
def pq(evidence: ViewEvidence) -> Score:
    """PQ of one view: Σ IoU over matches / (TP + FP/2 + FN/2), segments matched above IoU 1/2 (Kirillov et al. 2019).

    Over counted pixels with a known instance.
    """
    return _quality(*_segments(evidence))


@scene_metric("higher", kinds=("masks",), quantities=("instance",), needs=("instances",))
def pq_scene(evidence: SceneEvidence) -> Score:
    """PQ of the pixels of all target views together: one id must be one thing from every view (Siddiqui et al. 2023).

    Source: Siddiqui et al., Panoptic lifting, CVPR 2023, §4.
    """
    return _quality(*paired(_segments(view) for view in evidence.views))


@view_metric("higher", kinds=("masks",), quantities=("instance",))
def pq_2d(evidence: ViewEvidence) -> Score:
    """PQ against the plain 2D answer's masks, whatever their numbers: fidelity where ids are a view's own."""
    predicted = segment_of(evidence.lifted.prediction.values)[evidence.counts]
    plain = segment_of(evidence.plain.prediction.values)[evidence.counts]
    if not bool((plain != NO_SEGMENT).any()):
        return undefined("no-instances", "the plain answer has no mask where pixels count")
    return Score(panoptic_quality(predicted, plain), float(plain.numel()))


def segment_of(masks: Float[Tensor, "mask height width"]) -> Int[Tensor, "height width"]:
    """Return the mask that claims each pixel most, NO_SEGMENT where none claims half of it."""
    share, number = masks.max(0)
    return torch.where(share >= CLAIMED, number, NO_SEGMENT)


def panoptic_quality(
    predicted: Int[Tensor, " pixel"], true: Int[Tensor, " pixel"], pixels: Float[Tensor, " pixel"] | None = None
) -> float:
    """Return Σ IoU over matches / (TP + FP/2 + FN/2); NaN if there is no segment at all.

    A pixel's segment is NO_SEGMENT for none. ``pixels`` says how many pixels an entry stands for, if not one.

    Source:
        Kirillov et al., Panoptic segmentation, CVPR 2019, eq. 1-2.
    """
    pixels = torch.ones(len(true), dtype=torch.float64) if pixels is None else pixels
    (predicted_ids, predicted_area), (true_ids, true_area) = _areas(predicted, pixels), _areas(true, pixels)
    is_both = (predicted != NO_SEGMENT) & (true != NO_SEGMENT)
    row = torch.searchsorted(predicted_ids, predicted[is_both])
    col = torch.searchsorted(true_ids, true[is_both])
    shared = summed(row * len(true_ids) + col, pixels[is_both], len(predicted_ids) * len(true_ids))
    shared = shared.reshape(len(predicted_ids), len(true_ids))
    iou = shared / (predicted_area[:, None] + true_area - shared)
    matched = iou[iou > MATCHED_ABOVE]
    # Each segment has one match at most, so TP + FP/2 + FN/2 is half of all segments of either side.
    segments = len(predicted_ids) + len(true_ids)
    return float(matched.sum()) / (segments / 2) if segments else float("nan")


def _segments(evidence: ViewEvidence) -> tuple[Int[Tensor, " pixel"], Int[Tensor, " pixel"]]:
    """Return predicted and true segments of the pixels that are scored."""
    return annotated_pixels(segment_of(evidence.lifted.prediction.values), evidence.frame.instances, evidence.counts)


def _areas(
    segment: Int[Tensor, " pixel"], pixels: Float[Tensor, " pixel"]
) -> tuple[Int[Tensor, " segment"], Float[Tensor, " segment"]]:
    """Return the segments and how many pixels each has."""
    is_some = segment != NO_SEGMENT
    ids, number = torch.unique(segment[is_some], return_inverse=True)
    return ids, summed(number, pixels[is_some], len(ids))


def _quality(
    predicted: Int[Tensor, " pixel"], true: Int[Tensor, " pixel"], pixels: Float[Tensor, " pixel"] | None = None
) -> Score:
    if true.numel() == 0:
        return undefined("no-instances", "no counted pixel has a known instance")
    count = float(true.numel() if pixels is None else pixels.sum())
    return Score(panoptic_quality(predicted, true, pixels), count)
