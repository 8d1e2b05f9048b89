"""The learned lifter: untrained it is what it starts from, and whatever its weights, its answer is a blend."""

import dataclasses

import pytest
import torch

from lift3d.bench.baseline_lifters import SeparateWeights
from lift3d.bench.baselines import SEPARATE_WEIGHTS
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import DepthRange
from lift3d.lifters import corrective
from lift3d.lifters.blend import blend
from lift3d.lifters.catalog import LIFT3D
from lift3d.lifters.checkpoint import untrained
from lift3d.lifters.corrective import Lift3D, estimate, proximity_exponent
from lift3d.lifters.depth_consensus import agree
from lift3d.lifters.plane_sweep import PlaneSweep, PlaneSweepConfig
from lift3d.lifters.ray_evidence import gather_evidence
from lift3d.lifters.tap_agreement import NEIGHBOUR_OFFSETS, SHARPENED_TAPS, within_reach
from lift3d.lifters.weights import ReadablePixels, weights_at
from tests.support.lifting import pixels, random_map, same_bits, share, situation
from tests.support.scenes import two_planes_scene

HEIGHT = 48
GRID = FeatureGrid(12, 16, 4.0, 4.0)
BESIDE = SHARPENED_TAPS * len(NEIGHBOUR_OFFSETS)


@pytest.fixture(scope="module", name="situation")
def _situation():
    return situation(two_planes_scene(), target=0, height=HEIGHT)


