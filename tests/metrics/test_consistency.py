from dataclasses import replace

import pytest
import torch

from lift3d.domain.lifted import Prediction
from lift3d.metrics.consistency import warp_error_short, warp_floor_short
from lift3d.metrics.correspondence import correspond
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.metrics.protocol import Matches
from tests.metrics.evidence_builders import (
    KINDS,
    frames_of,
    oracle_scene,
    replaced,
    view_evidence,
    with_border_uncounted,
    with_noise,
)


def pair(kind, **scene):
    evidence = oracle_scene(kind, view_count=2, **scene)
    a, b = evidence.views
    return a, b, evidence.matches[0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_perfect_consistency_scores_0_and_noise_raises_it(kind):
    a, b, matches = pair(kind)
    a, b = with_border_uncounted(a), with_border_uncounted(b)
    perfect = warp_error_short.score(a, b, matches)
    noisy = [warp_error_short.score(with_noise(a, s, 1), with_noise(b, s, 2), matches).value for s in (0.05, 0.2, 0.8)]
    # Labels are read at the nearest pixel: along the border of two classes half a pixel is left.
    # Embeddings are read between cells, where a cosine is not linear.
    assert perfect.value < {"labels": 0.03, "embedding": 0.003}.get(kind, 1e-5)
    assert perfect.weight > 500
    assert perfect.value < noisy[0] < noisy[1] < noisy[2]
    # Under exact geometry the floor is 0 whatever the prediction.
    floor = warp_floor_short.score(with_noise(a, 0.5, 1), with_noise(b, 0.5, 2), matches)
    assert floor.value < 2e-3
    assert floor.weight > 500


def test_a_constant_offset_is_the_error_in_the_units_of_the_prediction():
    for kind in ("image", "scalar"):
        a, b, matches = pair(kind)
        a, b = with_border_uncounted(a), with_border_uncounted(b)
        old = b.lifted.prediction
        shifted = replaced(b, Prediction(kind, old.values + 0.25, old.is_valid))
        assert warp_error_short.score(a, shifted, matches).value == pytest.approx(0.25, abs=1e-4)


def test_label_error_by_hand():
    a, b, _ = pair("labels")
    zeros, ones = torch.zeros(48, 64, dtype=torch.long), (torch.arange(64) >= 32).long().expand(48, 64)
    uv_b = torch.tensor([[10.5, 3.5], [40.5, 3.5], [41.5, 9.5], [31.9, 0.5]], dtype=torch.float64)
    a = replaced(a, Prediction("labels", zeros, zeros == 0))
    b = replaced(b, Prediction("labels", ones, zeros == 0))
    score = warp_error_short.score(a, b, Matches(uv_b, uv_b, uv_b, 3.0))
    assert (score.value, score.weight) == (0.5, 4.0)


def test_the_floor_rises_with_the_error_of_the_geometry_and_bounds_its_share():
    """A consistent prediction seen through a wrong depth: the error is of the size of the floor, not of the model."""
    errors, floors = [], []
    for factor in (1.0, 1.005, 1.015):
        a, b = frames_of(2, baseline=0.4)
        found = correspond(DepthSurface([a, replace(b, z_depth=b.z_depth * factor)])).matches[0, 1]
        views = [with_border_uncounted(view_evidence(frame, "scalar"), 4) for frame in (a, b)]
        errors.append(warp_error_short.score(*views, found).value)
        floors.append(warp_floor_short.score(*views, found).value)
    assert floors == sorted(floors)
    assert floors[2] > 10 * floors[0]
    # Depth of a is right here, so the warp itself is, and the error stays where it was.
    assert errors[2] == pytest.approx(errors[0], abs=1e-5)
