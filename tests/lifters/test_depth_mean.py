"""The depth-checked mean: right surface, no ghosts, honest about what nobody sees."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.proposals import SourceGuide
from lift3d.lifters.blend import blend
from lift3d.lifters.depth_mean import DepthMean
from lift3d.lifters.source_selection import select_sources
from lift3d.lifters.weights import weights_at
from tests.support.scenes import two_planes_scene


def situation(scene, target=2, height=48):
    frames = [view.load(height) for view in scene.views]
    guides = [
        SourceGuide(f"{index}", frame.camera, frame.image, frame.is_valid, 1.0, frame.z_depth)
        for index, frame in enumerate(frames)
        if index != target
    ]
    return frames[target], guides, scene.depth_range


def lifted_depth(frame, guides, depth_range):
    proposal = DepthMean().propose(frame.camera, guides, depth_range)
    return weights_at(proposal, FeatureGrid.covering(frame.camera.size, 1.0)).z_depth.reshape(frame.z_depth.shape)


def share_right(z_depth, frame):
    return float(((z_depth - frame.z_depth).abs() < 0.01 * frame.z_depth).float().mean())


def test_the_surface_is_the_true_one_with_an_occluder():
    frame, guides, depth_range = situation(two_planes_scene())
    z_depth = lifted_depth(frame, guides, depth_range)
    assert share_right(z_depth, frame) > 0.93
    middle = frame.z_depth < 2
    assert bool(middle.any())
    assert float((z_depth[middle] < 2).float().mean()) > 0.9


def test_a_card_that_fills_the_view_of_a_near_target_has_no_sieve():
    scene = two_planes_scene(baseline=0.05)
    frame, guides, depth_range = situation(scene)
    near = frame.camera.w2c.clone()
    near[2, 3] -= 1.2
    camera = dataclasses.replace(frame.camera, w2c=near)
    proposal = DepthMean().propose(camera, guides, depth_range)
    grid = FeatureGrid.covering(camera.size, 1.0)
    z_depth = weights_at(proposal, grid).z_depth.reshape(grid.rows, grid.cols)
    # At five times the magnification the card covers the image centre; the wall is 1.8 away.
    window = z_depth[12:36, 16:48]
    assert float((window - 0.3).abs().nan_to_num(9.0).max()) < 0.02


def test_flying_pixels_of_one_source_are_outvoted():
    frame, guides, depth_range = situation(two_planes_scene())
    flying = guides[1].z_depth.clone()
    flying[::7, ::5] = 1.0
    spoiled = [guides[0], dataclasses.replace(guides[1], z_depth=flying), *guides[2:]]
    z_depth = lifted_depth(frame, spoiled, depth_range)
    assert float((z_depth < 1.3).float().mean()) < 0.005
    assert share_right(z_depth, frame) > 0.9


def test_what_a_source_cannot_see_is_not_taken_from_it():
    frame, guides, depth_range = situation(two_planes_scene(baseline=0.3))
    colours = {
        guide.id: FeatureMap((guide.z_depth < 2).float()[None], FeatureGrid.covering(guide.camera.size, 1.0))
        for guide in guides
    }
    proposal = DepthMean().propose(frame.camera, guides, depth_range)
    lifted = blend(weights_at(proposal, FeatureGrid.covering(frame.camera.size, 1.0)), colours)
    is_card, values = frame.z_depth < 2, lifted.features.values[0]
    # A source read within half a pixel of its own edge is mixed by bilinear reading; a ghost would be more than that.
    rim = torch.nn.functional.max_pool2d(is_card[None].float(), 7, 1, 3)[0] > 0
    wall = ~rim & (lifted.coverage > 0)
    assert bool(wall.any())
    assert float(values[wall].max()) < 0.5
    assert float((values[wall] > 0.05).float().mean()) < 0.02


def test_blind_spots_of_the_sensors_are_continued_and_holes_of_one_are_not_needed():
    frame, guides, depth_range = situation(two_planes_scene())
    blind = [dataclasses.replace(guide, z_depth=guide.z_depth.clone()) for guide in guides]
    for guide in blind:
        guide.z_depth[4:12, :] = torch.nan
    z_depth = lifted_depth(frame, blind, depth_range)
    assert float(torch.isfinite(z_depth[4:12]).float().mean()) > 0.9
    assert share_right(z_depth, frame) > 0.85
    one = [dataclasses.replace(guides[0], z_depth=torch.full_like(guides[0].z_depth, torch.nan)), *guides[1:]]
    proposal = DepthMean().propose(frame.camera, one, depth_range)
    assert share_right(lifted_depth(frame, one, depth_range), frame) > 0.9
    assert float(proposal.view_weight[..., 0].mean()) < 0.1


def test_depth_under_invalid_pixels_does_not_count():
    frame, guides, depth_range = situation(two_planes_scene())
    wrong = guides[0].z_depth.clone()
    is_valid = guides[0].is_valid.clone()
    wrong[:, 20:40], is_valid[:, 20:40] = 1.1, False
    masked = [dataclasses.replace(guides[0], z_depth=wrong, is_valid=is_valid), *guides[1:]]
    assert share_right(lifted_depth(frame, masked, depth_range), frame) > 0.93


def test_a_source_fades_out_with_its_taper():
    frame, guides, depth_range = situation(two_planes_scene())
    grid = FeatureGrid.covering(frame.camera.size, 2.0)
    maps = {
        guide.id: FeatureMap(torch.full((1, 3, 4), float(index)), FeatureGrid.covering(guide.camera.size, 16.0))
        for index, guide in enumerate(guides)
    }
    faded = [*guides[:3], dataclasses.replace(guides[3], taper=1e-4)]
    a = blend(weights_at(DepthMean().propose(frame.camera, faded, depth_range), grid), maps)
    b = blend(weights_at(DepthMean().propose(frame.camera, guides[:3], depth_range), grid), maps)
    both = (a.coverage > 0.5) & (b.coverage > 0.5)
    difference = (a.features.values - b.features.values)[:, both].abs()
    assert float((difference > 0.01).float().mean()) < 0.03


@pytest.mark.real
def test_kitchen_depth_agrees_with_the_sensor_of_the_held_out_view():
    folder = os.environ.get("LIFT3D_TEST_DATA")
    if not folder:
        pytest.skip("LIFT3D_TEST_DATA does not name the real captures")
    from lift3d.scenes.catalog import read_scene

    scene = read_scene(str(Path(folder) / "captures" / "kitchen"))
    target = scene.views[len(scene.views) // 2]
    candidates = [(view.id, view.camera) for view in scene.views if view is not target]
    guides = []
    for name, taper in select_sources(target.camera, candidates, 8, scene.depth_range):
        frame = scene.view(name).load(192)
        guides.append(SourceGuide(name, frame.camera, frame.image, frame.is_valid, taper, frame.z_depth))
    frame = target.load(192)
    z_depth = lifted_depth(frame, guides, scene.depth_range)
    relative = ((z_depth - frame.z_depth).abs() / frame.z_depth)[torch.isfinite(z_depth + frame.z_depth)]
    assert float(torch.isfinite(z_depth).float().mean()) > 0.8
    assert float(relative.median()) < 0.02
    assert float((relative < 0.05).float().mean()) > 0.85
