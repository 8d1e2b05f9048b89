"""Geometry from photographs alone: exact on computed scenes, the same for any order, frame and scale, and honest."""

import dataclasses

import pytest
import torch

from lift3d.domain.proposals import SourceGuide
from lift3d.errors import NoOverlapError
from lift3d.scenes.catalog import read_scene
from lift3d.surface.catalog import build_geometry
from tests.support.lifting import same_bits, share
from tests.support.surfaces import (
    another_world_scales_depth_alone,
    errors_of,
    no_tracks,
    order_changes_no_bit,
    unasked_tracks,
)

SCENE = "procedural:room?views=8&height=96&width=128"


def with_pose(guide, w2c):
    return dataclasses.replace(guide, camera=dataclasses.replace(guide.camera, w2c=w2c))


def estimate(guides, depth_range):
    return build_geometry("sweep").estimate(guides, depth_range, unasked_tracks)


@pytest.fixture(scope="module")
def room():
    """Guides without depth and the depth range of a computed room, and those with it."""
    scene = read_scene(SCENE)
    frames = {view.id: view.load() for view in scene.views}
    known = [SourceGuide(name, one.camera, one.image, one.is_valid, 1.0, one.z_depth) for name, one in frames.items()]
    return [dataclasses.replace(guide, z_depth=None) for guide in known], scene.depth_range, known


@pytest.fixture(scope="module")
def found(room):
    return estimate(*room[:2])


def test_depth_is_that_of_the_computed_room_and_surer_where_it_is_nearer_the_truth(room, found):
    """Half of the cells are within 1.5 % of the true depth; the surer half of the cells is twice as near."""
    errors = errors_of(found, room[2]).nan_to_num(9.0)
    confidence = torch.cat([view.confidence.flatten() for view in found.views.values()])
    is_sure = confidence > confidence.median()
    assert list(found.views) == [guide.id for guide in room[0]]
    assert float(errors.median()) < 0.015
    assert share(errors < 0.05) > 0.8
    assert float(errors[is_sure].median()) < 0.5 * float(errors[~is_sure].median())
    assert float(errors[is_sure].quantile(0.95)) < 0.05


def test_neither_the_order_of_views_nor_the_world_they_stand_in_matters(room, found):
    order_changes_no_bit(estimate, *room[:2], found)
    another_world_scales_depth_alone(estimate, *room[:2], found, most=0.01)


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

    with pytest.raises(NoOverlapError, match=r"tell no depth: where views agree most, [12]?[0-9]% of them do"):
        build_geometry("sweep").estimate(wrong, depth_range, no_tracks)


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
