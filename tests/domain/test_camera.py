import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lift3d.domain.camera import Camera, ImageSize
from lift3d.errors import CameraError, ConfigError
from lift3d.geometry.projection import project
from tests.support.strategies import cameras, rotations


def points_in_front(draw, count=6):
    xy = [[draw(st.floats(-2, 2)), draw(st.floats(-2, 2)), draw(st.floats(0.5, 9))] for _ in range(count)]
    return torch.tensor(xy, dtype=torch.float64)


@given(st.data(), cameras())
def test_resizing_then_projecting_is_projecting_then_resizing(data, camera):
    size = ImageSize(data.draw(st.integers(4, 500)), data.draw(st.integers(4, 500)))
    xyz = points_in_front(data.draw)
    uv, _ = project(xyz, camera.K)
    scaled = uv * torch.tensor([size.width / camera.size.width, size.height / camera.size.height], dtype=torch.float64)
    torch.testing.assert_close(project(xyz, camera.resized(size).K)[0], scaled, rtol=1e-9, atol=1e-6)


@given(st.data(), cameras())
def test_cropping_shifts_pixels(data, camera):
    top, left = data.draw(st.integers(-20, 20)), data.draw(st.integers(-20, 20))
    xyz, shift = points_in_front(data.draw), torch.tensor([left, top], dtype=torch.float64)
    uv, _ = project(xyz, camera.K)
    torch.testing.assert_close(project(xyz, camera.cropped(top, left, ImageSize(4, 4)).K)[0], uv - shift)


@given(cameras())
def test_world_to_camera_to_world_is_the_identity(camera):
    torch.testing.assert_close(camera.w2c @ camera.c2w, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-9)
    homogeneous = torch.cat([camera.center, torch.ones(1, dtype=torch.float64)])
    torch.testing.assert_close((camera.w2c @ homogeneous)[:3], torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("axes", "said"), [([1, 1, -1], "rigid"), (3 * [1.001], "orthonormal"), (3 * [0.5], "orthonormal")]
)
@given(rotations())
def test_a_reflection_and_a_scaled_rotation_are_refused(axes, said, rotation):
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3] = rotation @ torch.diag(torch.tensor(axes, dtype=torch.float64))
    with pytest.raises(CameraError, match=said):
        Camera(torch.eye(3), w2c, ImageSize(4, 4))


@pytest.mark.parametrize(("place", "value"), [((0, 0), torch.nan), ((0, 0), -1), ((1, 0), 0.1), ((2, 2), 2)])
def test_what_is_no_pinhole_is_refused(place, value):
    K = torch.eye(3)
    K[place] = value
    with pytest.raises(CameraError):
        Camera(K, torch.eye(4), ImageSize(4, 4))


def test_a_camera_survives_pickling():
    camera = Camera(torch.eye(3), torch.eye(4), ImageSize(4, 6))
    again = pickle.loads(pickle.dumps(camera))
    assert torch.equal(again.K, camera.K)
    assert again.size == camera.size


def test_an_empty_image_is_refused():
    with pytest.raises(ConfigError):
        ImageSize(0, 5)
