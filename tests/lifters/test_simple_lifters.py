"""The depth-checked mean: right surface, no ghosts, honest about what nobody sees. Nearest view: one view per cell."""

import dataclasses

import pytest
import torch

from lift3d.domain.features import FeatureMap
from lift3d.domain.proposals import SourceGuide
from lift3d.lifters.blend import blend
from lift3d.lifters.depth_mean import DepthMean
from lift3d.lifters.nearest_view import NearestView
from lift3d.lifters.source_selection import select_sources
from lift3d.lifters.weights import weights_at
from lift3d.scenes.catalog import read_scene
from tests.support.lifting import pixels, share, situation
from tests.support.scenes import textured_plane_scene, two_planes_scene


def lifted_depth(frame, guides, depth_range, camera=None):
    camera = camera or frame.camera
    proposal = DepthMean().propose(camera, guides, depth_range)
    return weights_at(proposal, pixels(camera)).z_depth.reshape(frame.z_depth.shape)


def share_right(z_depth, frame):
    return share((z_depth - frame.z_depth).abs() < 0.01 * frame.z_depth)


@pytest.fixture
def planes():
    return situation(two_planes_scene())


def test_the_surface_is_the_true_one_with_an_occluder(planes):
    frame, guides, depth_range = planes
    z_depth = lifted_depth(frame, guides, depth_range)
    assert share_right(z_depth, frame) > 0.93
    middle = frame.z_depth < 2
    assert bool(middle.any())
    assert share(z_depth[middle] < 2) > 0.9


def test_a_card_that_fills_the_view_of_a_near_target_has_no_sieve():
    frame, guides, depth_range = situation(two_planes_scene(baseline=0.05))
    near = frame.camera.w2c.clone()
    near[2, 3] -= 1.2
    z_depth = lifted_depth(frame, guides, depth_range, dataclasses.replace(frame.camera, w2c=near))
    # At five times the magnification the card covers the image centre; the wall is 1.8 away.
    window = z_depth[12:36, 16:48]
    assert float((window - 0.3).abs().nan_to_num(9.0).max()) < 0.02


def test_flying_pixels_of_one_source_are_outvoted(planes):
    frame, guides, depth_range = planes
    flying = guides[1].z_depth.clone()
    flying[::7, ::5] = 1.0
    spoiled = [guides[0], dataclasses.replace(guides[1], z_depth=flying), *guides[2:]]
    z_depth = lifted_depth(frame, spoiled, depth_range)
    assert share(z_depth < 1.3) < 0.005
    assert share_right(z_depth, frame) > 0.9


def test_what_a_source_cannot_see_is_not_taken_from_it():
    frame, guides, depth_range = situation(two_planes_scene(baseline=0.3))
    colours = {guide.id: FeatureMap((guide.z_depth < 2).float()[None], pixels(guide.camera)) for guide in guides}
    proposal = DepthMean().propose(frame.camera, guides, depth_range)
    lifted = blend(weights_at(proposal, pixels(frame.camera)), colours)
    is_card, values = frame.z_depth < 2, lifted.features.values[0]
    # A source read within half a pixel of its own edge is mixed by bilinear reading; a ghost would be more than that.
    rim = torch.nn.functional.max_pool2d(is_card[None].float(), 7, 1, 3)[0] > 0
    wall = ~rim & (lifted.coverage > 0)
    assert bool(wall.any())
    assert float(values[wall].max()) < 0.5
    assert share(values[wall] > 0.05) < 0.02


def test_blind_spots_of_the_sensors_are_continued_and_holes_of_one_are_not_needed(planes):
    frame, guides, depth_range = planes
    blind = [dataclasses.replace(guide, z_depth=guide.z_depth.clone()) for guide in guides]
    for guide in blind:
        guide.z_depth[4:12, :] = torch.nan
    z_depth = lifted_depth(frame, blind, depth_range)
    assert share(torch.isfinite(z_depth[4:12])) > 0.9
    assert share_right(z_depth, frame) > 0.85
    one = [dataclasses.replace(guides[0], z_depth=torch.full_like(guides[0].z_depth, torch.nan)), *guides[1:]]
    proposal = DepthMean().propose(frame.camera, one, depth_range)
    assert share_right(lifted_depth(frame, one, depth_range), frame) > 0.9
    assert float(proposal.view_weight[..., 0].mean()) < 0.1


def test_a_source_fades_out_with_its_taper(planes):
    frame, guides, depth_range = planes
    grid = pixels(frame.camera, 2.0)
    maps = {
        guide.id: FeatureMap(torch.full((1, 3, 4), float(index)), pixels(guide.camera, 16.0))
        for index, guide in enumerate(guides)
    }
    faded = [*guides[:3], dataclasses.replace(guides[3], taper=1e-4)]
    a, b = (
        blend(weights_at(DepthMean().propose(frame.camera, some, depth_range), grid), maps)
        for some in (faded, guides[:3])
    )
    both = (a.coverage > 0.5) & (b.coverage > 0.5)
    difference = (a.features.values - b.features.values)[:, both].abs()
    assert share(difference > 0.01) < 0.03


def copied(camera, guides, depth_range):
    maps = {guide.id: FeatureMap(guide.image, pixels(guide.camera)) for guide in guides}
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


@pytest.mark.real
def test_kitchen_depth_agrees_with_the_sensor_of_the_held_out_view(test_data):
    scene = read_scene(str(test_data / "captures" / "kitchen"))
    target = scene.views[len(scene.views) // 2]
    candidates = [(view.id, view.camera) for view in scene.views if view is not target]
    guides = []
    for name, taper in select_sources(target.camera, candidates, 8, scene.depth_range):
        frame = scene.view(name).load(192)
        guides.append(SourceGuide(name, frame.camera, frame.image, frame.is_valid, taper, frame.z_depth))
    frame = target.load(192)
    z_depth = lifted_depth(frame, guides, scene.depth_range)
    relative = ((z_depth - frame.z_depth).abs() / frame.z_depth)[torch.isfinite(z_depth + frame.z_depth)]
    assert share(torch.isfinite(z_depth)) > 0.8
    assert float(relative.median()) < 0.02
    assert share(relative < 0.05) > 0.85
