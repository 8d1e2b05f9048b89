"""Weights of an operator's grid: sums, tiles, surfaces and edges, who sees what."""

import dataclasses
import math

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import RayProposal
from lift3d.domain.weights import PER_CELL
from lift3d.errors import NoOverlapError
from lift3d.geometry.rays import cell_centers
from lift3d.lifters import weights as weights_module
from lift3d.lifters.weights import weights_at
from tests.support.lifting import same_bits

SIZE = ImageSize(48, 64)
GUIDE = FeatureGrid.covering(SIZE, 2.0)
COARSE = FeatureGrid.covering(SIZE, 4.0)


def camera(x=0.0, z=0.0, focal=60.0):
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[0, 3], w2c[2, 3] = -x, -z
    return Camera(torch.tensor([[focal, 0, 33.0], [0, focal, 22.0], [0, 0, 1]]), w2c, SIZE)


def proposal(z_depth, cameras, probability=None, view_weight=None):
    cells, samples = z_depth.shape
    return RayProposal(
        grid=GUIDE,
        target=camera(),
        sources=tuple(cameras),
        source_ids=tuple(f"view{index}" for index in range(len(cameras))),
        z_depth=z_depth,
        probability=torch.full((cells, samples), 1 / samples) if probability is None else probability,
        view_weight=torch.ones(cells, samples, len(cameras)) if view_weight is None else view_weight,
    )


def flat(depth, cameras):
    return proposal(torch.full((GUIDE.cell_count, 1), depth), cameras)


