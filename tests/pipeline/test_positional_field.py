"""A positional field kept out of blending: what lifting gains where features depend on place, and what stays."""

from functools import cache

import pytest
import torch

from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import SceneError
from lift3d.lifters.blend import blend
from lift3d.lifters.catalog import build_lifter
from lift3d.lifters.weights import weights_at
from lift3d.operators.positional_field import field_of, fit_field
from lift3d.operators.protocol import OperatorSpec
from lift3d.pipeline.blend import lift_features
from lift3d.pipeline.encode import encode_view, target_grids
from lift3d.pipeline.propose import propose
from lift3d.pipeline.weigh import lift_picture
from lift3d.scenes.catalog import read_scene
from tests.support.lifting import held_out_targets, same_bits
from tests.support.operators import CheckerOperator

SCENE = "procedural:room?views=12&height=48&width=64"
LIFTERS = ("plane_sweep", "lift3d")
SPEC = OperatorSpec("placed", 1, "embedding")


class PlacedOperator(CheckerOperator):
    """Content by a projection of colours, and a strong pattern that is the same in every image."""

    def __init__(self, content: float = 1.0):
        super().__init__(16)
        self._content = content

    def encode(self, image):
        (seen,) = super().encode(image)
        generator = torch.Generator().manual_seed(1)
        place = 3 * torch.randn(seen.values.shape, generator=generator)
        tokens = seen.values.mean((1, 2))[None]
        return (FeatureMap(self._content * seen.values + place, seen.grid, tokens),)

    def fit_scene(self, maps, views):
        return fit_field(maps)


class Spy:
    """A lifter that notes what its corrector is shown."""

    def __init__(self, lifter):
        self._lifter, self.spec, self.propose, self.seen = lifter, lifter.spec, lifter.propose, None

    def correct(self, proposal, weights, sources, guide=None):
        self.seen = (sources, guide)
        return self._lifter.correct(proposal, weights, sources, guide)


@cache
def stage(lifter_name, content=1.0):
    """Return everything that lifting one held-out view takes, and the state fitted on the views that are no target."""
    scene, operator, lifter = read_scene(SCENE), PlacedOperator(content), build_lifter(lifter_name)
    target = held_out_targets(scene)[1]
    frames = {view.id: view.load() for view in scene.views}
    maps = {name: encode_view(operator, frame) for name, frame in frames.items()}
    proposal = propose(lifter, target, frames.__getitem__, scene.depth_range)
    picture = lift_picture(proposal, [frames[name] for name in proposal.source_ids])
    guides = encode_view(operator, picture) if lifter.spec.is_guided else None
    state = operator.fit_scene({name: maps[name] for name in target.source_ids}, SceneViews.of({}))
    grids = target_grids(operator, target.camera.size)
    arguments = (proposal, [maps[name] for name in proposal.source_ids], grids, 16, guides)
    return lifter, arguments, state, maps[target.id][0]


@pytest.mark.parametrize("name", LIFTERS)
def test_features_that_depend_on_place_are_lifted_nearer_to_the_true_ones(name):
    lifter, arguments, state, truth = stage(name)

    def error(fitted):
        (lifted,) = lift_features(SPEC, lifter, *arguments, fitted)
        is_covered = lifted.coverage > 0
        assert bool(is_covered.any())
        return float((lifted.features.values - truth.values)[:, is_covered].square().mean())

    assert error(state) < 0.25 * error(EMPTY_STATE)


@pytest.mark.parametrize("name", LIFTERS)
def test_features_of_place_alone_are_lifted_exactly_and_holes_stay(name):
    lifter, arguments, state, truth = stage(name, content=0.0)
    (lifted,) = lift_features(SPEC, lifter, *arguments, state)
    expected = torch.where(lifted.coverage > 0, truth.values, torch.nan)
    torch.testing.assert_close(lifted.features.values, expected, equal_nan=True)


@pytest.mark.parametrize("name", LIFTERS)
def test_global_tokens_have_no_place(name):
    lifter, arguments, state, _ = stage(name)
    (sources,) = zip(*arguments[1], strict=True)
    seen = Spy(lifter)
    (lifted,) = lift_features(SPEC, seen, *arguments, state)
    weights = lifter.correct(arguments[0], weights_at(arguments[0], arguments[2][0], tap_count=16), *seen.seen)
    assert torch.equal(lifted.features.global_tokens, blend(weights, sources).features.global_tokens)


@pytest.mark.parametrize("name", LIFTERS)
def test_without_a_field_or_with_zeros_lifting_is_the_blend_of_the_corrected_weights_bit_for_bit(name):
    lifter, arguments, state, _ = stage(name)
    proposal, sources, grids, taps, guides = arguments
    maps = [one for (one,) in sources]
    weights = lifter.correct(proposal, weights_at(proposal, grids[0], tap_count=taps), maps, guides and guides[0])
    zeros = {key: one if key.endswith("grid") else torch.zeros_like(one) for key, one in state.arrays.items()}
    for arrays in ({"own": torch.ones(3)}, zeros):
        (lifted,), blended = lift_features(SPEC, lifter, *arguments, SceneState(arrays)), blend(weights, maps)
        same_bits(lifted.features.values, blended.features.values)
        assert torch.equal(lifted.features.global_tokens, blended.features.global_tokens)
        assert torch.equal(lifted.coverage, blended.coverage)


def test_the_corrector_compares_what_is_blended():
    lifter, arguments, state, _ = stage("lift3d")
    seen, field = Spy(lifter), field_of(state, 0).values
    lift_features(SPEC, seen, *arguments, state)
    sources, guide = seen.seen
    for shown, (raw,) in zip(sources, arguments[1], strict=True):
        assert torch.equal(shown.values, raw.values - field)
    assert torch.equal(guide.values, arguments[4][0].values - field)


def test_a_target_on_another_grid_is_refused():
    lifter, (proposal, sources, _, taps, _), state, _ = stage("plane_sweep")
    with pytest.raises(SceneError, match="one grid"):
        lift_features(SPEC, lifter, proposal, sources, [FeatureGrid(6, 8, 8.0, 8.0)], taps, None, state)