def shaken(seed=0, scale=0.3):
    """Networks that do something, whatever it is."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = untrained()
    with torch.no_grad():
        for network in (networks.density, networks.corrector):
            for parameter in network.parameters():
                parameter += scale * torch.randn(parameter.shape, generator=generator)
    return networks


def maps_of(guides, channels=6, stride=4.0):
    return [random_map(pixels(guide.camera, stride), channels, index) for index, guide in enumerate(guides)]


def guide_of(target, channels=6):
    """What an operator might say of the lifted picture."""
    return random_map(pixels(target.camera, 4.0), channels, 77)


def lifted_weights(lifter, situation, maps, taps=32, guide=None):
    frame, guides, depth_range = situation
    proposal = dataclasses.replace(
        lifter.propose(frame.camera, guides, depth_range), source_is_valid=tuple(one.is_valid for one in guides)
    )
    grid = pixels(frame.camera, 4.0)
    uniform = proposal.uniformly_weighted(proximity_exponent(len(guides)))
    near, agreeing = (weights_at(one, grid, tap_count=taps) for one in (proposal, uniform))
    return agreeing, lifter.correct(proposal, near, maps, guide)


def test_untrained_density_is_the_consensus_without_training(situation):
    frame, guides, depth_range = situation
    sweep = PlaneSweep()
    volumes = sweep.depth_volumes(frame.camera, guides, depth_range)
    evidence = gather_evidence(sweep, volumes)
    consensus = agree(frame.camera, volumes.uv, volumes.depths, [1.0] * len(volumes.views), volumes.planes)
    same_bits(evidence.visibility, consensus.visibility)
    with torch.no_grad():
        found = estimate(untrained().density, evidence, 4)
    sharpened = (consensus.probability + 1e-4) ** 1.5
    torch.testing.assert_close(found.probability, sharpened / sharpened.sum(0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("lifter_class", "spec"), [(Lift3D, LIFT3D), (SeparateWeights, SEPARATE_WEIGHTS)])
def test_without_a_guide_all_that_see_the_surface_vote(situation, lifter_class, spec):
    given, corrected = lifted_weights(lifter_class(spec, untrained()), situation, maps_of(situation[1]))
    torch.testing.assert_close(corrected.weight, given.weight, rtol=0, atol=1e-5)


def test_an_untrained_corrector_moves_features_towards_the_guide(situation):
    maps, guide = maps_of(situation[1]), guide_of(situation[0])
    given, corrected = lifted_weights(Lift3D(LIFT3D, untrained()), situation, maps, guide=guide)
    before, after = (
        (blend(one, maps).features.values - guide.values).square().mean(0).nan_to_num(0) for one in (given, corrected)
    )
    assert float(after.mean()) < 0.7 * float(before.mean())
    # A residual may extrapolate.
    assert float(corrected.weight.min()) < 0


def test_a_guide_that_agrees_changes_nothing(situation):
    maps = maps_of(situation[1])
    lifter = Lift3D(LIFT3D, untrained())
    given, _ = lifted_weights(lifter, situation, maps)
    lifted = blend(given, maps)
    agreeing = FeatureMap(lifted.features.values.nan_to_num(0), lifted.features.grid)
    _, corrected = lifted_weights(lifter, situation, maps, guide=agreeing)
    again = blend(corrected, maps).features.values
    torch.testing.assert_close(again.nan_to_num(0), lifted.features.values.nan_to_num(0), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("seed", "channels"), [(0, 6), (1, 200)])
def test_whatever_the_networks_say_weights_sum_to_one_or_nothing_is_covered(situation, seed, channels):
    maps, guide = maps_of(situation[1], channels), guide_of(situation[0], channels)
    given, corrected = lifted_weights(Lift3D(LIFT3D, shaken(seed)), situation, maps, guide=guide)
    same_bits(corrected.coverage, given.coverage)
    torch.testing.assert_close(corrected.weight.sum(1), (corrected.coverage > 0).float(), rtol=0, atol=1e-4)
    assert float(corrected.weight[corrected.coverage == 0].abs().sum()) == 0


def test_separate_weights_never_leave_the_span_of_the_taps(situation):
    maps = maps_of(situation[1])
    lifter = SeparateWeights(SEPARATE_WEIGHTS, shaken())
    given, corrected = lifted_weights(lifter, situation, maps, guide=guide_of(situation[0]))
    assert float(corrected.weight.min()) >= 0
    count = given.weight.shape[1]
    assert bool((corrected.weight[:, :count][given.weight == 0] == 0).all())
    assert float(corrected.weight[:, count:].abs().max()) == 0


def test_channels_and_their_number_are_irrelevant(situation):
    lifter = Lift3D(LIFT3D, shaken(scale=0.03))
    maps, guide = maps_of(situation[1]), guide_of(situation[0])
    _, a = lifted_weights(lifter, situation, maps, guide=guide)
    for channels in ([3, 1, 5, 0, 2, 4], [*range(6), *range(6)]):
        *others, other = (FeatureMap(one.values[channels], one.grid) for one in (*maps, guide))
        _, b = lifted_weights(lifter, situation, others, guide=other)
        torch.testing.assert_close(a.weight, b.weight, rtol=0, atol=1e-3)


def test_neighbours_of_taps_never_read_invalid_pixels(situation):
    frame, guides, depth_range = situation
    is_valid = torch.ones_like(guides[0].is_valid)
    is_valid[20:30, 20:40] = False
    holed = [dataclasses.replace(guide, is_valid=guide.is_valid & is_valid) for guide in guides]
    lifter = Lift3D(LIFT3D, untrained())
    proposal = lifter.propose(frame.camera, holed, depth_range)
    proposal = dataclasses.replace(proposal, source_is_valid=tuple(one.is_valid for one in holed))
    weights = weights_at(proposal, pixels(frame.camera))
    maps = maps_of(holed, stride=1.0)
    uniform = weights_at(proposal.uniformly_weighted(), weights.grid)
    taps = within_reach(uniform, weights, maps, ReadablePixels.of(proposal))
    assert bool(taps.is_beside[:, -BESIDE:].all())
    assert not bool(taps.is_beside[:, :-BESIDE].any())
    u, v = taps.weights.uv[taps.is_tap].unbind(-1)
    source = taps.weights.source[taps.is_tap]
    for index, guide in enumerate(holed):
        here = source == index
        col = u[here].long().clamp(0, guide.camera.size.width - 1)
        row = v[here].long().clamp(0, guide.camera.size.height - 1)
        assert bool(guide.is_valid[row, col].all())


def test_what_colours_cover_stays_covered(situation):
    frame, guides, depth_range = situation
    near = weights_at(Lift3D(LIFT3D, untrained()).propose(frame.camera, guides, depth_range), GRID)
    is_lost = torch.arange(GRID.cell_count) % 3 == 0
    kept = (~is_lost).float()
    uniform = dataclasses.replace(near, weight=kept[:, None].expand(-1, 32) / 32, coverage=near.coverage * kept)
    found = corrective.covered_as(near, uniform)
    assert torch.equal(found.coverage, near.coverage)
    assert torch.equal(found.weight[is_lost], near.weight[is_lost])
    assert torch.equal(found.weight[~is_lost], uniform.weight[~is_lost])
    assert corrective.covered_as(near, near) is near


def test_a_large_grid_is_corrected_by_tiles_that_cover_it_once(situation, monkeypatch):
    maps, guide = maps_of(situation[1]), guide_of(situation[0])
    lifter = Lift3D(LIFT3D, untrained())
    given, whole = lifted_weights(lifter, situation, maps, guide=guide)
    monkeypatch.setattr(corrective, "TILE_CELLS", 5 * given.grid.cols)
    _, tiled = lifted_weights(lifter, situation, maps, guide=guide)
    assert tiled.grid == whole.grid
    same_bits((tiled.uv, tiled.coverage), (whole.uv, whole.coverage))
    # Each tile has a scale of its own for its features; the answer hardly depends on it.
    assert float((tiled.weight - whole.weight).abs().mean()) < 0.01


def test_more_sources_than_are_searched_are_read_where_they_agree(situation):
    frame, guides, depth_range = situation
    few = Lift3D(LIFT3D, untrained(), PlaneSweepConfig(swept_count=len(guides) - 1))
    proposal = few.propose(frame.camera, guides, depth_range)
    assert bool((proposal.visibility.sum((0, 1)) > 0).all())
    again = few.propose(frame.camera, guides[::-1], depth_range)
    same_bits(again.visibility.flip(-1), proposal.visibility)
    same_bits(again.view_weight.flip(-1), proposal.view_weight)


def test_an_unswept_source_of_another_colour_hardly_counts(situation):
    frame, guides, depth_range = situation
    lifter = Lift3D(LIFT3D, untrained(), PlaneSweepConfig(swept_count=len(guides) - 1))
    as_given = lifter.propose(frame.camera, guides, depth_range)
    swept = as_given.visibility.sum((0, 1)).argmin()
    foreign = dataclasses.replace(guides[swept], image=1 - guides[swept].image)
    changed = [foreign if index == swept else guide for index, guide in enumerate(guides)]
    found = lifter.propose(frame.camera, changed, depth_range)
    assert float(found.visibility[..., swept].mean()) < 0.6 * float(as_given.visibility[..., swept].mean())


def test_among_more_sources_near_ones_are_preferred_less(situation):
    frame, guides, depth_range = situation
    assert proximity_exponent(1) == proximity_exponent(8) == 1
    assert proximity_exponent(64) < proximity_exponent(16) < 1
    proposal = Lift3D(LIFT3D, untrained()).propose(frame.camera, guides, depth_range)
    assert proposal.uniformly_weighted(1.0) is proposal
    shares = [weights_at(proposal.uniformly_weighted(proximity), proposal.grid).weight for proximity in (0.9, 0.0)]
    entropy = [-(one * one.clamp(min=1e-9).log()).sum(1).mean() for one in shares]
    assert float(entropy[0]) < float(entropy[1])


def test_one_source_is_enough_and_a_depth_range_that_misses_the_scene_gives_finite_features_or_none(situation):
    frame, guides, depth_range = situation
    nearer = DepthRange(depth_range.near / 20, depth_range.near / 10)
    for some, within, least in ((guides[:1], depth_range, 0.3), (guides, nearer, 0.0)):
        maps = maps_of(some)
        _, corrected = lifted_weights(Lift3D(LIFT3D, shaken()), (frame, some, within), maps, guide=guide_of(frame))
        is_covered = corrected.coverage.reshape(corrected.grid.shape) > 0
        assert bool((blend(corrected, maps).features.values.isfinite() == is_covered).all())
        assert share(is_covered) >= least
