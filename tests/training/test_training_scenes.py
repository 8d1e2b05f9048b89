"""Computed training scenes: exact geometry, equal for equal seeds."""

import numpy as np
import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.synthetic.families import FAMILIES
from lift3d.synthetic.training_scenes import Sensor, render_scene, scene_size
from tests.support.warping import correspondences, warp

# Whole scenes are drawn.
pytestmark = pytest.mark.slow

SIZE = ImageSize(64, 80)


def _view(scene, number):
    image = torch.from_numpy(scene.images[number].astype(np.float32) / 255)
    z_depth = 1 / torch.from_numpy(scene.disparity[number].astype(np.float32))
    return image, z_depth, (torch.from_numpy(scene.K), torch.from_numpy(scene.w2c[number]))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_true_depth_takes_colours_from_one_view_to_another(family):
    scene = render_scene((3, 1), family=family, size=SIZE, sensor=Sensor())
    # No camera stands in or against a thing.
    assert 0 < scene.disparity.min() <= scene.disparity.max() < 20
    image_a, z_a, camera_a = _view(scene, 6)
    errors, apart = [], []
    for other in (5, 7):
        image_b, z_b, camera_b = _view(scene, other)
        uv, is_seen = correspondences(z_a, z_b, camera_a, camera_b, relative_tolerance=0.01)
        assert is_seen.float().mean() > 0.15
        error = (warp(image_b, uv) - image_a).abs().mean(0)[is_seen]
        errors.append(float(error.median()))
        apart.append(float((image_b - image_a).abs().mean(0)[is_seen].mean()))
    # Highlights and edges aside, a surface has one colour.
    assert max(errors) < 0.03
    assert np.mean(errors) < np.mean(apart) / 2


def test_a_wrong_pose_moves_the_picture_by_a_fraction_of_a_pixel():
    clean, wrong = (render_scene((8, 3), size=SIZE, sensor=one) for one in (Sensor(), Sensor(pose_px=0.3)))
    relative = wrong.w2c[:, :3, :3] @ clean.w2c[:, :3, :3].transpose(0, 2, 1)
    angle = np.arccos(((np.trace(relative, axis1=1, axis2=2) - 1) / 2).clip(-1, 1))
    assert 0 < np.median(angle * clean.K[0, 0]) < 1.2
    assert np.array_equal(clean.images, wrong.images)


def test_sizes_are_of_many_shapes_and_known_before_rendering():
    sizes = {(size.height, size.width) for size in (scene_size((1, index)) for index in range(200))}
    assert {height for height, _ in sizes} == {96, 128, 160, 192}
    assert any(width < height for height, width in sizes)
    assert all(width % 16 == 0 for _, width in sizes)
    small = next((1, index) for index in range(200) if scene_size((1, index)) == ImageSize(96, 64))
    assert render_scene(small).images.shape[2:] == (96, 64)
