import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.lifted import Prediction
from lift3d.errors import ShapeError
from lift3d.geometry.sampling import sample
from lift3d.metrics.counting import Corners, counted_cells
from lift3d.metrics.fidelity import (
    embedding_cosine_2d,
    feature_cosine,
    label_agreement_2d,
    psnr_2d,
    scalar_error_2d,
)
from lift3d.metrics.image_quality import psnr, ssim, ssim_map
from lift3d.metrics.scoring import coverage
from lift3d.metrics.sharpness import gradient_magnitudes, sharpness
from tests.metrics.evidence_builders import frames_of, lifted_view, replaced, view_evidence, with_noise

FRAME = frames_of(1)[0]
TRUTH = Prediction("image", FRAME.image, FRAME.is_valid)


@pytest.mark.parametrize(
    ("metric", "kind", "perfect"),
    [
        (feature_cosine, "image", 1),
        (label_agreement_2d, "labels", 1),
        (psnr_2d, "image", 100),
        (scalar_error_2d, "scalar", 0),
        (scalar_error_2d, "masks", 0),
        (embedding_cosine_2d, "embedding", 1),
        (psnr, "truth", 100),
        (ssim, "truth", 1),
        (sharpness, "image", 1),
        (sharpness, "labels", 1),
    ],
)
def test_the_plain_answer_is_perfect_and_noise_is_not(metric, kind, perfect):
    evidence = view_evidence(FRAME, lifted=TRUTH) if kind == "truth" else view_evidence(FRAME, kind)
    worse = [abs(metric.score(with_noise(evidence, s)).value - perfect) for s in (0.02, 0.1, 0.5)]
    assert metric.score(evidence).value == pytest.approx(perfect, abs=1e-9)
    assert 0 < worse[0] < worse[1] < worse[2]


def against(ours, plain):
    """Evidence of lifted features and of the operator's own."""
    grid = FeatureGrid(12, 16, 4.0, 4.0)
    evidence = view_evidence(FRAME, features=FeatureMap(ours, grid))
    return replace(evidence, plain=lifted_view(FRAME, "v0", FeatureMap(plain, grid), TRUTH))


def test_features_by_hand_and_many_channels_summed_over_all_blocks():
    ours = torch.tensor([3.0, 7.0])[:, None, None].expand(2, 12, 16)
    evidence = against(ours, torch.full((2, 12, 16), 3.0))
    assert feature_cosine.score(evidence).value == pytest.approx(30 / math.sqrt(18 * 58))
    empty = against(torch.zeros(2, 12, 16), torch.ones(2, 12, 16))
    assert feature_cosine.score(empty).value == 0
    a, b = torch.randn(2, 200, 12, 16, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0).mean()
    assert feature_cosine.score(against(a, b)).value == pytest.approx(float(expected), abs=1e-12)
    other = FeatureMap(torch.zeros(6, 3, 4), FeatureGrid(3, 4, 16.0, 16.0))
    with pytest.raises(ShapeError, match="grid"):
        feature_cosine.score(view_evidence(FRAME, features=other))


def test_label_agreement_and_psnr_by_hand():
    evidence = view_evidence(FRAME, "labels")
    values = evidence.plain.prediction.values.clone()
    values[:12] += 10
    ours = replaced(evidence, Prediction("labels", values, FRAME.is_valid))
    assert label_agreement_2d.score(ours).value == pytest.approx(36 / 48)
    shifted = Prediction("image", FRAME.image + 0.1, FRAME.is_valid)
    assert psnr.score(view_evidence(FRAME, lifted=shifted)).value == pytest.approx(20, abs=1e-4)


