"""Panoptic quality: by hand, against a library, and what swapped ids cost."""

import math
from dataclasses import replace

import pytest
import torch

from lift3d.metrics.catalog import build_metrics
from lift3d.metrics.panoptic import NO_SEGMENT, panoptic_quality, segment_of
from lift3d.metrics.scoring import score_scene
from tests.metrics.evidence_builders import scene_evidence, view_evidence, with_predictions
from tests.support.scenes import two_planes_scene


def quality(predicted, true):
    return panoptic_quality(torch.tensor(predicted), torch.tensor(true))


def test_by_hand_and_a_pixel_is_of_the_mask_that_claims_it_most_and_half_at_least():
    assert quality([0, 0, 1, 1], [5, 5, 7, 7]) == 1
    # One match of IoU 3/4; the rest is a false positive of one pixel and a false negative of none.
    assert quality([0, 0, 0, 1], [5, 5, 5, 5]) == pytest.approx(0.75 / (1 + 0.5))
    # Half is no match: two false positives, one false negative.
    assert quality([0, 0, 1, 1], [5, 5, 5, 5]) == 0
    # A pixel that no mask claims is not a segment.
    assert quality([0, 0, 0, NO_SEGMENT], [5, 5, 5, 5]) == pytest.approx(0.75)
    assert quality([NO_SEGMENT] * 2, [5, 5]) == 0
    assert math.isnan(quality([NO_SEGMENT] * 2, [NO_SEGMENT] * 2))
    masks = torch.tensor([[[0.7, 0.3, 0.0]], [[0.3, 0.6, 0.4]]])
    assert segment_of(masks).tolist() == [[0, 1, NO_SEGMENT]]


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_its_definition_and_numbers_mean_nothing(seed):
    """Kirillov et al., eq. 1, segment by segment."""
    draw = torch.Generator().manual_seed(seed)
    true = torch.randint(0, 6, (12, 12), generator=draw).repeat_interleave(6, 0).repeat_interleave(6, 1).flatten()
    predicted = torch.where(torch.rand(true.shape, generator=draw) < 0.15, 0, true)
    masks, objects = ([some == number for number in some.unique()] for some in (predicted, true))
    ious = [float((a & b).sum()) / float((a | b).sum()) for a in masks for b in objects]
    matched = [iou for iou in ious if iou > 0.5]
    unmatched = len(masks) + len(objects) - 2 * len(matched)
    renamed = torch.tensor([7, 40, 2, 99, 3, 11])[predicted]
    for some in (predicted, renamed):
        assert panoptic_quality(some, true) == pytest.approx(sum(matched) / (len(matched) + unmatched / 2), rel=1e-9)


@pytest.fixture(scope="module")
def scene():
    frames = [view.load() for view in two_planes_scene(4, baseline=0.3).views]
    views = [view_evidence(frame, "instance", f"v{i}") for i, frame in enumerate(frames)]
    return scene_evidence(frames, views)


def figures(name, scene):
    return [item.score.value for item in score_scene(build_metrics([name]), scene, "x")]


def test_the_truth_is_perfect_whatever_its_order_and_a_thing_that_is_missing_costs(scene):
    assert figures("pq", scene) == figures("pq_2d", scene) == [1.0] * 4
    assert figures("pq_scene", scene) == [1.0]
    assert figures("pq_scene", with_predictions(scene, lambda masks, _: masks.flip(0))) == [1.0]
    missing = with_predictions(scene, lambda masks, _: masks * (torch.arange(len(masks)) != 1)[:, None, None])
    assert figures("pq", missing)[0] == pytest.approx(2 / 3)
    assert figures("pq_scene", missing)[0] == pytest.approx(2 / 3)


def test_swapped_ids_cost_the_scene_and_no_view(scene):
    swapped = with_predictions(scene, lambda masks, i: masks[[1, 0, *range(2, len(masks))]] if i % 2 else masks)
    assert figures("pq", swapped) == figures("pq_2d", swapped) == [1.0] * 4
    (whole,) = figures("pq_scene", swapped)
    assert whole < 0.7
    assert 5 * max(figures("warp_error_short", scene)) < max(figures("warp_error_short", swapped))


def test_views_that_nothing_is_known_of_are_left_out(scene):
    first, *others = scene.views
    bare = replace(scene, views=[replace(first, frame=replace(first.frame, instances=None)), *others])
    items = score_scene(build_metrics(["pq", "pq_scene"]), bare, "x")
    assert items[0].score.reason.startswith("no-instances")
    assert items[-1].score.value == 1
    assert items[-1].score.weight == sum(item.score.weight for item in items[:-1])
