"""Geometry from photographs alone: exact on computed scenes, the same for any order, frame and scale, and honest."""

import dataclasses

import pytest
import torch

from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange
from lift3d.errors import NoOverlapError
from lift3d.scenes.catalog import read_scene
from lift3d.surface.catalog import build_geometry
from tests.support.lifting import same_bits
from tests.support.scenes import some_motion

SCENE = "procedural:room?views=8&height=96&width=128"


def no_tracks():
    raise AssertionError("the sweep asks for no tracks")


def with_pose(guide, w2c):
    return dataclasses.replace(guide, camera=dataclasses.replace(guide.camera, w2c=w2c))


def estimate(guides, depth_range):
    return build_geometry("sweep").estimate(guides, depth_range, no_tracks)


def errors_of(geometry, depths):
    """Relative errors of all cells against the depth at their centres; 9 where nothing is claimed."""
    errors = []
    for name, view in geometry.views.items():
        size, known = view.camera.size, depths[name]
        row = ((torch.arange(view.grid.rows) + 0.5) * size.height / view.grid.rows).long()
        col = ((torch.arange(view.grid.cols) + 0.5) * size.width / view.grid.cols).long()
        true = known[row][:, col]
        errors.append(((view.z_depth - true).abs() / true).nan_to_num(9.0).flatten())
    return torch.cat(errors)


def confidence_of(geometry):
    return torch.cat([view.confidence.flatten() for view in geometry.views.values()])


@pytest.fixture(scope="module")
def room():
    """Guides, depth range and true depths of a computed room."""
    scene = read_scene(SCENE)
    frames = {view.id: view.load() for view in scene.views}
    guides = [SourceGuide(name, frame.camera, frame.image, frame.is_valid) for name, frame in frames.items()]
    return guides, scene.depth_range, {name: frame.z_depth for name, frame in frames.items()}


@pytest.fixture(scope="module")
def found(room):
    guides, depth_range, _ = room
    return estimate(guides, depth_range)


def test_depth_is_that_of_the_computed_room_and_surer_where_it_is_nearer_the_truth(room, found):
    """Half of the cells are within 1.5 % of the true depth; the surer half of the cells is twice as near."""
    errors, confidence = errors_of(found, room[2]), confidence_of(found)
    is_sure = confidence > confidence.median()
    assert list(found.views) == [guide.id for guide in room[0]]
    assert float(errors.median()) < 0.015
    assert float((errors < 0.05).float().mean()) > 0.8
    assert float(errors[is_sure].median()) < 0.5 * float(errors[~is_sure].median())
    assert float(errors[is_sure].quantile(0.95)) < 0.05


def test_the_order_of_views_changes_no_bit(room, found):
    """Neighbours are ranked by what they see, and ties go by id."""
    again = estimate(room[0][::-1], room[1])
    assert list(again.views) == list(found.views)[::-1]
    for name, view in found.views.items():
        same_bits((view.z_depth, view.confidence), (again.views[name].z_depth, again.views[name].confidence))


def test_moving_and_scaling_the_world_scales_depth_alone(room, found):
    """Rounding in another frame decides a few cells anew."""
    guides, depth_range, _ = room
    factor, motion = 3.0, some_motion()

    def changed(guide):
        w2c = guide.camera.w2c @ torch.linalg.inv(motion)
        w2c[:3, 3] *= factor
        return with_pose(guide, w2c)

    scaled = DepthRange(factor * depth_range.near, factor * depth_range.far)
    again = estimate([changed(guide) for guide in guides], scaled)
    for name, view in found.views.items():
        other = again.views[name]
        differs = (other.z_depth / factor / view.z_depth - 1).abs() > 1e-3
        assert float(differs.float().mean()) < 0.01
        assert float((other.confidence - view.confidence).abs().median()) < 1e-4


def standing_at(w2c, place):
    moved = w2c.clone()
    moved[:3, 3] = -w2c[:3, :3] @ place
    return moved


def test_views_without_parallax_or_overlap_tell_no_depth(room):
    """One view, a pure rotation, and views that look away from each other are refused, not guessed."""
    guides, depth_range, _ = room
    place, back = guides[0].camera.center, torch.diag(torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64))
    rotated = [with_pose(guide, standing_at(guide.camera.w2c, place)) for guide in guides]
    away = [guides[0], with_pose(guides[1], back @ guides[1].camera.w2c)]
    for views in (guides[:1], rotated, away):
        with pytest.raises(NoOverlapError, match="from elsewhere"):
            estimate(views, depth_range)


@pytest.mark.parametrize("disturbed", ["poses of other views", "no texture"])
def test_without_evidence_there_is_no_surface(room, disturbed):
    """Photographs that do not fit their poses, or show nothing, are refused where no point is found in them either."""
    guides, depth_range, _ = room
    if disturbed == "no texture":
        wrong = [dataclasses.replace(guide, image=torch.full_like(guide.image, 0.5)) for guide in guides]
    else:
        order = [3, 6, 1, 7, 0, 5, 2, 4]
        wrong = [
            dataclasses.replace(guide, camera=guides[place].camera) for guide, place in zip(guides, order, strict=True)
        ]

    def too_few():
        raise NoOverlapError("Sparse tracks: got 0 points.")

    with pytest.raises(NoOverlapError, match=r"tell no depth: where views agree most, [12]?[0-9]% of them do"):
        build_geometry("sweep").estimate(wrong, depth_range, too_few)


def test_invalid_pixels_never_vote(room):
    """What is painted under a mask changes no bit, and nothing is claimed there."""
    guides, depth_range, _ = room

    def masked(guide, seed):
        is_valid = torch.ones_like(guide.is_valid)
        is_valid[20:60, 30:90] = False
        noise = torch.rand(guide.image.shape, generator=torch.Generator().manual_seed(seed))
        return dataclasses.replace(guide, image=torch.where(is_valid, guide.image, noise), is_valid=is_valid)

    one, other = (estimate([masked(guide, seed) for guide in guides[:4]], depth_range) for seed in (1, 2))
    for name, view in one.views.items():
        same_bits(view.z_depth, other.views[name].z_depth)
