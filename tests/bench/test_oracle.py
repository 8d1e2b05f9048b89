"""The oracle: its solver against another one, bounds that are bounds, and causes that are found where they were put."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from typer.testing import CliRunner

from lift3d.bench import oracle
from lift3d.bench.attainable import CellErrors, across_channels, attainable
from lift3d.bench.least_squares import affine_weights, convex_weights, duality_gap, error_gram
from lift3d.bench.oracle_causes import true_surface
from lift3d.bench.oracle_page import losses, page
from lift3d.bench.oracle_rules import RULES, truncated
from lift3d.cli import app as cli
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.weights import BlendingWeights
from lift3d.errors import ConfigError
from lift3d.geometry.sampling import sample
from lift3d.lifters.blend import blend
from lift3d.lifters.weights import weights_at
from tests.support.runs import ROOM, small_recipe
from tests.support.scenes import two_planes_scene

GRID = FeatureGrid(6, 7, 4.0, 4.0)
SOURCES = 3


def some_fit(tap_count, channels=40, cells=24, seed=0):
    """Taps around a truth, many of them nearly equal, some of them padding; one cell has none."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(cells, channels, generator=generator)
    few = truth[:, None] + torch.randn(cells, 1 + tap_count // 2, channels, generator=generator)
    twins = few + 1e-3 * torch.randn(few.shape, generator=generator)
    values = torch.cat([few, twins], dim=1)[:, :tap_count]
    is_tap = torch.rand(cells, tap_count, generator=generator) > 0.2
    is_tap[0] = False
    is_tap[1:, 0] = True
    return values, truth, is_tap


def squared_errors(values, truth, weight):
    return (torch.einsum("ct,ctk->ck", weight, values) - truth).square().sum(-1)


@pytest.mark.parametrize(("tap_count", "channels"), [(1, 40), (8, 40), (32, 40), (64, 12)])
def test_convex_weights_are_those_of_nonnegative_least_squares(tap_count, channels):
    values, truth, is_tap = some_fit(tap_count, channels)
    gram = error_gram(values, truth, is_tap)
    weight = convex_weights(gram, is_tap)
    assert (weight >= 0).all()
    assert (weight[~is_tap] == 0).all()
    torch.testing.assert_close(weight[1:].sum(-1), torch.ones(len(truth) - 1))
    assert (weight[0] == 0).all()
    errors = squared_errors(values, truth, weight)
    # A heavy last row makes the weights of nnls sum to 1.
    heavy = 1e4
    for cell in range(1, len(truth)):
        taps = values[cell][is_tap[cell]].T.double().numpy()
        system = np.vstack([taps, np.full((1, taps.shape[1]), heavy)])
        _, distance = nnls(system, np.append(truth[cell].double().numpy(), heavy))
        assert float(errors[cell]) == pytest.approx(distance**2, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("tap_count", [8, 32])
def test_the_duality_gap_bounds_what_is_left(tap_count):
    values, truth, is_tap = some_fit(tap_count)
    gram = error_gram(values, truth, is_tap)
    weight = convex_weights(gram, is_tap, tolerance=1e-6)
    error = torch.einsum("ct,cts,cs->c", weight.double(), gram, weight.double())
    assert (duality_gap(gram, weight.double(), is_tap)[1:] <= 1e-4 * error[1:] + 1e-6).all()
    uniform = is_tap / is_tap.sum(-1, keepdim=True).clamp(min=1)
    worse = torch.einsum("ct,cts,cs->c", uniform.double(), gram, uniform.double())
    assert (duality_gap(gram, uniform.double(), is_tap)[1:] >= (worse - error)[1:] - 1e-6).all()


def test_affine_weights_leave_no_direction_of_descent():
    values, truth, is_tap = some_fit(12)
    gram = error_gram(values, truth, is_tap)
    weight = affine_weights(gram, is_tap)
    assert (weight[~is_tap] == 0).all()
    torch.testing.assert_close(weight[1:].sum(-1), torch.ones(len(truth) - 1))
    # At the optimum all taps have the same slope: it is the multiplier of the sum.
    slope = torch.einsum("cts,cs->ct", gram, weight.double())
    for cell in range(1, len(truth)):
        here = slope[cell][is_tap[cell]]
        assert float(here.max() - here.min()) <= 0.01 * float(gram[cell].diagonal().max())
    convex = squared_errors(values, truth, convex_weights(gram, is_tap))
    assert (squared_errors(values, truth, weight)[1:] <= convex[1:] * 1.001).all()


def test_an_exact_combination_is_found():
    values, _, is_tap = some_fit(6)
    share = torch.rand(len(values), 6, generator=torch.Generator().manual_seed(3)) * is_tap
    share[1:] /= share[1:].sum(-1, keepdim=True)
    truth = torch.einsum("ct,ctk->ck", share, values)
    weight = convex_weights(error_gram(values, truth, is_tap), is_tap)
    assert (squared_errors(values, truth, weight)[1:] < 1e-4 * truth[1:].square().sum(-1)).all()


def test_a_fit_to_noise_gains_nothing_across_channels():
    generator = torch.Generator().manual_seed(5)
    noise, truth = torch.randn(64, 24, 32, generator=generator), torch.randn(64, 32, generator=generator)
    is_tap = torch.ones(64, 24, dtype=torch.bool)
    mean_error = (noise.mean(1) - truth).square().mean()
    fitted = squared_errors(noise, truth, convex_weights(error_gram(noise, truth, is_tap), is_tap)).mean() / 32
    across = (across_channels(noise, is_tap, truth, convex_weights) - truth).square().mean()
    assert fitted < 0.9 * mean_error < mean_error < across
    assert across_channels(noise[..., :3], is_tap, truth[:, :3], convex_weights) is None


def some_view(channels=24, tap_count=5):
    generator = torch.Generator().manual_seed(channels)
    maps = [FeatureMap(torch.randn(channels, 6, 7, generator=generator), GRID) for _ in range(SOURCES)]
    cells = GRID.cell_count
    weight = torch.rand(cells, tap_count, generator=generator).sort(descending=True).values
    coverage = torch.ones(cells)
    coverage[:4], weight[:4] = 0, 0
    weights = BlendingWeights(
        grid=GRID,
        source_ids=("a", "b", "c"),
        source=torch.randint(SOURCES, (cells, tap_count), generator=generator),
        uv=24 * torch.rand(cells, tap_count, 2, generator=generator),
        weight=weight / weight.sum(-1, keepdim=True).clamp(min=1e-9),
        log_scale_ratio=torch.zeros(cells, tap_count),
        z_depth=torch.ones(cells),
        coverage=coverage,
    )
    return weights, maps, FeatureMap(torch.randn(channels, 6, 7, generator=generator), GRID)


def test_attainable_errors_are_nested_and_start_at_the_blend():
    weights, maps, truth = some_view()
    errors = attainable(weights, maps, truth)
    blended = blend(weights, maps).features.values.flatten(1)[:, 4:].T
    wanted = truth.values.flatten(1)[:, 4:].T
    torch.testing.assert_close(errors["blended"].squared_error, (blended - wanted).double().square().sum(-1))
    cosine = torch.nn.functional.cosine_similarity(blended, wanted, dim=-1)
    torch.testing.assert_close(errors["blended"].cosine_distance, 1 - cosine.double(), rtol=1e-4, atol=1e-5)
    order = [errors[rule].squared_error for rule in ("affine", "convex", "nearest_tap")]
    assert (order[0] <= order[1] * 1.002).all()
    assert (order[1] <= order[2] * 1.002).all()
    assert (order[1] <= errors["blended"].squared_error * 1.002).all()


def test_attainable_of_picked_cells_is_that_of_all():
    weights, maps, truth = some_view()
    everywhere, picked = attainable(weights, maps, truth), attainable(weights, maps, truth, torch.tensor([7, 20, 41]))
    for rule, errors in picked.items():
        of_all = everywhere[rule].squared_error[torch.tensor([3, 16, 37])]
        torch.testing.assert_close(errors.squared_error, of_all, rtol=2e-3, atol=1e-6)


def test_affine_is_left_out_where_it_would_fit_anything():
    assert "affine" not in attainable(*some_view(channels=9))
    assert "affine" in attainable(*some_view(channels=10))


def test_directions_of_nothing_are_undefined_or_wrong():
    errors = CellErrors.of(torch.tensor([[0.0, 0], [1, 0], [2, 0]]), torch.tensor([[1.0, 0], [0, 0], [1, 0]]))
    assert errors.cosine_distance[0] == 1
    assert torch.isnan(errors.cosine_distance[1])
    assert errors.cosine_distance[2] == 0


def test_the_heaviest_taps_are_those_of_a_smaller_count(proposal):
    untied = replace(proposal, visibility=proposal.visibility * torch.tensor([1.0, 0.7, 0.4]))
    few, many = weights_at(untied, GRID, tap_count=3), weights_at(untied, GRID, tap_count=9)
    cut = truncated(many, 3)
    torch.testing.assert_close(cut.weight, few.weight)
    # Of taps of one weight, any may be kept.
    is_ranked = (many.weight[:, :3] - many.weight[:, 1:4]).amin(-1) > 1e-5
    assert float(is_ranked.float().mean()) > 0.5
    torch.testing.assert_close(cut.uv[is_ranked], few.uv[is_ranked])


@pytest.fixture(scope="module")
def proposal():
    """Of the middle view of two planes."""
    from lift3d.lifters.catalog import build_lifter
    from lift3d.pipeline.propose import propose
    from lift3d.pipeline.targets import Target

    scene = two_planes_scene()
    target = Target("0002", scene.views[2].camera, scene.views[2], (), (("0000", 1.0), ("0001", 1.0), ("0003", 1.0)))
    frames = {view.id: view.load() for view in scene.views}
    return propose(build_lifter("depth_mean"), target, frames.__getitem__, scene.depth_range)


def test_the_true_surface_is_where_sources_show_it():
    frames = [view.load() for view in two_planes_scene().views]
    target, sources = frames[2], [frames[0], frames[4]]
    size = target.camera.size
    places = true_surface(target, sources, FeatureGrid(size.height, size.width, 1.0, 1.0))
    for index, source in enumerate(sources):
        is_seen = places.is_tap[:, index]
        # The card hides part of the wall from the side, and only part of it.
        assert 0.5 < float(is_seen.float().mean()) < 1
        colours = sample(source.image, places.uv[is_seen, index])
        difference = (colours - target.image.flatten(1)[:, is_seen]).abs().amax(0)
        assert float((difference < 0.06).float().mean()) > 0.95
    assert true_surface(replace(target, z_depth=None), sources, GRID) is None


@pytest.fixture(scope="module")
def figures():
    recipe = small_recipe(operators=["rgb", "hog"], lifters=["depth_mean"])
    return oracle.run(recipe, "memory://oracle-test", tap_counts=(12, 4), cell_count=40)


def test_a_run_gives_every_rule_and_bounds_in_order(figures):
    assert figures["tap_counts"] == [4, 12]
    (scene,) = figures["scenes"]
    rgb, hog = scene["operators"]
    assert len(hog["targets"]) == scene["target_count"] == 6
    assert {*hog["taps"]["12"]["rules_known_depth"]} <= {*RULES}
    assert "psnr" in rgb["taps"]["4"]["rules"]["blended"]
    for operator in (rgb, hog):
        for at in operator["taps"].values():
            for rules in (at["rules"], at["rules_known_depth"]):
                error = {rule: rules[rule]["nmse"] for rule in rules}
                assert error["convex"] <= 1.002 * min(error["blended"], error["views"], error["nearest_tap"])
                assert error["views"] <= 1.002 * error["views_window"]
            known = at["rules_known_depth"]
            assert known["convex_true"]["nmse"] <= 1.002 * known["convex"]["nmse"]
        few, many = (operator["taps"][count]["rules"]["convex"]["nmse"] for count in ("4", "12"))
        assert many <= 1.002 * few
    again = oracle.run(oracle.Recipe.model_validate(figures["recipe"]), "memory://oracle-test", (4, 12), 40)
    assert json.dumps(again, allow_nan=False) == json.dumps(figures, allow_nan=False)


def test_losses_add_up_and_the_page_shows_them(figures):
    hog = figures["scenes"][0]["operators"][1]
    found = losses(hog, "12")
    assert found["gap"] == pytest.approx(found["views"] + found["depth"])
    assert found["best"] == hog["taps"]["12"]["rules"]["convex"]["cosine_distance"]
    text = page(figures)
    assert "where it is lost, 12 taps" in text
    assert f"| {found['gap']:.4f} |" in text
    assert all(f"`{rule}`" in text for rule in hog["taps"]["12"]["rules_known_depth"])


@pytest.mark.parametrize(
    ("fields", "arguments", "said"),
    [
        ({"target_mode": "refine"}, {}, "Hold views out"),
        ({"lifters": ["nearest_view", "depth_mean"]}, {}, "one lifter"),
        ({"lifters": ["depth_mean"]}, {"tap_counts": (0,)}, "taps"),
        ({"lifters": ["depth_mean"]}, {"cell_count": 0}, "cells=0"),
    ],
)
def test_a_wrong_request_is_refused(fields, arguments, said):
    with pytest.raises(ConfigError, match=said):
        oracle.run(small_recipe(**fields), "memory://oracle-test", **arguments)


def test_the_command_prints_json_and_writes_the_page(tmp_path):
    out = tmp_path / "new" / "oracle.md"
    options = ["--operator", "hog", "--lifter", "nearest_view", "--taps", "4", "--cells", "10", "--image-height", "48"]
    options += ["--sources", "3", "--holdout", "4", "--store", str(tmp_path / "store"), "--json", "--out", str(out)]
    ran = CliRunner().invoke(cli.app, ["bench", "oracle", ROOM, *options])
    assert ran.exit_code == 0, ran.output
    (scene,) = json.loads(ran.stdout)["scenes"]
    assert scene["target_count"] == 2
    assert "hog" in out.read_text(encoding="utf-8")
