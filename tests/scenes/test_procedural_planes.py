"""The analytic scenes of the tests are themselves exact."""

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.geometry.projection import is_inside
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample
from tests.support.scenes import (
    ArrayFrame,
    Plane,
    moved_scene,
    plane_homography,
    some_motion,
    textured_plane_scene,
    two_planes_scene,
)
from tests.support.warping import correspondences, warp


@pytest.mark.parametrize("slant", [0.0, 0.4])
def test_a_plane_maps_by_its_homography(slant: float) -> None:
    scene = textured_plane_scene(3, ImageSize(96, 128), slant=slant)
    a, b = scene.views[0].load(), scene.views[2].load()
    homography = plane_homography(Plane(normal=(slant, 0.0, -1.0)), a.camera, b.camera)
    uv = cell_centers(96, 128).double()
    mapped = torch.cat([uv, torch.ones(96, 128, 1, dtype=torch.float64)], dim=-1) @ homography.T
    uv_b = (mapped[..., :2] / mapped[..., 2:]).float()
    inside = is_inside(uv_b, 96, 128)
    assert inside.float().mean() > 0.6
    assert (sample(b.image, uv_b) - a.image).abs().amax(0)[inside].quantile(0.99) < 0.02
    assert a.z_depth is not None
    assert b.z_depth is not None
    by_depth, seen = correspondences(a.z_depth, b.z_depth, (a.camera.K, a.camera.w2c), (b.camera.K, b.camera.w2c), 0.03)
    assert torch.allclose(by_depth[seen], uv_b[seen], atol=1e-3)


def test_the_card_hides_the_wall() -> None:
    scene = two_planes_scene(3)
    a, b = scene.views[0].load(), scene.views[2].load()
    assert a.z_depth is not None
    assert b.z_depth is not None
    assert a.labels is not None
    assert set(a.labels.unique().tolist()) == {0, 1}
    uv_b, seen = correspondences(a.z_depth, b.z_depth, (a.camera.K, a.camera.w2c), (b.camera.K, b.camera.w2c))
    hidden = ~seen & is_inside(uv_b, 48, 64)
    assert hidden.any()
    # Besides the wall behind the card, only pixels on the card's own outline may fail to find their surface.
    assert (a.labels[hidden] == 1).float().mean() > 0.7
    error = (warp(b.image, uv_b) - a.image).abs().mean(0)
    assert error[hidden].mean() > 3 * error[seen].mean()


def test_frames_in_memory_keep_their_pixels_and_moving_keeps_frames() -> None:
    scene = textured_plane_scene(2)
    frame = scene.views[0].load()
    held = ArrayFrame(frame)
    assert torch.equal(held.load(frame.camera, frame.camera.size).image, frame.image)
    assert held.load(frame.camera, ImageSize(24, 32)).is_valid.shape == (24, 32)
    assert held.content_digest() != ArrayFrame(scene.views[1].load()).content_digest()
    moved = moved_scene(scene, some_motion())
    assert torch.equal(moved.views[0].load().image, frame.image)
