"""Labels and masks against annotated views: pixel accuracy and intersection over union.

``object_iou`` speaks of operators whose label 0 is the background and whose others are objects. Of any other operator
it says nothing, so it is not in the catalog: a run names it, as module:attribute.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.domain.scores import Score
from lift3d.metrics.counting import annotated_pixels, paired, summed
from lift3d.metrics.figures import scene_metric, undefined, view_metric
from lift3d.metrics.protocol import SceneEvidence, ViewEvidence

# Of operators that name objects.
BACKGROUND_LABEL = 0
# Of masks: fine enough that the best is within a thousandth of the best there is on masks of hundreds of pixels.
_THRESHOLDS = torch.linspace(0.01, 0.99, 99, device="cpu")


@view_metric("higher", kinds=("labels",), needs=("labels",))
def miou(evidence: ViewEvidence) -> Score:
    """Mean over the classes annotated in this view of TP / (TP + FP + FN), over counted, labelled pixels."""
    predicted, true = _labelled_pixels(evidence)
    return _mean_iou(predicted, true)


@view_metric("higher", kinds=("labels",), needs=("labels",))
def pixel_accuracy(evidence: ViewEvidence) -> Score:
    """Share of counted pixels with a known label that are predicted right."""
    predicted, true = _labelled_pixels(evidence)
    if true.numel() == 0:
        return undefined("no-labels", "no counted pixel of the view has a known label")
    return Score(float((predicted == true).double().mean()), float(true.numel()))


@scene_metric("higher", kinds=("labels",), needs=("labels",))
def miou_scene(evidence: SceneEvidence) -> Score:
    """Mean IoU of the confusion matrix summed over all target views, over classes annotated in any."""
    return _mean_iou(*paired(_labelled_pixels(view) for view in evidence.views))


@view_metric("higher", kinds=("labels",), needs=("labels",))
def object_iou(evidence: ViewEvidence) -> Score:
    """Mean IoU over the labels annotated in this view other than 0, which is background; of one object, its IoU.

    Unlike miou it does not gain by the background, which is most of a view.
    """
    predicted, true = _labelled_pixels(evidence)
    classes, iou = class_iou(predicted, true)
    is_object = classes != BACKGROUND_LABEL
    if not bool(is_object.any()):
        return undefined("no-object", "no counted pixel of the view is annotated as one of the objects")
    return Score(float(iou[is_object].mean()), float(true.numel()))


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


def class_iou(
    predicted: Int[Tensor, " pixel"], true: Int[Tensor, " pixel"], pixels: Float[Tensor, " pixel"] | None = None
) -> tuple[Int[Tensor, " class"], Float[Tensor, " class"]]:
    """Return the annotated classes and the intersection over union of each.

    Class ids may be any integers; a predicted class annotated nowhere only costs the classes it covers. ``pixels`` says
    how many pixels an entry stands for, if not one.
    """
    classes, number = torch.unique(torch.cat([predicted, true]), return_inverse=True)
    count = len(classes)
    of_predicted, of_true = number[: len(predicted)], number[len(predicted) :]
    pixels = torch.ones(len(true), dtype=torch.float64) if pixels is None else pixels
    is_hit = of_predicted == of_true
    hit = summed(of_true[is_hit], pixels[is_hit], count)
    annotated = summed(of_true, pixels, count)
    union = annotated + summed(of_predicted, pixels, count) - hit
    is_annotated = annotated > 0
    return classes[is_annotated], (hit / union)[is_annotated]


def _labelled_pixels(evidence: ViewEvidence) -> tuple[Int[Tensor, " pixel"], Int[Tensor, " pixel"]]:
    return annotated_pixels(evidence.lifted.prediction.values, evidence.frame.labels, evidence.counts)


def _mean_iou(
    predicted: Int[Tensor, " pixel"], true: Int[Tensor, " pixel"], pixels: Float[Tensor, " pixel"] | None = None
) -> Score:
    if true.numel() == 0:
        return undefined("no-labels", "no counted pixel has a known label")
    _, iou = class_iou(predicted, true, pixels)
    return Score(float(iou.mean()), float(true.numel() if pixels is None else pixels.sum()))


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
    place = torch.bucketize(mask.contiguous(), _THRESHOLDS.to(mask.device))
    above_all, above_own = (
        torch.bincount(one, minlength=len(_THRESHOLDS) + 1).flip(0).cumsum(0).flip(0)[1:].double()
        for one in (place, place[is_object])
    )
    return above_own / (above_all + float(is_object.sum()) - above_own)
