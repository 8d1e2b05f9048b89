import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from lift3d.geometry.projection import is_inside, project, transfer, unproject
from lift3d.geometry.rays import baseline_angle, directions_z1, inverse_depth_planes
from lift3d.geometry.rigid import inverse, nearest_rotation, transform
from tests.support.strategies import cameras, pixels, rigid_transforms, rotations
from tests.support.warping import rotation_angle


@given(st.data(), cameras(), st.floats(0.1, 50))
def test_projecting_undoes_unprojecting(data, camera, depth):
    uv = data.draw(pixels(camera))
    z = torch.full((len(uv),), depth, dtype=torch.float64)
    again, is_in_front = project(unproject(uv, z, camera.K), camera.K)
    assert bool(is_in_front.all())
    torch.testing.assert_close(again, uv, rtol=1e-9, atol=1e-7)


@given(rigid_transforms())
def test_the_inverse_of_a_rigid_transform(a2b):
    torch.testing.assert_close(inverse(a2b) @ a2b, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-10)


@given(rigid_transforms(), rigid_transforms())
def test_transforms_compose_right_to_left(a2b, b2c):
    xyz = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(transform(b2c @ a2b, xyz), transform(b2c, transform(a2b, xyz)))


@given(rotations(), st.floats(0, 5e-4))
def test_the_nearest_rotation_undoes_a_small_stretch(rotation, stretch):
    stretched = rotation @ torch.diag(torch.tensor([1 + stretch, 1.0, 1 - stretch], dtype=torch.float64))
    found = nearest_rotation(stretched)
    torch.testing.assert_close(found @ found.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert rotation_angle(found, rotation) < 1e-9 + stretch**2


@given(st.data(), cameras(), cameras())
def test_transfer_there_and_back_is_the_identity(data, first, second):
    uv = data.draw(pixels(first))
    z = torch.full((len(uv),), 4.0, dtype=torch.float64)
    a, b = (first.K, first.w2c), (second.K, second.w2c)
    uv_b, z_b = transfer(uv, z, a, b)
    seen = torch.isfinite(uv_b).all(-1) & (z_b > 0.05)
    back, z_back = transfer(uv_b[seen], z_b[seen], b, a)
    torch.testing.assert_close(back, uv[seen], rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(z_back, z[seen], rtol=1e-6, atol=1e-6)


def test_points_behind_the_camera_have_no_pixel_and_unknown_depth_gives_unknown_points():
    uv, is_in_front = project(torch.tensor([[0.0, 0, -1], [0, 0, 1]]), torch.eye(3))
    assert is_in_front.tolist() == [False, True]
    assert torch.isnan(uv[0]).all()
    assert is_inside(uv, 4, 4).tolist() == [False, True]
    assert torch.isnan(unproject(torch.ones(1, 2), torch.tensor([torch.nan]), torch.eye(3))).all()


def test_ray_directions_have_unit_depth():
    K = torch.tensor([[100.0, 0, 32], [0, 100, 24], [0, 0, 1]], dtype=torch.float64)
    direction = directions_z1(torch.tensor([[32.0, 24.0], [132.0, 24.0]]), K)
    torch.testing.assert_close(direction, torch.tensor([[0.0, 0, 1], [1, 0, 1]]))


@given(st.floats(0.01, 3.1))
def test_the_baseline_angle_of_an_isosceles_triangle(angle):
    half = math.tan(angle / 2)
    point = torch.tensor([[0.0, 0, 1]], dtype=torch.float64)
    a, b = torch.tensor([-half, 0, 0], dtype=torch.float64), torch.tensor([half, 0, 0], dtype=torch.float64)
    assert math.isclose(float(baseline_angle(point, a, b)[0]), angle, rel_tol=1e-9)


def test_planes_are_even_in_disparity():
    planes = inverse_depth_planes(0.5, 50.0, 33)
    steps = (1 / planes).diff()
    assert math.isclose(float(planes[0]), 0.5, rel_tol=1e-6)
    assert math.isclose(float(planes[-1]), 50.0, rel_tol=1e-6)
    torch.testing.assert_close(steps, steps[:1].expand(32), rtol=1e-3, atol=1e-6)
