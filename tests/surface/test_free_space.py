"""Transparent pixels are empty and carve; what a mask hides is unknown and does not."""

import dataclasses
from functools import partial

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.surface.anchored import Anchored
from lift3d.surface.catalog import build_geometry
from lift3d.surface.free_space import carved, empty_cells
from lift3d.surface.keyframes import keyframes
from lift3d.surface.scene_surface import SceneSurface
from tests.support.scenes import ball_scene
from tests.support.surfaces import errors_of, unasked_tracks

FLOATER = (slice(20, 28), slice(24, 36))


def guides_of(scene):
    frames = {view.id: view.load() for view in scene.views}
    return [
        SourceGuide(name, one.camera, one.image, one.is_valid, 1.0, one.z_depth, one.is_empty)
        for name, one in frames.items()
    ]


def estimated(guides, depth_range, method):
    return build_geometry(method).estimate(guides, depth_range, unasked_tracks)


@pytest.mark.parametrize("is_transparent", [True, False])
def test_what_falls_onto_transparent_pixels_of_others_is_cut_and_what_falls_onto_masked_ones_stays(is_transparent):
    scene = ball_scene(is_transparent=is_transparent)
    guides = guides_of(scene)
    geometry = estimated(guides, scene.depth_range, "sensor")
    view = geometry.views["0003"]
    z_depth = view.z_depth.clone()
    z_depth[FLOATER] = 1.6
    floating = {**geometry.views, "0003": ViewGeometry(view.camera, view.grid, z_depth, view.confidence)}
    found = carved(SceneGeometry(geometry.method, floating), guides).views["0003"]
    assert bool(torch.isnan(found.z_depth[FLOATER]).all()) == is_transparent
    ball = torch.isfinite(view.z_depth)
    ball[FLOATER] = False
    assert float(torch.isfinite(found.z_depth[ball]).float().mean()) > 0.97
    assert bool(torch.isinf(found.z_depth[0, 0])) == is_transparent
    assert float(found.confidence[0, 0]) == float(is_transparent)


@pytest.mark.parametrize("method", ["sensor", "sweep"])
def test_rays_through_nothing_are_not_covered_and_those_of_the_ball_are(method):
    """Seen by a camera that no view has: half of the coverage would be smeared without free space."""
    ball = partial(ball_scene, 16) if method == "sensor" else partial(ball_scene, 9, step_deg=9, rise=0.2)
    scene = ball(has_depth=method == "sensor")
    guides = guides_of(scene)
    sources = [one for one in guides if one.id != "0004"]
    geometry = carved(estimated(sources, scene.depth_range, method), sources)
    known = [one for one in guides_of(ball()) if one.id in geometry.views]
    assert float(errors_of(geometry, known).nanmedian()) < 0.02
    surface = SceneSurface.of(geometry, keyframes(SceneSurface.of(geometry)))
    target = next(one for one in guides if one.id == "0004")
    found = Anchored().anchor(surface, target.camera, surface.ids, 16)
    covered = found.is_shown.reshape(1, 1, *found.grid.shape).float()
    share = torch.nn.functional.interpolate(target.is_valid[None, None].float(), found.grid.shape, mode="area")
    wide = torch.nn.functional.max_pool2d(share, 3, 1, 1)
    narrow = -torch.nn.functional.max_pool2d(-share, 3, 1, 1)
    assert float(covered[wide == 0].mean()) < 0.01
    assert float(covered[narrow == 1].mean()) > 0.97


@pytest.mark.parametrize("width", [64, 63])
def test_cells_of_two_pixels_are_empty_by_their_own_pixels_whatever_fills_the_image(width):
    camera = guides_of(ball_scene())[0].camera
    camera = dataclasses.replace(camera, size=ImageSize(48, width))
    is_empty = torch.arange(width).expand(48, width) < width // 2
    guide = SourceGuide("0000", camera, torch.zeros(3, 48, width), ~is_empty, 1.0, None, is_empty)
    grid = FeatureGrid.covering(camera.size, 2.0)
    view = ViewGeometry(camera, grid, torch.full(grid.shape, 2.0), torch.ones(grid.shape))
    found = carved(SceneGeometry("sweep", {"0000": view}), [guide]).views["0000"]
    assert torch.equal(torch.isinf(found.z_depth), empty_cells(guide.is_empty, grid.shape))
