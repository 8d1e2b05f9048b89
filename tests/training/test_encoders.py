"""Real encoders as feature spaces: drawn in their share, equal for equal seeds, refused where they make no sense."""

import numpy as np
import pytest
import torch

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.lifters.catalog import LIFT3D
from lift3d.lifters.checkpoint import untrained
from lift3d.lifters.corrective import Lift3D
from lift3d.training import density_step
from lift3d.training.batches import CorrectorBatches, Examples
from lift3d.training.corrector_step import CASES, OF_OPERATORS, corrector_loss
from lift3d.training.feature_spaces import Encoders
from lift3d.training.train import train
from tests.training.tiny_training import CHECKER, small_cache, tiny

NEARNESS = "tests.training.tiny_training:NearnessOperator"


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
