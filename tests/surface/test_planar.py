"""Planes in place of what has no texture: exact on plain walls, and only where the photographs agree with them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange
from lift3d.domain.scene_geometry import SceneGeometry
from lift3d.geometry.rays import cell_centers
from lift3d.scenes.catalog import read_scene
from lift3d.surface.catalog import PLANAR
from lift3d.surface.planar import PlanarGeometry
from lift3d.surface.planes import Plane, largest_plane
from lift3d.surface.sweep import SweepGeometry
from lift3d.surface.texture import texture
from tests.support.surfaces import unasked_tracks

_SCENE = "procedural:room?seed=1&views=8&height=72&width=96&plain=1&spacing=1.5"


class _Found:
    """A method whose surface was found before."""

    spec = PLANAR

    def __init__(self, found: SceneGeometry) -> None:
        self._found = found

    def estimate(self, *_: object) -> SceneGeometry:
        return self._found


_Room = tuple[list[SourceGuide], list[torch.Tensor], DepthRange, SceneGeometry]


@pytest.fixture(scope="module")
def room() -> _Room:
    """Views of a room with plain walls, their depth, and stereo."""
    scene = read_scene(_SCENE)
    frames = [view.load(72) for view in scene.views]
    guides = [
        SourceGuide(view.id, one.camera, one.image, one.is_valid) for view, one in zip(scene.views, frames, strict=True)
    ]
    truth = [one.z_depth for one in frames if one.z_depth is not None]
    stereo = SweepGeometry().estimate(guides, scene.depth_range, unasked_tracks)
    return guides, truth, scene.depth_range, stereo


@pytest.fixture(scope="module")
def found(room: _Room) -> SceneGeometry:
    guides, _, depth_range, stereo = room
    return _planar(guides, depth_range, stereo)


def _planar(guides: Sequence[SourceGuide], depth_range: DepthRange, rough: SceneGeometry) -> SceneGeometry:
    return PlanarGeometry(PLANAR, _Found(rough)).estimate(guides, depth_range, unasked_tracks)


def test_plain_walls_become_planes_that_are_ten_times_as_right_and_sure_cells_stay(
    room: _Room, found: SceneGeometry
) -> None:
    guides, truth, _, stereo = room
    assert "lies on" in found.notes[-1]
    before, after = [], []
    for view, true in zip(guides, truth, strict=True):
        was, now = stereo.views[view.id], found.views[view.id]
        is_plain = texture(view.image, was.grid) < 0.002
        before.append((was.z_depth / true - 1).abs().nan_to_num(1.0)[is_plain])
        after.append((now.z_depth / true - 1).abs().nan_to_num(1.0)[is_plain])
        is_textured = (texture(view.image, was.grid) > 0.05) & (was.confidence > 0.5)
        assert torch.equal(was.z_depth[is_textured], now.z_depth[is_textured])
        assert torch.equal(was.confidence[is_textured], now.confidence[is_textured])
    assert torch.cat(before).median() > 0.02
    assert torch.cat(after).median() < 0.1 * torch.cat(before).median()


def test_the_order_of_views_changes_nothing_nor_does_a_view_that_shares_no_place(
    room: _Room, found: SceneGeometry
) -> None:
    guides, _, depth_range, stereo = room
    far = guides[0].camera.w2c.clone()
    far[:3, 3] += 1e4
    lone = replace(guides[0], id="far", camera=replace(guides[0].camera, w2c=far))
    rough = SceneGeometry("stereo", {**stereo.views, "far": replace(stereo.views[guides[0].id], camera=lone.camera)})
    other = _planar([lone, *guides[::-1]], depth_range, rough)
    for name, view in (found.views | {"far": rough.views["far"]}).items():
        assert torch.equal(view.z_depth.nan_to_num(-1), other.views[name].z_depth.nan_to_num(-1))
    assert _planar([lone], depth_range, SceneGeometry("stereo", {"far": rough.views["far"]})).notes == ()


def test_where_photographs_agree_with_what_is_known_nothing_changes(room: _Room) -> None:
    guides, truth, depth_range, stereo = room
    exact = {
        name: replace(view, z_depth=true, confidence=torch.full_like(true, 0.2))
        for (name, view), true in zip(stereo.views.items(), truth, strict=True)
    }
    kept = _planar(guides, depth_range, SceneGeometry("exact", exact))
    for name, view in exact.items():
        assert (kept.views[name].z_depth / view.z_depth - 1).abs().quantile(0.95) < 0.01


def test_a_plane_is_seen_at_its_depth_and_found_among_points_that_lie_on_it() -> None:
    camera = read_scene(_SCENE).views[3].camera
    generator = torch.Generator().manual_seed(0)
    normal = np.array([0.6, 0.0, 0.8])
    plane = Plane(normal, float(normal @ camera.center.numpy()) + 2.0)
    uv = cell_centers(6, 8) * 12
    points = _points(plane, generator)
    noisy = torch.cat([points, 3 * torch.randn(100, 3, generator=generator, dtype=torch.float64)])
    found = largest_plane(noisy, torch.ones(300).double(), torch.full((300,), 0.01).double(), generator)
    assert found is not None
    sign = np.sign(found.normal @ normal)
    assert np.allclose(sign * found.normal, normal, atol=1e-9)
    assert sign * found.offset == pytest.approx(plane.offset)
    one, other = (each.disparity(camera, uv) for each in (plane, found))
    assert torch.allclose(one, other, rtol=1e-5)
    assert largest_plane(points[:2], torch.ones(2).double(), torch.ones(2).double(), generator) is None


def _points(plane: Plane, generator: torch.Generator) -> torch.Tensor:
    across = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    normal = torch.from_numpy(plane.normal)
    return across + (plane.offset - across @ normal)[:, None] * normal
