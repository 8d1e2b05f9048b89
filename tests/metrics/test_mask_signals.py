"""Masks at a threshold that other views choose."""

from dataclasses import replace

import pytest
import torch

from lift3d.domain.lifted import Prediction
from lift3d.metrics.mask_signals import mask_iou_transferred
from tests.metrics.evidence_builders import oracle_scene, replaced


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


def test_true_masks_are_perfect_whatever_their_scale():
    scores = [mask_iou_transferred.score(scene_of(lambda _, true, gain=gain: gain * true)) for gain in (1.0, 0.3)]
    assert [score.value for score in scores] == [1, 1]
    assert scores[0].weight == 8


def test_the_scored_view_has_no_say_in_the_threshold():
    # One view is ten times fainter: its own best threshold would save it, that of the others does not.
    found = mask_iou_transferred.score(
        scene_of(lambda number, true: (0.2 + 0.7 * true) * (0.1 if number == 2 else 1.0))
    )
    assert found.value == pytest.approx(6 / 8, abs=0.01)


def test_iou_is_that_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    scene = scene_of(lambda _, true: (0.6 * true + 0.4 * torch.rand(true.shape, generator=generator)).clamp(0, 1))
    found = mask_iou_transferred.score(scene).value
    # All views are alike, so any threshold between noise and objects is as good; 0.5 is one.
    direct = []
    for view in scene.views:
        labels = view.frame.labels
        for number in (0, 1):
            mask = (view.lifted.prediction.values[number] > 0.41) & view.counts & (labels >= 0)
            true = (labels == number) & view.counts
            direct.append(float((mask & true).sum() / (mask | true).sum()))
    assert found == pytest.approx(sum(direct) / len(direct), abs=0.01)


def test_masks_of_nothing_that_is_annotated_are_undefined():
    scene = scene_of(lambda _, true: true[:0])
    assert mask_iou_transferred.score(scene).reason.startswith("no-labels")
