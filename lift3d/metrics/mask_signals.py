"""Masks as signals: how well they tell objects apart at one threshold that the scored view had no say in."""

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.domain.scores import Score
from lift3d.metrics.figures import scene_metric, undefined
from lift3d.metrics.protocol import SceneEvidence, ViewEvidence

# Fine enough that the best of them is within a thousandth of the best there is on masks of hundreds of pixels.
_THRESHOLDS = torch.linspace(0.01, 0.99, 99)


@scene_metric("higher", kinds=("masks",), needs=("labels",))
def mask_iou_transferred(evidence: SceneEvidence) -> Score:
    """Mean IoU of masks with annotated objects of their number, at the one threshold that is best on the other views.

    Every view is scored at the threshold, one for all masks, that gives the largest mean IoU over the masks of all
    views but itself; the mean is over annotated objects, view by view.
    """
    per_view = [_iou_by_threshold(view) for view in evidence.views]
    known = [one for one in per_view if len(one)]
    if len(known) < 2:
        return undefined("no-labels", "fewer than two views have an annotated object that a mask stands for")
    total = torch.stack([one.sum(0) for one in known]).sum(0)
    found = [own[:, int((total - own.sum(0)).argmax())] for own in known]
    scores = torch.cat(found)
    return Score(float(scores.mean()), float(len(scores)))


def _iou_by_threshold(view: ViewEvidence) -> Float[Tensor, "object threshold"]:
    """Return the IoU of each annotated object's mask at every threshold."""
    labels = view.frame.labels
    if labels is None:
        return torch.zeros(0, len(_THRESHOLDS))
    is_scored = view.counts & (labels != UNKNOWN_LABEL)
    masks, true = view.lifted.prediction.values[:, is_scored].float(), labels[is_scored]
    rows = [_iou_of(masks[index], true == index) for index in range(len(masks)) if bool((true == index).any())]
    return torch.stack(rows) if rows else torch.zeros(0, len(_THRESHOLDS))


def _iou_of(mask: Float[Tensor, " pixel"], is_object: Tensor) -> Float[Tensor, " threshold"]:
    # Counts above every threshold from two histograms: no pass per threshold.
    place = torch.bucketize(mask.contiguous(), _THRESHOLDS)
    above_all, above_own = (
        torch.bincount(one, minlength=len(_THRESHOLDS) + 1).flip(0).cumsum(0).flip(0)[1:].double()
        for one in (place, place[is_object])
    )
    return above_own / (above_all + float(is_object.sum()) - above_own)
