"""Depth and directions: what is true agrees from view to view, and everything else costs."""

from dataclasses import replace

import pytest
import torch

from lift3d.metrics.catalog import build_metrics
from lift3d.metrics.scoring import score_scene
from tests.metrics.evidence_builders import oracle_scene, view_evidence, with_border_uncounted, with_predictions

ROW = {"view_count": 4, "baseline": 0.3, "slant": 0.4}
QUANTITIES = ("depth", "disparity")
CROSS = ("depth_cross_short", "depth_cross_long")


def inner(scene):
    return replace(scene, views=[with_border_uncounted(view) for view in scene.views])


def values(name, scene):
    return [item.score.value for item in score_scene(build_metrics([name]), scene, "depth")]


def mean(name, scene):
    found = values(name, scene)
    return sum(found) / len(found)


@pytest.fixture(scope="module", params=QUANTITIES)
def scene(request):
    return request.param, inner(oracle_scene(request.param, **ROW))


def test_the_truth_errs_nowhere_and_noise_costs_more_the_more_there_is(scene):
    _, truth = scene
    assert max(values("depth_abs_rel", truth)) < 1e-6
    for name in CROSS:
        found = values(name, truth)
        assert len(found) >= 2
        assert max(found) < 1e-4
    draws = torch.randn(4, *truth.views[0].lifted.prediction.values.shape, generator=torch.Generator().manual_seed(0))
    for name in ("depth_abs_rel", *CROSS):
        errors = [
            mean(name, with_predictions(truth, lambda z, i, s=sigma: z + s * draws[i])) for sigma in (0.0, 0.01, 0.05)
        ]
        assert errors[0] < errors[1] < errors[2]


def test_a_depth_that_is_off_by_a_factor_and_views_of_unequal_scale_err_by_it(scene):
    quantity, truth = scene
    off = with_predictions(truth, lambda z, _: z / 1.25 if quantity == "disparity" else 1.25 * z)
    assert values("depth_abs_rel", off) == pytest.approx([0.25] * 4, abs=1e-5)
    # The same factor everywhere is another world: along its rays the views move apart, by less than the factor.
    assert 0 < mean("depth_cross_short", off) < 0.25
    scale = [1.0, 1.1, 1.0, 1.1]
    off = with_predictions(truth, lambda z, i: z / scale[i] if quantity == "disparity" else scale[i] * z)
    assert mean("depth_cross_short", off) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("nonsense", [0.0, -3.0])
def test_no_depth_costs_all_of_it(scene, nonsense):
    _, truth = scene
    blank = with_predictions(truth, lambda z, _: torch.full_like(z, nonsense))
    for name in ("depth_abs_rel", *CROSS):
        assert values(name, blank) == pytest.approx([1.0] * len(values(name, blank)))


def test_pixels_of_unknown_depth_are_left_out():
    view = view_evidence(oracle_scene("depth", **ROW).views[0].frame, "depth")
    z_depth = view.frame.z_depth.clone()
    z_depth[:, :30] = torch.nan
    half = replace(view, frame=replace(view.frame, z_depth=z_depth))
    (metric,) = build_metrics(["depth_abs_rel"])
    assert metric.score(half).value < 1e-6
    assert metric.score(half).weight == int(torch.isfinite(z_depth).sum())
    unknown = replace(view, frame=replace(view.frame, z_depth=torch.full_like(z_depth, torch.nan)))
    assert metric.score(unknown).reason.startswith("no-depth")
    assert metric.score(replace(view, frame=replace(view.frame, z_depth=None))).reason.startswith("no-depth")


def test_directions_agree_in_world_axes():
    scene = inner(oracle_scene("direction", **ROW))
    assert max(values("direction_cross_short", scene)) < 1e-4
    turned = with_predictions(scene, lambda n, i: n[[1, 2, 0]] if i % 2 else n)
    none = with_predictions(scene, lambda n, _: torch.zeros_like(n))
    for name, wrong in (("direction_cross_short", turned), ("direction_cross_long", none)):
        assert {round(value, 3) for value in values(name, wrong)} == {90.0}
