"""Depth of sensors that contradict each other: poses, units and views that are wrong."""

import dataclasses

import pytest
import torch

from lift3d.errors import NoOverlapError, SceneFormatError
from lift3d.surface.catalog import build_geometry
from tests.support.captures import capture
from tests.support.lifting import situation
from tests.support.scenes import Plane, pinhole, planes_scene
from tests.support.surfaces import unasked_tracks


def estimate(guides, depth_range):
    return build_geometry("sensor").estimate(guides, depth_range, unasked_tracks)


@pytest.fixture(scope="module")
def planes():
    """A card before a wall, seen from an arc: from a row, any depth of a wall agrees with itself."""
    cameras = [pinhole(w2c=torch.linalg.inv(torch.from_numpy(c2w))) for c2w in capture(5).c2w]
    card = Plane(point=(0.3, 0.0, 0.0), half_width=0.7)
    return situation(planes_scene((card, Plane(point=(0.0, 0.0, 1.5), seed=1)), cameras), target=None)[1:]


@pytest.mark.parametrize("wrong", ["poses of other views", "depth in millimetres"])
def test_views_that_contradict_each_other_are_refused(planes, wrong):
    guides, depth_range = planes
    if wrong == "depth in millimetres":
        given = [dataclasses.replace(guide, z_depth=1000 * guide.z_depth) for guide in guides]
    else:
        turned = [guides[place].camera for place in (2, 4, 1, 0, 3)]
        given = [dataclasses.replace(guide, camera=camera) for guide, camera in zip(guides, turned, strict=True)]
    with pytest.raises(SceneFormatError, match="contradicted at"):
        estimate(given, depth_range)


def test_a_view_without_depth_stays_unknown_and_without_any_there_is_no_surface(planes):
    guides, depth_range = planes
    blind = dataclasses.replace(guides[2], z_depth=None)
    empty = dataclasses.replace(guides[3], z_depth=torch.full_like(guides[3].z_depth, torch.nan))
    found = estimate([*guides[:2], blind, empty], depth_range).views
    assert not any(bool((found[name].confidence > 0).any()) for name in (blind.id, empty.id))
    assert float((found["0000"].confidence > 0).float().mean()) > 0.95
    with pytest.raises(NoOverlapError, match="has depth of a sensor"):
        estimate([blind], depth_range)


def test_one_view_and_views_that_share_nothing_show_what_they_see_themselves(planes):
    guides, depth_range = planes
    far = guides[1].camera.w2c.clone()
    far[0, 3] += 1000
    apart = dataclasses.replace(guides[1], camera=dataclasses.replace(guides[1].camera, w2c=far))
    for views in (guides[:1], [guides[0], apart]):
        view = estimate(views, depth_range).views["0000"]
        assert torch.equal(view.z_depth, guides[0].z_depth)