def random_proposal(source_count=5, samples=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (GUIDE.cell_count, samples)
    probability = torch.rand(shape, generator=generator)
    view_weight = torch.rand(*shape, source_count, generator=generator)
    return proposal(
        2 + 3 * torch.rand(shape, generator=generator),
        [camera(0.2 * index - 0.4) for index in range(source_count)],
        probability / probability.sum(1, keepdim=True) * (torch.rand(shape[0], 1, generator=generator) > 0.2),
        view_weight * (view_weight > 0.4),
    )


def surfaces(weights, cell, source=0):
    """Distinct tap positions of one source at a cell, with their weights, left to right."""
    is_tap = (weights.weight[cell] > 0) & (weights.source[cell] == source)
    u, weight = weights.uv[cell, is_tap, 0], weights.weight[cell, is_tap]
    order = u.argsort()
    return u[order].tolist(), weight[order].tolist()


@pytest.mark.parametrize("stride", [1.0, 3.0, 14.0])
@pytest.mark.parametrize("tap_count", [1, 4, 32])
def test_weights_sum_to_one_exactly_where_covered(stride, tap_count):
    weights = weights_at(random_proposal(), FeatureGrid.covering(SIZE, stride), tap_count=tap_count)
    is_covered = weights.coverage > 0
    assert 0 < is_covered.sum() <= is_covered.numel()
    torch.testing.assert_close(weights.weight.sum(1), is_covered.float(), rtol=0, atol=1e-6)
    assert bool((weights.weight >= 0).all())
    assert torch.equal(torch.isnan(weights.z_depth), ~is_covered)
    assert bool(torch.isfinite(weights.uv).all())
    assert bool(((weights.coverage >= 0) & (weights.coverage <= 1)).all())


def test_taps_beyond_all_candidates_are_padding():
    grid, most = FeatureGrid.covering(SIZE, 4.0), 4 * random_proposal().view_weight[0].numel()
    every, more = (weights_at(random_proposal(), grid, tap_count=count).weight for count in (most, most + 5))
    torch.testing.assert_close(more[:, :most], every, rtol=0, atol=0)
    assert float(more[:, most:].abs().sum()) == 0


# One row at a time, three rows (which no tile below begins with), and all in one block.
@pytest.mark.parametrize("block_candidates", [1, 8000, weights_module.BLOCK_CANDIDATES])
def test_a_tile_equals_the_rows_of_the_whole_bit_for_bit_and_blocks_change_nothing_but_rounding(
    block_candidates, monkeypatch
):
    grid = FeatureGrid.covering(SIZE, 3.0)
    in_one_block = weights_at(random_proposal(), grid)
    monkeypatch.setattr(weights_module, "BLOCK_CANDIDATES", block_candidates)
    whole = weights_at(random_proposal(), grid)
    for start, stop in ((0, 1), (3, 9), (grid.rows - 2, grid.rows)):
        tile = weights_at(random_proposal(), grid, rows=slice(start, stop))
        cells = slice(start * grid.cols, stop * grid.cols)
        assert tile.grid.rows == stop - start
        assert tile.grid.origin_v == pytest.approx(grid.origin_v + start * grid.stride_v)
        same_bits([getattr(tile, name) for name in PER_CELL], [getattr(whole, name)[cells] for name in PER_CELL])
    for name in PER_CELL:
        found, expected = getattr(whole, name), getattr(in_one_block, name)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_the_order_of_sources_changes_nothing_bit_for_bit():
    original = random_proposal()
    order = [3, 0, 4, 1, 2]
    shuffled = dataclasses.replace(
        original,
        sources=tuple(original.sources[index] for index in order),
        source_ids=tuple(original.source_ids[index] for index in order),
        view_weight=original.view_weight[..., order],
    )
    a, b = weights_at(original, COARSE), weights_at(shuffled, COARSE)
    for name in set(PER_CELL) - {"source"}:
        same_bits(getattr(a, name), getattr(b, name))
    is_tap = a.weight > 0
    assert torch.equal(a.source[is_tap], torch.tensor(order)[b.source[is_tap]])


def test_samples_without_probability_do_not_matter_and_the_proposal_is_left_as_it_was():
    clean, same = random_proposal(), random_proposal()
    is_dead = clean.probability == 0
    dirty = dataclasses.replace(
        clean,
        z_depth=torch.where(is_dead, torch.nan, clean.z_depth),
        view_weight=torch.where(is_dead[..., None], torch.nan, clean.view_weight),
    )
    a, b = weights_at(clean, COARSE), weights_at(dirty, COARSE)
    same_bits([getattr(a, name) for name in PER_CELL], [getattr(b, name) for name in PER_CELL])
    assert torch.equal(clean.view_weight, same.view_weight)


def test_a_smooth_slope_is_interpolated_not_stacked():
    column = torch.arange(GUIDE.cols).float() * 2 + 1
    z_depth = (2 + 0.004 * column).expand(GUIDE.rows, -1).reshape(-1, 1)
    grid = FeatureGrid.covering(SIZE, 1.0)
    weights = weights_at(proposal(z_depth, [camera(0.05)]), grid)
    inner = weights.z_depth.reshape(48, 64)[:, 2:-2]
    expected = 2 + 0.004 * (torch.arange(64).float() + 0.5)
    torch.testing.assert_close(inner, expected[2:-2].expand_as(inner), rtol=1e-5, atol=0)
    assert bool(((weights.weight > 0).sum(1) <= 1).all())


def test_an_edge_keeps_both_of_its_sides():
    z_depth = torch.where(torch.arange(GUIDE.cols) < 16, 2.0, 4.0).expand(GUIDE.rows, -1).reshape(-1, 1)
    grid = FeatureGrid.covering(SIZE, 1.0)
    weights = weights_at(proposal(z_depth, [camera(0.1)]), grid)
    # Pixel centre 31.5 lies a quarter of the way from guide column 15 (near) to column 16 (far).
    u, weight = surfaces(weights, 20 * 64 + 31)
    assert u == pytest.approx([31.5 - 60 * 0.1 / 2, 31.5 - 60 * 0.1 / 4], abs=1e-4)
    assert weight == pytest.approx([0.75, 0.25], abs=1e-6)


def test_a_fine_ladder_of_depths_does_not_collapse():
    ladder = 2 * 1.01 ** torch.arange(64).float()
    weights = weights_at(
        proposal(ladder.expand(GUIDE.cell_count, -1), [camera(0.2)]), FeatureGrid.covering(SIZE, 8.0), tap_count=64
    )
    u, _ = surfaces(weights, 20)
    assert len(u) >= 16


def test_samples_off_the_image_or_behind_a_source_get_nothing():
    weights = weights_at(flat(2.0, [camera(), camera(x=100.0), camera(z=5.0)]), COARSE)
    assert bool((weights.source[weights.weight > 0] == 0).all())
    # The first is the target itself, and is read at its own cells.
    torch.testing.assert_close(weights.uv[:, 0], cell_centers(*COARSE.lattice).reshape(-1, 2), rtol=0, atol=1e-4)
    torch.testing.assert_close(weights.coverage, torch.ones_like(weights.coverage))
    blind = weights_at(flat(2.0, [camera(x=100.0)]), COARSE)
    assert float(blind.coverage.abs().max()) == 0
    assert float(blind.weight.abs().max()) == 0


def test_coverage_is_the_share_of_probability_that_is_seen():
    cells = GUIDE.cell_count
    probability = torch.tensor([0.7, 0.3]).expand(cells, -1)
    view_weight = torch.tensor([[1.0], [0.0]]).expand(cells, -1, -1)
    weights = weights_at(
        proposal(torch.tensor([2.0, 4.0]).expand(cells, -1), [camera()], probability, view_weight),
        COARSE,
    )
    torch.testing.assert_close(weights.coverage, torch.full_like(weights.coverage, 0.7))
    torch.testing.assert_close(weights.z_depth, torch.full_like(weights.z_depth, 2.0))


def test_visibility_shares_a_sample_between_its_sources():
    view_weight = torch.tensor([[3.0, 1.0]]).expand(GUIDE.cell_count, -1, -1)
    sources = [camera(0.05), camera(-0.05)]
    weights = weights_at(proposal(torch.full((GUIDE.cell_count, 1), 3.0), sources, None, view_weight), COARSE)
    middle = 6 * 16 + 8
    assert surfaces(weights, middle, source=0)[1] == pytest.approx([0.75])
    assert surfaces(weights, middle, source=1)[1] == pytest.approx([0.25])


def test_the_footprint_is_that_of_distance_and_focal_length():
    weights = weights_at(flat(4.0, [camera(z=2.0), camera(focal=30.0)]), FeatureGrid.covering(SIZE, 8.0))
    middle = 3 * 8 + 4
    is_tap = weights.weight[middle] > 0
    ratios = dict(
        zip(weights.source[middle, is_tap].tolist(), weights.log_scale_ratio[middle, is_tap].tolist(), strict=True)
    )
    assert ratios[0] == pytest.approx(math.log(2), abs=1e-6)
    assert ratios[1] == pytest.approx(-math.log(2), abs=1e-6)


def test_no_source_is_refused():
    with pytest.raises(NoOverlapError, match="source"):
        weights_at(flat(2.0, []), COARSE)
