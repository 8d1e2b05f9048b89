"""Feature spaces, drawn and given: equal for equal seeds; each fault is what it says; what is of no use is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.errors import ConfigError, UnknownNameError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample
from lift3d.lifters.catalog import LIFT3D
from lift3d.lifters.checkpoint import untrained
from lift3d.lifters.corrective import Lift3D
from lift3d.operators.catalog import build_operator
from lift3d.training import density_step
from lift3d.training.batches import CorrectorBatches, Examples
from lift3d.training.corrector_step import CASES, OF_OPERATORS, corrector_loss
from lift3d.training.faults import FaultStrengths, draw_faults, with_faults
from lift3d.training.feature_spaces import DRAWN, Encoders, FeatureSpace, draw_operator, rows_read
from lift3d.training.train import train
from tests.lifters.test_blend import some_weights
from tests.support.lifting import same_bits
from tests.training.tiny_training import CHECKER, small_cache, tiny

NEARNESS = "tests.training.tiny_training:NearnessOperator"
IMAGE = torch.rand(3, 80, 100, generator=torch.Generator().manual_seed(0))
GRID = FeatureGrid(20, 30, 4.0, 4.0, 1.0, -2.0)


def _space_of(seed):
    rng = np.random.default_rng(seed)
    operator = draw_operator(rng)
    maps = operator.encode(IMAGE)
    return operator.spec.name, FeatureSpace.draw(rng, maps, 1.0).of(maps)


@pytest.mark.parametrize("seed", range(4))
def test_a_space_is_its_seed(seed):
    (name, features), (again, same) = (_space_of(seed) for _ in range(2))
    assert name == again
    same_bits(features.values, same.values)
    assert bool(features.values.isfinite().all())
    # In half of the draws of given operators channels stay as they are.
    (plain,) = build_operator("hog").encode(IMAGE)
    kept = [FeatureSpace.draw(np.random.default_rng(number), [plain], 0.5).of([plain]) for number in range(20)]
    assert 4 < sum(torch.equal(one.values, plain.values) for one in kept) < 16


@pytest.mark.parametrize("name", [name for name in DRAWN if name.startswith("timm:")])
def test_the_last_stage_of_every_network_that_is_drawn_has_cells_of_16_pixels_or_fewer(name):
    operator = build_operator(f"{name}&layer={DRAWN[name] - 1}&seed=3")
    (features,) = operator.encode(IMAGE)
    assert features.grid.stride_v <= 16


def _differences(strengths):
    generator = torch.Generator().manual_seed(1)
    maps = [FeatureMap(torch.randn(8, *GRID.shape, generator=generator), GRID) for _ in range(3)]
    before = [one.values.clone() for one in maps]
    faulty, again = (with_faults(maps, strengths, np.random.default_rng(2)) for _ in range(2))
    for one, start, after, repeat in zip(maps, before, faulty, again, strict=True):
        same_bits((one.values, after.values), (start, repeat.values))
    return torch.stack([after.values - one.values for one, after in zip(maps, faulty, strict=True)])


def test_each_fault_is_what_it_says_and_drawn_ones_range_from_none_to_several():
    assert _differences(FaultStrengths()).abs().max() < 1e-5
    bias = _differences(FaultStrengths(channel_bias=0.3))
    assert bias.std(dim=(2, 3)).max() < 1e-4
    assert (bias[0] - bias[1]).abs().max() > 1e-2
    field = _differences(FaultStrengths(positional_field=0.5))
    assert torch.allclose(field[0], field[1], atol=1e-4)
    assert field[0].std(dim=(1, 2)).min() > 0
    padding = _differences(FaultStrengths(padding=1.0)).abs().mean((0, 1))
    assert padding[0].mean() > 10 * padding[padding.shape[0] // 2, padding.shape[1] // 2]
    share = 0.05
    is_outlier = _differences(FaultStrengths(outlier_share=share, outlier_loudness=8.0)).abs().sum(1) > 0
    assert 0 < is_outlier.float().mean() < 3 * share
    drawn = [draw_faults(np.random.default_rng(seed)) for seed in range(60)]
    assert FaultStrengths() in drawn
    assert sum(one.channel_bias > 0 for one in drawn) > 5


def test_what_is_kept_of_a_map_reads_like_the_whole():
    whole = [FeatureMap(torch.rand(5, *GRID.shape).half().float(), GRID) for _ in range(4)]
    weights = some_weights()
    # Two sources are read in some rows each, the third nowhere.
    low = torch.where(weights.source == 0, 40.0, -5.0)
    uv = torch.stack([weights.uv[..., 0], low + 20 * torch.rand(low.shape)], -1)
    weights = dataclasses.replace(weights, uv=uv, weight=torch.where(weights.source == 2, 0.0, weights.weight))
    one_row = dataclasses.replace(weights, grid=dataclasses.replace(weights.grid, origin_v=30.0)).rows(0, 1)
    parts = rows_read(whole, (one_row,))
    assert len({one.values.shape for one in parts}) == 1
    assert parts[0].grid.rows <= GRID.rows / 2
    reads = [one_row.uv[(one_row.source == source) & (one_row.weight > 0)] for source in (0, 1)]
    for place, at_cells in ((0, reads[0]), (1, reads[1]), (3, cell_centers(*one_row.grid.lattice).reshape(-1, 2))):
        for at in (at_cells, at_cells + torch.tensor([4.0, 0.0]), at_cells - torch.tensor([0.0, 4.0])):
            read, expected = (sample(of.values.float(), at, *of.grid.placement) for of in (parts[place], whole[place]))
            assert torch.allclose(read, expected, atol=1e-5)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return Examples(small_cache(tmp_path_factory.mktemp("scenes")), 0, (3, 4))


def _batches(examples, share, **options):
    lifter = Lift3D(LIFT3D, untrained(), density_step.SWEEP)
    return CorrectorBatches(examples, lifter, Encoders(*CHECKER.values(), share), **options)


def test_operators_are_drawn_in_their_share_and_none_where_none_is_given():
    encoders = Encoders(("rgb", "hog"), (), 0.7)
    drawn = [encoders.draw(np.random.default_rng(seed)) for seed in range(200)]
    names = [one.spec.name for one in drawn if one is not None]
    assert 0.6 < len(names) / len(drawn) < 0.8
    assert set(names) == {"rgb", "hog"}
    assert Encoders().draw(np.random.default_rng(0)) is None


def test_a_step_gives_the_same_features_of_a_plug_in_whenever_it_is_asked_for(examples):
    one, again = (_batches(examples, 1.0)(3) for _ in range(2))
    assert [case.name for case in one.cases] == [*CHECKER["operators"]] * CASES
    for case, same in zip(one.cases, again.cases, strict=True):
        assert torch.equal(case.truth, same.truth)
        assert all(torch.equal(a.values, b.values) for a, b in zip(case.sources, same.sources, strict=True))
        # As lifting keeps them.
        assert {part.dtype for part in (case.guide.values, case.sources[0].values)} == {torch.float16}


def test_the_loss_tells_given_operators_apart_and_can_be_learned_from(examples):
    network = untrained().corrector.requires_grad_(True)
    loss, parts = corrector_loss(network, _batches(examples, 1.0)(0))
    loss.backward()
    assert all(name.endswith(OF_OPERATORS) for name in parts)
    assert all(bool(one.grad.isfinite().all()) for one in network.parameters() if one.grad is not None)
    held_out = _batches(examples, 0.5, is_held_out=True)(0)
    assert [case.is_of_operator for case in held_out.cases] == [False] * CASES + [True]
    names = set(corrector_loss(network, held_out)[1])
    plain = {name for name in names if not name.endswith(OF_OPERATORS)}
    assert names == plain | {name + OF_OPERATORS for name in plain}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"operators": ("hogg",)}, UnknownNameError, "Did you mean 'hog'"),
        ({"operators": ("nearness",), "plugins": (NEARNESS,)}, ConfigError, "gives depth, which cannot be compared"),
        ({**CHECKER, "plugins": ("nowhere.py:x",)}, ConfigError, "cannot be imported"),
        ({"captures": ("/nowhere/at-all",)}, ConfigError, "does not exist"),
        ({"density_from": "synthetik"}, ConfigError, "There is no checkpoint 'synthetik'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_rendered(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        train(tiny(tmp_path, **changes))
    assert not (tmp_path / "run").exists()
