"""Metrics of operators that name objects: of one object among others, and of a map of relevancy."""

import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.lifted import Prediction
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.metrics.catalog import build_metrics
from lift3d.metrics.segmentation import localization, miou, object_iou
from tests.metrics.evidence_builders import frames_of, view_evidence

FRAME = frames_of(1)[0]
SHAPE = (48, 64)


def evidence_of(kind, predicted, true, counts=None):
    frame = replace(FRAME, labels=true)
    return view_evidence(frame, kind, lifted=Prediction(kind, predicted, frame.is_valid), counts=counts)


def square(label, side, background=0):
    labels = torch.full(SHAPE, background)
    labels[:side, :side] = label
    return labels


def test_the_background_does_not_help():
    true, nothing = square(1, 8), torch.zeros(SHAPE, dtype=torch.long)
    assert object_iou.score(evidence_of("labels", true, true)).value == 1
    assert object_iou.score(evidence_of("labels", nothing, true)).value == 0
    assert miou.score(evidence_of("labels", nothing, true)).value > 0.48
    assert object_iou.score(evidence_of("labels", square(1, 16), true)).value == pytest.approx(1 / 4)


def test_several_objects_count_alike_however_large():
    true = square(1, 8)
    true[16:, :] = 2
    predicted = torch.where(true == 2, 2, 0)
    assert object_iou.score(evidence_of("labels", predicted, true)).value == pytest.approx(1 / 2)


def test_renaming_objects_changes_nothing():
    true, predicted = square(1, 8), square(1, 12)
    true[20:, 20:] = 2
    predicted[30:, 20:] = 2
    swapped = torch.tensor([0, 2, 1])
    one = object_iou.score(evidence_of("labels", predicted, true))
    other = object_iou.score(evidence_of("labels", swapped[predicted], swapped[true]))
    assert one.value == pytest.approx(other.value)


def test_an_object_that_is_not_there_gives_a_reason():
    elsewhere = torch.zeros(SHAPE, dtype=torch.bool)
    elsewhere[20:] = True
    relevancy = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    cases = [
        (object_iou, evidence_of("labels", square(1, 8), torch.zeros(SHAPE, dtype=torch.long))),
        (object_iou, evidence_of("labels", square(1, 8), square(1, 8), elsewhere)),
        (object_iou, evidence_of("labels", square(1, 8), square(UNKNOWN_LABEL, 8))),
        (localization, evidence_of("scalar", relevancy, torch.zeros(SHAPE, dtype=torch.long))),
    ]
    for metric, evidence in cases:
        score = metric.score(evidence)
        assert math.isnan(score.value)
        assert score.reason.startswith("no-object")
    assert localization.score(evidence_of("scalar", relevancy, None)).reason.startswith("no-labels")


def test_the_maximum_on_the_object_is_a_hit_and_a_tie_counts_as_one():
    relevancy = torch.zeros(SHAPE)
    relevancy[4, 4] = 0.7
    assert localization.score(evidence_of("scalar", relevancy, square(1, 8))).value == 1
    relevancy[40, 40] = 0.7
    assert localization.score(evidence_of("scalar", relevancy, square(1, 8))).value == 1
    relevancy[40, 40] = 0.8
    assert localization.score(evidence_of("scalar", relevancy, square(1, 8))).value == 0
    # What does not count, or is not known, cannot be where it lies.
    known = square(1, 8)
    known[40, 40] = UNKNOWN_LABEL
    assert localization.score(evidence_of("scalar", relevancy, known)).value == 1


def test_a_run_names_them_by_where_they_are():
    names = ("lift3d.metrics.segmentation:object_iou", "lift3d.metrics.segmentation:localization")
    assert [metric.spec.name for metric in build_metrics(names)] == ["object_iou", "localization"]
