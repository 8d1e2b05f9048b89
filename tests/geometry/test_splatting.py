"""Splats on the cells of a camera: in bands as at once, as gsplat projects them, and by gsplat's call as in torch."""

import inspect

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.geometry import splatting
from lift3d.geometry.gaussians import CELL_VARIANCE, Ellipses, Gaussians
from lift3d.geometry.rigid import look_at
from lift3d.geometry.splatting import BandedPicture

gsplat = pytest.importorskip("gsplat")

SIZE = ImageSize(24, 32)
# Cells that are no pixels: wider than high.
GRID = FeatureGrid(12, 8, 4.0, 2.0)
COUNT = 60


@pytest.fixture
def camera():
    K = torch.tensor([[30.0, 0, 15.5], [0, 28.0, 12.5], [0, 0, 1]], dtype=torch.float64)
    return Camera(K, look_at(*torch.tensor([[0.3, -4.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64)), SIZE)


@pytest.fixture
def splats():
    random = torch.Generator().manual_seed(3)
    xyz = torch.randn(COUNT, 3, generator=random, dtype=torch.float64)
    scale = 0.05 + 0.3 * torch.rand(COUNT, 3, generator=random, dtype=torch.float64)
    rotation = torch.randn(COUNT, 4, generator=random, dtype=torch.float64)
    return Gaussians.of(xyz, torch.rand(COUNT, generator=random, dtype=torch.float64), scale, rotation)


@pytest.fixture
def values():
    return torch.rand(COUNT, 5, generator=torch.Generator().manual_seed(4))


def test_bands_show_what_one_picture_shows(camera, splats, values, monkeypatch):
    whole = BandedPicture(camera, GRID, splats, 0.1)
    picture, total = whole.rendered(values)
    depth, _ = whole.rendered_depth()
    cells = torch.rand(GRID.cell_count, 3, generator=torch.Generator().manual_seed(5))
    back, weight = whole.given_back(cells, COUNT)
    monkeypatch.setattr(splatting, "MOST_PAIRS", 40)
    banded = BandedPicture(camera, GRID, splats, 0.1)
    assert len([*banded.bands()]) > 3
    torch.testing.assert_close(banded.rendered(values), (picture, total))
    torch.testing.assert_close(banded.rendered_depth()[0], depth, equal_nan=True)
    torch.testing.assert_close(banded.given_back(cells, COUNT), (back, weight))


def test_splats_are_projected_as_gsplat_projects_them(camera, splats):
    from gsplat.cuda._torch_impl import _fully_fused_projection

    own = Ellipses.of(camera, FeatureGrid.covering(SIZE, 1.0), splats, 0.1)
    _, means, depths, conics, compensations = _fully_fused_projection(
        splats.xyz[None].float(), splats.covariance[None].float(), camera.w2c[None, None].float(),
        camera.K[None, None].float(), SIZE.width, SIZE.height, CELL_VARIANCE, 0.1, calc_compensations=True,
    )  # fmt: skip
    torch.testing.assert_close(own.uv.float(), means[0, 0, own.splat], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(own.z_depth.float(), depths[0, 0, own.splat])
    inverse = torch.linalg.inv(own.covariance)
    packed = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], dim=1)
    torch.testing.assert_close(packed.float(), conics[0, 0, own.splat], rtol=2e-3, atol=1e-5)
    opacity = splats.opacity.float() * compensations[0, 0]
    torch.testing.assert_close(own.opacity.float(), opacity[own.splat], rtol=2e-3, atol=1e-5)


def drawn_densely(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options):
    """What gsplat.rasterization promises, all splats at all pixels: a few lines, for a few splats."""
    from gsplat.cuda._torch_impl import _fully_fused_projection

    assert options["rasterize_mode"] == "antialiased"
    _, uv, z, conics, compensations = _fully_fused_projection(
        means[None], options["covars"][None], viewmats[None], Ks[None], width, height, options["eps2d"],
        options["near_plane"], calc_compensations=True,
    )  # fmt: skip
    order = z[0, 0].argsort()
    row, col = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y = col[..., None] - uv[0, 0, order, 0], row[..., None] - uv[0, 0, order, 1]
    a, b, c = conics[0, 0, order].T
    alpha = opacities[order] * compensations[0, 0, order] * (-(a * x * x + 2 * b * x * y + c * y * y) / 2).exp()
    alpha = torch.where(alpha > 1 / 255, alpha.clamp(max=0.99), 0.0)
    light = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha[..., :-1]], dim=-1), dim=-1)
    weight = alpha * light
    return (weight @ colors[order])[None], weight.sum(-1)[None, ..., None], {}


def test_a_picture_by_gsplat_is_that_of_torch(camera, splats, values, monkeypatch):
    from lift3d.geometry import gsplat as drawing

    known = inspect.signature(gsplat.rasterization).parameters
    monkeypatch.setattr(gsplat, "rasterization", lambda **given: drawn_densely(**given) if {*given} <= {*known} else 0)
    # Wider than it is drawn at once.
    monkeypatch.setattr(drawing, "_CHANNELS", 2)
    by_gsplat, own = drawing.GsplatPicture(camera, GRID, splats, 0.1, "cpu"), BandedPicture(camera, GRID, splats, 0.1)
    cells = torch.rand(GRID.cell_count, 3, generator=torch.Generator().manual_seed(5))
    cells[7] = torch.nan
    # Beyond three deviations ours shows nothing.
    close = {"rtol": 0.02, "atol": 0.02}
    for one, other in (
        (by_gsplat.rendered(values), own.rendered(values)),
        (by_gsplat.given_back(cells, COUNT), own.given_back(cells, COUNT)),
    ):
        torch.testing.assert_close(one, other, **close)
    (depth, total), (own_depth, _) = by_gsplat.rendered_depth(), own.rendered_depth()
    torch.testing.assert_close(depth[total > 0.5], own_depth[total > 0.5].to(depth), rtol=0.03, atol=0.0)
    assert splatting.splat_picture(camera, GRID, splats, 0.1).__class__.__name__ == (
        "GsplatPicture" if torch.cuda.is_available() and drawing.has_kernels() else "BandedPicture"
    )
