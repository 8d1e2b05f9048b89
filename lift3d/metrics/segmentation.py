"""Labels against annotated views: pixel accuracy and intersection over union; maps of relevancy against objects.

``object_iou`` and ``localization`` speak of operators whose label 0 is the background and whose others are objects. Of
any other operator they say nothing, so they are not in the catalog: a run names them, as module:attribute.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.domain.scores import Score
from lift3d.metrics.counting import annotated_pixels
from lift3d.metrics.figures import scene_metric, undefined, view_metric
from lift3d.metrics.protocol import SceneEvidence, ViewEvidence

# Of operators that name objects.
BACKGROUND_LABEL, OBJECT_LABEL = 0, 1


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
    pairs = [_labelled_pixels(view) for view in evidence.views]
    return _mean_iou(torch.cat([predicted for predicted, _ in pairs]), torch.cat([true for _, true in pairs]))


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


@view_metric("higher", kinds=("scalar",), needs=("labels",))
def localization(evidence: ViewEvidence) -> Score:
    """Whether the highest relevancy of the view, or one as high, lies on the object (LERF, ICCV 2023), label 1.

    There it may lie anywhere in a box around the object; here the object itself is known.
    """
    labels = evidence.frame.labels
    if labels is None:
        return undefined("no-labels", "the view has no labels")
    is_scored = evidence.counts & (labels != UNKNOWN_LABEL)
    is_object = labels[is_scored] == OBJECT_LABEL
    if not bool(is_object.any()):
        return undefined("no-object", "no counted pixel of the view is annotated as the object")
    relevancy = evidence.lifted.prediction.values[is_scored]
    is_hit = is_object[relevancy == relevancy.max()].any()
    return Score(float(is_hit), 1.0)


def class_iou(
    predicted: Int[Tensor, " pixel"], true: Int[Tensor, " pixel"]
) -> tuple[Int[Tensor, " class"], Float[Tensor, " class"]]:
    """Return the annotated classes and the intersection over union of each.

    Class ids may be any integers; a predicted class annotated nowhere only costs the classes it covers.
    """
    classes, number = torch.unique(torch.cat([predicted, true]), return_inverse=True)
    count = len(classes)
    predicted_number, true_number = number[: len(predicted)], number[len(predicted) :]
    hit = torch.bincount(true_number[predicted_number == true_number], minlength=count).double()
    annotated = torch.bincount(true_number, minlength=count)
    union = annotated + torch.bincount(predicted_number, minlength=count) - hit
    is_annotated = annotated > 0
    return classes[is_annotated], (hit / union)[is_annotated]


def _labelled_pixels(evidence: ViewEvidence) -> tuple[Int[Tensor, " pixel"], Int[Tensor, " pixel"]]:
    return annotated_pixels(evidence.lifted.prediction.values, evidence.frame.labels, evidence.counts)


def _mean_iou(predicted: Int[Tensor, " pixel"], true: Int[Tensor, " pixel"]) -> Score:
    if true.numel() == 0:
        return undefined("no-labels", "no counted pixel has a known label")
    _, iou = class_iou(predicted, true)
    return Score(float(iou.mean()), float(true.numel()))
