import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.lifted import Prediction
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.metrics.protocol import Observations, SceneEvidence
from lift3d.metrics.segmentation import class_iou, miou, miou_scene, pixel_accuracy
from tests.metrics.evidence_builders import frames_of, view_evidence

FRAME = frames_of(1)[0]
SHAPE = (48, 64)


def evidence_of(predicted, true):
    frame = replace(FRAME, labels=true)
    return view_evidence(frame, "labels", lifted=Prediction("labels", predicted, frame.is_valid))


def halves(left, right):
    values = torch.full(SHAPE, left)
    values[:, 32:] = right
    return values


def test_iou_by_hand():
    predicted, true = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 1, 1, 1])
    classes, iou = class_iou(predicted, true)
    assert classes.tolist() == [0, 1]
    assert iou.tolist() == pytest.approx([1 / 2, 2 / 4])


def test_the_truth_scores_1_and_a_flipped_half_what_it_should():
    true = halves(3, 900_000_000)
    assert miou.score(evidence_of(true, true)).value == 1
    wrong = evidence_of(torch.full(SHAPE, 3), true)
    assert miou.score(wrong).value == pytest.approx((0.5 + 0) / 2)
    assert pixel_accuracy.score(wrong).value == 0.5


def test_unknown_labels_are_not_asked_about():
    true = halves(1, UNKNOWN_LABEL)
    score = miou.score(evidence_of(halves(1, 2), true))
    assert score.value == 1
    assert score.weight == 48 * 32
    assert miou.score(evidence_of(true, torch.full(SHAPE, UNKNOWN_LABEL))).reason.startswith("no-labels")


def test_an_unknown_prediction_is_a_miss():
    assert miou.score(evidence_of(torch.full(SHAPE, UNKNOWN_LABEL), torch.full(SHAPE, 1))).value == 0


def test_a_view_without_labels_gives_a_reason():
    evidence = evidence_of(halves(0, 1), None)
    for metric in (miou, pixel_accuracy):
        assert math.isnan(metric.score(evidence).value)
        assert metric.score(evidence).reason.startswith("no-labels")


def test_the_scene_sums_confusions_and_does_not_average_views():
    """Class 1 is tiny in the first view and wrong there; over the scene it is mostly right."""
    small = torch.zeros(SHAPE, dtype=torch.long)
    small[0, 0] = 1
    views = [
        evidence_of(torch.zeros(SHAPE, dtype=torch.long), small),
        evidence_of(torch.ones(SHAPE, dtype=torch.long), torch.ones(SHAPE, dtype=torch.long)),
    ]
    none = torch.zeros(0, dtype=torch.long)
    scene = SceneEvidence(views, {}, Observations(none, none, torch.zeros(0, 2)))
    pixels = 48 * 64
    expected = ((pixels - 1) / pixels + pixels / (pixels + 1)) / 2
    assert miou_scene.score(scene).value == pytest.approx(expected)
    assert miou.score(views[0]).value < 0.51
