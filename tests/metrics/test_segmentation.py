"""Answers against annotations: of all classes, of one object among others, of masks; of a view and of a scene."""

import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.lifted import Prediction
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.metrics.protocol import Observations, SceneEvidence
from lift3d.metrics.segmentation import (
    mask_iou_transferred,
    miou,
    miou_scene,
    object_iou,
    pixel_accuracy,
)
from tests.metrics.evidence_builders import frames_of, oracle_scene, replaced, view_evidence

FRAME = frames_of(1)[0]
SHAPE = (48, 64)
PIXELS = 48 * 64
UNKNOWN = torch.full(SHAPE, UNKNOWN_LABEL)
ZEROS, ONES = torch.zeros(SHAPE, dtype=torch.long), torch.ones(SHAPE, dtype=torch.long)


def evidence_of(predicted, true, counts=None, kind="labels"):
    frame = replace(FRAME, labels=true)
    return view_evidence(frame, kind, lifted=Prediction(kind, predicted, frame.is_valid), counts=counts)


def halves(left, right):
    return torch.tensor([left, right]).repeat_interleave(32).expand(SHAPE)


def square(label, side):
    labels = ZEROS.clone()
    labels[:side, :side] = label
    return labels


BIG = 900_000_000
TWO = torch.where(torch.arange(48)[:, None] >= 16, 2, square(1, 8))


@pytest.mark.parametrize(
    ("metric", "predicted", "true", "expected"),
    [
        (miou, halves(3, BIG), halves(3, BIG), 1),
        (miou, halves(3, 3), halves(3, BIG), (0.5 + 0) / 2),
        (pixel_accuracy, halves(3, 3), halves(3, BIG), 0.5),
        # Nobody is asked about an unknown label; an unknown prediction is a miss.
        (miou, halves(1, 2), halves(1, UNKNOWN_LABEL), 1),
        (miou, UNKNOWN, ONES, 0),
        # The background helps nobody find an object.
        (miou, ZEROS, square(1, 8), (1 - 64 / PIXELS) / 2),
        (object_iou, ZEROS, square(1, 8), 0),
        (object_iou, square(1, 8), square(1, 8), 1),
        (object_iou, square(1, 16), square(1, 8), 1 / 4),
        # Several objects count alike, however large.
        (object_iou, torch.where(TWO == 2, 2, 0), TWO, 1 / 2),
    ],
)
def test_a_view_by_hand(metric, predicted, true, expected):
    score = metric.score(evidence_of(predicted, true))
    assert score.value == pytest.approx(expected)
    assert score.weight == int((true != UNKNOWN_LABEL).sum())
    # Renaming classes changes nothing.
    if true.max() == 2:
        swapped = torch.tensor([0, 2, 1])
        assert metric.score(evidence_of(swapped[predicted], swapped[true])).value == pytest.approx(expected)


ELSEWHERE = torch.arange(48)[:, None].expand(SHAPE) >= 20


@pytest.mark.parametrize(
    ("metric", "evidence", "reason"),
    [
        (miou, evidence_of(halves(0, 1), None), "no-labels"),
        (pixel_accuracy, evidence_of(halves(0, 1), None), "no-labels"),
        (miou, evidence_of(ONES, UNKNOWN), "no-labels"),
        (object_iou, evidence_of(square(1, 8), ZEROS), "no-object"),
        (object_iou, evidence_of(square(1, 8), square(1, 8), ELSEWHERE), "no-object"),
        (object_iou, evidence_of(square(1, 8), square(UNKNOWN_LABEL, 8)), "no-object"),
    ],
)
def test_what_is_not_there_gives_a_reason(metric, evidence, reason):
    score = metric.score(evidence)
    assert math.isnan(score.value)
    assert score.reason.startswith(reason)


def test_the_scene_sums_confusions_and_does_not_average_views():
    """Class 1 is tiny in the first view and wrong there; over the scene it is mostly right."""
    none = torch.zeros(0, dtype=torch.long)
    views = [evidence_of(ZEROS, square(1, 1)), evidence_of(ONES, ONES)]
    scene = SceneEvidence(views, {}, Observations(none, none, torch.zeros(0, 2)))
    expected = ((PIXELS - 1) / PIXELS + PIXELS / (PIXELS + 1)) / 2
    assert miou_scene.score(scene).value == pytest.approx(expected)
    assert miou.score(views[0]).value < 0.51


def scene_of(masks_of_view):
    """Views with two annotated objects, and masks of them that a function of the view's number and truth gives."""
    scene = oracle_scene("image", view_count=4)
    views = []
    for number, view in enumerate(scene.views):
        labels = torch.full_like(view.frame.is_valid, -1, dtype=torch.long)
        labels[4:14, 4:20], labels[14:30, 4:20], labels[4:30, 20:] = 0, 1, 7
        frame = replace(view.frame, labels=labels)
        masks = masks_of_view(number, torch.stack([labels == 0, labels == 1]).float())
        views.append(replaced(replace(view, frame=frame), Prediction("masks", masks, frame.is_valid)))
    return replace(scene, views=views)


def test_true_masks_are_perfect_whatever_their_scale_and_the_scored_view_has_no_say_in_the_threshold():
    for gain in (1.0, 0.3):
        found = mask_iou_transferred.score(scene_of(lambda _, true, gain=gain: gain * true))
        assert (found.value, found.weight) == (1, 8)
    found = mask_iou_transferred.score(
        scene_of(lambda number, true: (0.2 + 0.7 * true) * (0.1 if number == 2 else 1.0))
    )
    assert found.value == pytest.approx(6 / 8, abs=0.01)
    # Masks of nothing that is annotated are undefined.
    assert mask_iou_transferred.score(scene_of(lambda _, true: true[:0])).reason.startswith("no-labels")