def test_ssim_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(3, 40, 30, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = structural_similarity(
        a.numpy(), b.numpy(), channel_axis=0, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
    )
    assert float(ssim_map(a, b).mean()) == pytest.approx(expected, abs=1e-9)


def test_coverage_is_the_mean_over_cells_that_count():
    evidence = view_evidence(FRAME)
    covered = evidence.lifted.lifted[0].coverage.clone()
    covered[:, :8] = 0
    part = replace(evidence.lifted, lifted=(replace(evidence.lifted.lifted[0], coverage=covered),))
    assert coverage.score(replace(evidence, lifted=part)).value == pytest.approx(0.5)
    right = torch.zeros_like(evidence.counts)
    right[:, 32:] = True
    assert coverage.score(replace(evidence, lifted=part, counts=right)).value == 1


def test_blur_lowers_sharpness_a_flat_answer_has_none_and_gradients_are_those_by_hand():
    evidence = view_evidence(FRAME, lifted=TRUTH)
    evidence = replace(evidence, plain=lifted_view(FRAME, "v0", evidence.filled[0], TRUTH))
    blurred = torch.nn.functional.avg_pool2d(FRAME.image[None], 5, stride=1, padding=2)[0]
    assert sharpness.score(replaced(evidence, Prediction("image", blurred, FRAME.is_valid))).value < 0.95
    flat = Prediction("image", torch.full_like(FRAME.image, 0.5), FRAME.is_valid)
    assert sharpness.score(replaced(evidence, flat)).value == 0
    plain_flat = replace(evidence, plain=lifted_view(FRAME, "v0", evidence.filled[0], flat))
    assert sharpness.score(plain_flat).reason.startswith("flat")
    ramp = (3 * torch.arange(4.0)[:, None] + 4 * torch.arange(5.0)[None, :])[None]
    counts = torch.ones(4, 5, dtype=torch.bool)
    assert torch.allclose(gradient_magnitudes(ramp, counts), torch.full((12,), 5.0, dtype=torch.float64))
    counts[0, 0] = False
    assert len(gradient_magnitudes(ramp, counts)) == 11


def test_reading_touches_only_cells_with_weight():
    values = torch.tensor([[[1.0, math.nan, 3.0]]])
    counts = torch.tensor([[True, False, True]])
    uv = torch.tensor([[1.0, 1.0], [1.5, 1.0], [5.5, 0.1]])
    corners = Corners.bilinear(uv, FeatureGrid(1, 3, 2.0, 2.0))
    assert corners.count(counts).tolist() == [True, False, True]
    assert corners.read(values)[[0, 2], 0].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("point_count", [5, 500])
def test_reading_is_bilinear_sampling_for_few_points_and_for_many(point_count):
    values = torch.rand(3, 7, 9, generator=torch.Generator().manual_seed(0))
    uv = torch.rand(point_count, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([36.0, 28.0])
    found = Corners.bilinear(uv, FeatureGrid(7, 9, 4.0, 4.0)).read(values)
    torch.testing.assert_close(found.T.float(), sample(values, uv, (4.0, 4.0)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "grid",
    [(3, 4, 16.0, 16.0), (5, 3, 13.7, 9.1, -6.5, 2.25), (6, 9, 16.0, 16.0, -20.0, -20.0), (100, 130, 0.5, 0.5)],
)
def test_counted_cells_are_those_whose_pixels_count_one_by_one(grid):
    grid = FeatureGrid(*grid)
    counts = torch.rand(48, 64, generator=torch.Generator().manual_seed(0)) < 0.5
    # Half of a cell is enough.
    counts[:16, :16] = torch.arange(16) < 8
    expected = torch.zeros(grid.rows, grid.cols, dtype=torch.bool)
    for r in range(grid.rows):
        for c in range(grid.cols):
            left, top = grid.origin_u + grid.stride_u * c, grid.origin_v + grid.stride_v * r
            u, v = torch.arange(64) + 0.5, torch.arange(48) + 0.5
            mine = counts[(v >= top) & (v < top + grid.stride_v)][:, (u >= left) & (u < left + grid.stride_u)]
            x, y = math.floor(left + grid.stride_u / 2), math.floor(top + grid.stride_v / 2)
            at_center = 0 <= x < 64 and 0 <= y < 48 and bool(counts[y, x])
            expected[r, c] = 2 * int(mine.sum()) >= mine.numel() if mine.numel() else at_center
    assert torch.equal(counted_cells(counts, grid), expected)
