"""The pencil of homographies against the projection of points, one by one."""

import torch

from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.projection import transfer
from lift3d.geometry.rays import cell_centers
from tests.support.scenes import pinhole, some_motion


def test_a_sweep_equals_the_projection_of_points_in_any_world():
    new2world = torch.linalg.inv(some_motion())
    a, b = pinhole(w2c=new2world), pinhole(w2c=_turned(0.3) @ new2world)
    uv = cell_centers(6, 8, (8.0, 8.0))
    z_depth = torch.tensor([1.0, 2.0, 7.0])
    at, relative_z = Sweep.between(uv, a, b).at(1 / z_depth[:, None, None])
    for plane, z in enumerate(z_depth):
        flat = uv.reshape(-1, 2)
        uv_b, z_b = transfer(flat, torch.full_like(flat[:, 0], float(z)), (a.K, a.w2c), (b.K, b.w2c))
        is_near = (at[plane].abs() < 2).all(-1).reshape(-1)
        got = (at[plane].reshape(-1, 2) + 1) / 2 * torch.tensor([64.0, 48.0])
        torch.testing.assert_close(got[is_near], uv_b[is_near], rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(relative_z[plane].reshape(-1) * z, z_b, rtol=1e-5, atol=1e-5)
        assert bool(is_near.any())


def test_points_behind_the_other_camera_are_far_outside():
    a, b = pinhole(), pinhole(w2c=torch.diag(torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64)))
    at, _ = Sweep.between(cell_centers(6, 8, (8.0, 8.0)), a, b).at(torch.tensor([0.5])[:, None, None])
    assert bool((at.abs() > 1).any(-1).all())
    assert bool(torch.isfinite(at).all())


def _turned(angle: float) -> torch.Tensor:
    w2c = torch.eye(4, dtype=torch.float64)
    turn = torch.tensor(angle, dtype=torch.float64)
    w2c[0, 0] = w2c[2, 2] = turn.cos()
    w2c[0, 2], w2c[2, 0] = turn.sin(), -turn.sin()
    w2c[:3, 3] = torch.tensor([-0.5, 0.1, 0.2])
    return w2c
