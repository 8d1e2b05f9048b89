"""All views' votes: true depth stays, a floater of one view goes, and what others see through is not sure."""

import dataclasses

import torch

from lift3d.domain.features import FeatureGrid
from lift3d.surface.fusion import DepthVotes, fuse
from tests.support.scenes import textured_plane_scene, two_planes_scene

TOLERANCE = 0.05
BLOB = (slice(20, 28), slice(25, 35))


def votes_of(scene):
    """Votes with the true depth of every pixel, all sure."""
    found = []
    for view in scene.views:
        frame = view.load()
        grid = FeatureGrid.covering(frame.camera.size, 1.0)
        weight = torch.isfinite(frame.z_depth).float()
        found.append(DepthVotes(frame.camera, grid, torch.stack([frame.z_depth, weight])))
    return found


def with_floater(view):
    factor = torch.ones_like(view.z_depth)
    factor[BLOB] = 0.5
    return scaled(view, factor, 1.0)


def scaled(view, depth, weight):
    both = torch.stack([depth * view.z_depth, weight * view.weight])
    return dataclasses.replace(view, depth_and_weight=both)


def fused_of(scene, view, others):
    """What all say of the first view of a scene."""
    return fuse(view, scene.views[0].load().image, others, TOLERANCE)


def test_true_depth_stays_but_for_edges():
    scene = two_planes_scene()
    view, *others = votes_of(scene)
    fused = fused_of(scene, view, others)
    error = (fused.z_depth / view.z_depth - 1).abs()
    assert float(error.median()) < 1e-3
    assert float((error < 0.01).float().mean()) > 0.97


def test_a_floater_of_one_view_is_outvoted_there_and_elsewhere():
    scene = textured_plane_scene()
    view, *others = votes_of(scene)
    own = fused_of(scene, with_floater(view), others)
    assert float((own.z_depth / view.z_depth - 1).abs().max()) < 0.01
    carried = fused_of(scene, view, [with_floater(others[0]), *others[1:]])
    assert float((carried.z_depth / view.z_depth - 1).abs().max()) < 0.01


def test_what_other_views_see_through_is_less_sure():
    """A surface that wins the vote counts the views that look through it against itself."""
    scene = textured_plane_scene()
    view, *others = votes_of(scene)
    near = scaled(view, 0.5, 10.0)
    silent = [scaled(other, 1.0, 0.0) for other in others]
    unopposed, opposed = fused_of(scene, near, silent), fused_of(scene, near, others)
    center = (24, 30)
    for fused in (unopposed, opposed):
        assert float(fused.z_depth[center]) < 0.6 * float(view.z_depth[center]), "weight enough to win the vote"
    assert float(opposed.confidence[center]) < 0.9 * float(unopposed.confidence[center])
