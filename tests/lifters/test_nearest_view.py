"""Nearest-view copy: one view per cell, the nearest that sees it."""

import dataclasses

import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.proposals import SourceGuide
from lift3d.lifters.blend import blend
from lift3d.lifters.nearest_view import NearestView
from lift3d.lifters.weights import weights_at
from tests.support.scenes import textured_plane_scene


def guides_of(scene):
    frames = [view.load(48) for view in scene.views]
    return [
        SourceGuide(view.id, frame.camera, frame.image, frame.is_valid)
        for view, frame in zip(scene.views, frames, strict=True)
    ]


def lift(camera, guides, depth_range):
    maps = {guide.id: FeatureMap(guide.image, FeatureGrid.covering(guide.camera.size, 1.0)) for guide in guides}
    weights = weights_at(NearestView().propose(camera, guides, depth_range), FeatureGrid.covering(camera.size, 1.0))
    return weights, blend(weights, maps)


def test_the_view_itself_is_copied_as_it_is():
    scene = textured_plane_scene()
    guides = guides_of(scene)
    weights, lifted = lift(guides[1].camera, guides, scene.depth_range)
    assert bool((weights.source[weights.weight > 0] == 1).all())
    torch.testing.assert_close(lifted.features.values, guides[1].image, rtol=0, atol=1e-3)


def test_other_views_fill_in_only_where_the_nearest_does_not_see():
    scene = textured_plane_scene(baseline=0.4)
    guides = guides_of(scene)
    half = guides[2].is_valid.clone()
    half[:, 32:] = False
    guides[2] = dataclasses.replace(guides[2], is_valid=half)
    weights, _ = lift(guides[2].camera, guides, scene.depth_range)
    heaviest = weights.source[:, 0].reshape(48, 64)
    assert bool((heaviest[:, :30] == 2).all())
    assert bool((heaviest[:, 36:] != 2).all())
    assert float(weights.coverage.min()) > 0.9


def test_the_plane_lies_inside_the_depth_range():
    scene = textured_plane_scene()
    guides = guides_of(scene)
    z_depth = NearestView().propose(guides[0].camera, guides, scene.depth_range).z_depth
    assert scene.depth_range.near < float(z_depth.min()) <= float(z_depth.max()) < scene.depth_range.far
