"""The sparse blend equals the dense one, for any channels, grids, tiles and blocks."""

import dataclasses

import pytest
import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.weights import BlendingWeights
from lift3d.errors import ConfigError, NonFiniteError, ShapeError
from lift3d.geometry.sampling import sample
from lift3d.lifters import blend as blend_module
from lift3d.lifters.blend import blend, view_marginal

GRIDS = (FeatureGrid(9, 13, 8.0, 8.0), FeatureGrid(5, 7, 14.0, 15.0, 1.5, -2.0), FeatureGrid(9, 13, 8.0, 8.0))
TARGET = FeatureGrid(6, 8, 10.0, 10.0)


def some_maps(channels=5, grids=GRIDS, dtype=torch.float32, tokens=0):
    generator = torch.Generator().manual_seed(channels)
    return [
        FeatureMap(
            torch.randn(channels, grid.rows, grid.cols, generator=generator).to(dtype),
            grid,
            torch.randn(tokens, channels, generator=generator) if tokens else None,
        )
        for grid in grids
    ]


def some_weights(tap_count=7, target=TARGET, source_count=3):
    generator = torch.Generator().manual_seed(tap_count)
    cells = target.cell_count
    coverage = (torch.rand(cells, generator=generator) - 0.3).clamp(min=0)
    weight = torch.rand(cells, tap_count, generator=generator) * (coverage > 0)[:, None]
    return BlendingWeights(
        grid=target,
        source_ids=tuple("abc"[:source_count]),
        source=torch.randint(source_count, (cells, tap_count), generator=generator),
        uv=torch.rand(cells, tap_count, 2, generator=generator) * torch.tensor([130.0, 90.0]) - 10,
        weight=weight / weight.sum(1, keepdim=True).clamp(min=1e-9),
        log_scale_ratio=torch.zeros(cells, tap_count),
        z_depth=torch.where(coverage > 0, 2.0, torch.nan),
        coverage=coverage,
    )


def blend_reference(weights, maps):
    """The blend as one would write it on paper: ``Σ_tap weight · G_source(uv)``, dense and slow."""
    blended = maps[0].values.new_zeros(maps[0].channel_count, weights.grid.cell_count)
    for index, source in enumerate(maps):
        sampled = sample(source.values, weights.uv, *source.grid.placement)
        blended = blended + (sampled * torch.where(weights.source == index, weights.weight, 0.0)).sum(-1)
    return torch.where(weights.coverage > 0, blended, torch.nan).reshape(-1, *weights.grid.shape)


def rows_of(weights, start, stop):
    cells = slice(start * weights.grid.cols, stop * weights.grid.cols)
    grid = dataclasses.replace(weights.grid, rows=stop - start)
    arrays = ("source", "uv", "weight", "log_scale_ratio", "z_depth", "coverage")
    return BlendingWeights(grid, weights.source_ids, *(getattr(weights, name)[cells] for name in arrays))


@pytest.mark.parametrize("channels", [1, 3, 64, 65, 200])
def test_it_equals_the_dense_reference(channels):
    weights, maps = some_weights(), some_maps(channels)
    torch.testing.assert_close(
        blend(weights, maps).features.values, blend_reference(weights, maps), rtol=1e-5, atol=1e-5, equal_nan=True
    )


def test_a_tap_at_a_cell_centre_returns_the_cell():
    (source,) = some_maps(4, GRIDS[:1])
    row, col = 4, 7
    weights = some_weights(1, FeatureGrid(1, 1, 10.0, 10.0), 1)
    weights = dataclasses.replace(
        weights,
        uv=torch.tensor([[[(col + 0.5) * 8, (row + 0.5) * 8]]]),
        weight=torch.ones(1, 1),
        coverage=torch.ones(1),
    )
    torch.testing.assert_close(blend(weights, [source]).features.values[:, 0, 0], source.values[:, row, col])


def test_uncovered_cells_are_nan_and_only_those():
    lifted = blend(some_weights(), some_maps())
    is_missing = torch.isnan(lifted.features.values)
    assert torch.equal(is_missing, (lifted.coverage == 0).expand_as(is_missing))
    assert bool(is_missing.any())
    assert torch.equal(torch.isnan(lifted.z_depth), lifted.coverage == 0)


def test_a_tile_of_rows_equals_the_whole_bit_for_bit():
    weights, maps = some_weights(), some_maps(70)
    whole = blend(weights, maps).features.values
    tile = blend(rows_of(weights, 2, 5), maps).features.values
    torch.testing.assert_close(tile, whole[:, 2:5], rtol=0, atol=0, equal_nan=True)


