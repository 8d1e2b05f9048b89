import torch

from lift3d.geometry.triangulation import refine_points, reprojection_offsets
from tests.support.scenes import row_of_cameras


def _observed(xyz: torch.Tensor, view_count: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Every point in every camera: point index, K, w2c, exact pixels."""
    cameras = row_of_cameras(view_count, 0.25)
    point = torch.arange(len(xyz)).repeat_interleave(view_count)
    K = torch.stack([camera.K for camera in cameras]).repeat(len(xyz), 1, 1)
    w2c = torch.stack([camera.w2c for camera in cameras]).repeat(len(xyz), 1, 1)
    uv, _, _ = reprojection_offsets(xyz[point], torch.zeros(len(point), 2, dtype=torch.float64), K, w2c)
    return point, K, w2c, uv


_POINTS = torch.tensor([[0.1, -0.2, 2.0], [-0.5, 0.3, 4.0], [0.4, 0.4, 1.5]], dtype=torch.float64)


def test_exact_pixels_give_the_points_back() -> None:
    point, K, w2c, uv = _observed(_POINTS)
    start = _POINTS * 1.1 + 0.02
    assert torch.allclose(refine_points(start, point, uv, K, w2c, step_count=8), _POINTS, atol=1e-9)


def test_noise_leaves_no_first_order_gain() -> None:
    """At the least-squares place the gradient of the squared error vanishes."""
    point, K, w2c, uv = _observed(_POINTS)
    noisy = uv + 0.3 * torch.randn(uv.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    refined = refine_points(_POINTS, point, noisy, K, w2c, step_count=8)
    offset, derivative, _ = reprojection_offsets(refined[point], noisy, K, w2c)
    gradient = torch.zeros_like(refined).index_add_(0, point, (derivative.transpose(1, 2) @ offset[..., None])[..., 0])
    assert gradient.abs().max() < 1e-6
    before = reprojection_offsets(_POINTS[point], noisy, K, w2c)[0].square().sum()
    assert offset.square().sum() < before


def test_a_point_with_parallel_rays_stays() -> None:
    point, K, w2c, uv = _observed(_POINTS[:1], view_count=1)
    assert torch.equal(refine_points(_POINTS[:1], point[:0], uv[:0], K[:0], w2c[:0]), _POINTS[:1])


def test_the_derivative_is_the_difference_quotient() -> None:
    point, K, w2c, uv = _observed(_POINTS)
    _, derivative, _ = reprojection_offsets(_POINTS[point], uv, K, w2c)
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-6
        ahead, _, _ = reprojection_offsets(_POINTS[point] + step, uv, K, w2c)
        behind, _, _ = reprojection_offsets(_POINTS[point] - step, uv, K, w2c)
        assert torch.allclose((ahead - behind) / 2e-6, derivative[..., axis], atol=1e-4)
