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
from tests.support.lifting import same_bits

GRIDS = (FeatureGrid(9, 13, 8.0, 8.0), FeatureGrid(5, 7, 14.0, 15.0, 1.5, -2.0), FeatureGrid(9, 13, 8.0, 8.0))
TARGET = FeatureGrid(6, 8, 10.0, 10.0)


def some_maps(channels=5, tokens=0):
    generator = torch.Generator().manual_seed(channels)
    return [
        FeatureMap(
            torch.randn(channels, grid.rows, grid.cols, generator=generator),
            grid,
            torch.randn(tokens, channels, generator=generator) if tokens else None,
        )
        for grid in GRIDS
    ]


def some_weights(tap_count=7):
    generator = torch.Generator().manual_seed(tap_count)
    cells = TARGET.cell_count
    coverage = (torch.rand(cells, generator=generator) - 0.3).clamp(min=0)
    weight = torch.rand(cells, tap_count, generator=generator) * (coverage > 0)[:, None]
    return BlendingWeights(
        grid=TARGET,
        source_ids=("a", "b", "c"),
        source=torch.randint(3, (cells, tap_count), generator=generator),
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


def blended(maps):
    return blend(some_weights(), maps).features.values


@pytest.mark.parametrize("channels", [1, 65, 200])
def test_it_equals_the_dense_reference_which_is_nan_where_nothing_is_covered(channels):
    weights, maps = some_weights(), some_maps(channels)
    expected = blend_reference(weights, maps)
    assert bool(expected.isnan().any())
    torch.testing.assert_close(blended(maps), expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_a_tile_of_rows_equals_the_whole_bit_for_bit():
    maps = some_maps(70)
    same_bits(blend(some_weights().rows(2, 5), maps).features.values, blended(maps)[:, 2:5])


def in_another_layout(values):
    return values.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def test_how_maps_are_given_changes_no_bit():
    maps = some_maps(70)
    token_major = blended([FeatureMap(in_another_layout(one.values), one.grid) for one in maps])
    assert token_major.stride(0) == 1
    same_bits(token_major, blended(maps))
    half = [FeatureMap(one.values.half(), one.grid) for one in maps]
    same_bits(blended(half), blended([FeatureMap(one.values.float(), one.grid) for one in half]))


def test_memory_does_not_depend_on_the_number_of_channels_nor_the_answer_on_tiles_and_blocks(monkeypatch):
    """One block of the table, and the corners of one tile, are all that is held, whatever the channels."""
    held, summed = [], torch.nn.functional.embedding_bag

    def recorded(rows, table, **options):
        held.append((table.shape[1], rows.numel()))
        return summed(rows, table, **options)

    monkeypatch.setattr(blend_module.F, "embedding_bag", recorded)
    weights, maps = some_weights(), some_maps(200)
    whole = blended(maps)
    assert max(channels for channels, _ in held) == 64
    assert {corners for _, corners in held} == {4 * weights.source.numel()}
    monkeypatch.setattr(blend_module, "CORNER_TILE", 1)
    monkeypatch.setattr(blend_module, "CHANNEL_BLOCK", 1)
    held.clear()
    small = blended(maps)
    assert max(corners for _, corners in held) < 4 * weights.source.numel()
    torch.testing.assert_close(small, whole, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_global_tokens_follow_the_view_marginal_and_are_nan_where_nothing_is_covered():
    weights, maps = some_weights(), some_maps(4, tokens=2)
    share = view_marginal(weights)
    assert float(share.sum()) == pytest.approx(1, abs=1e-6)
    tokens = blend(weights, maps).features.global_tokens
    expected = sum(float(share[index]) * source.global_tokens for index, source in enumerate(maps))
    torch.testing.assert_close(tokens, expected, rtol=1e-5, atol=1e-6)
    nothing = torch.zeros_like(weights.weight)
    unseen = dataclasses.replace(weights, coverage=nothing[:, 0], weight=nothing)
    lifted = blend(unseen, maps).features
    assert bool(torch.cat([lifted.global_tokens.flatten(), lifted.values.flatten()]).isnan().all())


def test_bad_maps_are_refused():
    a, b, c = some_maps()
    holed = FeatureMap(c.values.clone(), c.grid)
    holed.values[1, 2, 3] = torch.nan
    for maps, error, said in [
        ([a, b], ConfigError, "3 sources"),
        ([a, b, some_maps(4)[2]], ShapeError, "channels"),
        ([a, b, some_maps(5, tokens=1)[2]], ShapeError, "tokens"),
        ([a, b, holed], NonFiniteError, "finite"),
    ]:
        with pytest.raises(error, match=said):
            blended(maps)


def test_large_finite_values_are_not_mistaken_for_infinity():
    weights, maps = some_weights(), some_maps(64)
    huge = [FeatureMap(torch.full_like(source.values, 3e36), source.grid) for source in maps]
    values = blend(weights, huge).features.values
    torch.testing.assert_close(values[:, weights.coverage.reshape(6, 8) > 0].amin(), torch.tensor(3e36))