def test_small_tiles_and_blocks_change_nothing(monkeypatch):
    weights, maps = some_weights(), some_maps(70)
    whole = blend(weights, maps).features.values
    monkeypatch.setattr(blend_module, "CORNER_TILE", 1)
    torch.testing.assert_close(
        blend(weights, maps, channel_block=1).features.values, whole, rtol=1e-5, atol=1e-6, equal_nan=True
    )


def test_memory_does_not_depend_on_the_number_of_channels(monkeypatch):
    """One block of the table, and the corners of one tile, are all that is held, whatever the channels."""
    held = []

    def recorded(rows, table, **options):
        held.append((table.shape[1], rows.numel()))
        return torch.nn.functional.embedding_bag(rows, table, **options)

    monkeypatch.setattr(blend_module, "embedding_bag", recorded)
    weights, maps = some_weights(), some_maps(200)
    blend(weights, maps, channel_block=64)
    assert max(channels for channels, _ in held) == 64
    assert {corners for _, corners in held} == {4 * weights.source.numel()}
    monkeypatch.setattr(blend_module, "CORNER_TILE", 1)
    held.clear()
    blend(weights, maps, channel_block=1)
    assert max(corners for _, corners in held) < 4 * weights.source.numel()


def test_maps_by_name_and_in_order_are_the_same():
    weights, maps = some_weights(), some_maps()
    by_name = {"c": maps[2], "a": maps[0], "unused": maps[1], "b": maps[1]}
    torch.testing.assert_close(
        blend(weights, by_name).features.values,
        blend(weights, maps).features.values,
        rtol=0,
        atol=0,
        equal_nan=True,
    )


def test_token_major_maps_give_the_same_values_in_their_own_layout():
    weights, maps = some_weights(), some_maps(70)
    token_major = [
        FeatureMap(source.values.permute(1, 2, 0).contiguous().permute(2, 0, 1), source.grid) for source in maps
    ]
    values = blend(weights, token_major).features.values
    assert values.stride(0) == 1
    torch.testing.assert_close(values, blend(weights, maps).features.values, rtol=0, atol=0, equal_nan=True)


def test_half_precision_maps_are_blended_in_single():
    maps = some_maps(6, dtype=torch.float16)
    single = [FeatureMap(source.values.float(), source.grid) for source in maps]
    values = blend(some_weights(), maps).features.values
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, blend(some_weights(), single).features.values, rtol=0, atol=0, equal_nan=True)


def test_global_tokens_follow_the_view_marginal():
    weights, maps = some_weights(), some_maps(4, tokens=2)
    share = view_marginal(weights)
    assert float(share.sum()) == pytest.approx(1, abs=1e-6)
    tokens = blend(weights, maps).features.global_tokens
    expected = sum(float(share[index]) * source.global_tokens for index, source in enumerate(maps))
    torch.testing.assert_close(tokens, expected, rtol=1e-5, atol=1e-6)


def test_tokens_of_a_view_that_nothing_covers_are_nan():
    weights = some_weights()
    unseen = dataclasses.replace(
        weights, coverage=torch.zeros_like(weights.coverage), weight=torch.zeros_like(weights.weight)
    )
    lifted = blend(unseen, some_maps(4, tokens=1))
    assert bool(torch.isnan(lifted.features.global_tokens).all())
    assert bool(torch.isnan(lifted.features.values).all())


def test_bad_maps_are_refused():
    weights, maps = some_weights(), some_maps()
    with pytest.raises(ConfigError, match="b, c"):
        blend(weights, {"a": maps[0]})
    with pytest.raises(ConfigError, match="3 sources"):
        blend(weights, maps[:2])
    with pytest.raises(ShapeError, match="channels"):
        blend(weights, [*maps[:2], some_maps(4)[2]])
    with pytest.raises(ShapeError, match="tokens"):
        blend(weights, [*maps[:2], some_maps(5, tokens=1)[2]])
    holed = FeatureMap(maps[2].values.clone(), maps[2].grid)
    holed.values[1, 2, 3] = torch.nan
    with pytest.raises(NonFiniteError, match="finite"):
        blend(weights, [*maps[:2], holed])


def test_large_finite_values_are_not_mistaken_for_infinity():
    weights, maps = some_weights(), some_maps(64)
    huge = [FeatureMap(torch.full_like(source.values, 3e36), source.grid) for source in maps]
    values = blend(weights, huge).features.values
    torch.testing.assert_close(values[:, weights.coverage.reshape(6, 8) > 0].amin(), torch.tensor(3e36))
