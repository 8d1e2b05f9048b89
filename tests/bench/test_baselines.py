"""The baseline of the nearest view: one view per cell, on a plane."""

import dataclasses

import torch

from lift3d.bench.baseline_lifters import NearestView
from lift3d.domain.features import FeatureMap
from lift3d.lifters.blend import blend
from lift3d.lifters.weights import weights_at
from tests.support.lifting import pixels, situation
from tests.support.scenes import textured_plane_scene


def copied(camera, guides, depth_range):
    maps = [FeatureMap(guide.image, pixels(guide.camera)) for guide in guides]
    weights = weights_at(NearestView().propose(camera, guides, depth_range), pixels(camera))
    return weights, blend(weights, maps)


def test_the_nearest_view_itself_is_copied_from_a_plane_inside_the_depth_range():
    _, guides, depth_range = situation(textured_plane_scene(), target=None)
    weights, lifted = copied(guides[1].camera, guides, depth_range)
    assert bool((weights.source[weights.weight > 0] == 1).all())
    assert depth_range.near < float(weights.z_depth.min()) <= float(weights.z_depth.max()) < depth_range.far
    torch.testing.assert_close(lifted.features.values, guides[1].image, rtol=0, atol=1e-3)


def test_other_views_fill_in_only_where_the_nearest_does_not_see():
    _, guides, depth_range = situation(textured_plane_scene(baseline=0.4), target=None)
    half = guides[2].is_valid.clone()
    half[:, 32:] = False
    guides[2] = dataclasses.replace(guides[2], is_valid=half)
    weights, _ = copied(guides[2].camera, guides, depth_range)
    heaviest = weights.source[:, 0].reshape(48, 64)
    assert bool((heaviest[:, :30] == 2).all())
    assert bool((heaviest[:, 36:] != 2).all())
    assert float(weights.coverage.min()) > 0.9
