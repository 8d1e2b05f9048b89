"""What every metric of the catalog promises; a new one is tested by being there."""

import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.features import FeatureMap
from lift3d.domain.lifted import Prediction
from lift3d.errors import ConfigError, UnknownNameError
from lift3d.metrics.catalog import BETTER, METRICS, build_metrics
from lift3d.metrics.counting import counted_cells
from lift3d.metrics.protocol import Observations
from lift3d.metrics.scoring import applies, score_scene
from tests.metrics.evidence_builders import ANSWERS, KIND_OF, KINDS, noisy_scene, oracle_scene, quantity_of, replaced

# At least 15° between the outer two of the row, under 15° between neighbours: both ranges have pairs.
ROW = {"view_count": 4, "baseline": 0.3}
GIVEN = {"labels", "instances", "depth", "geometry", "truth"}
CASES = [
    (name, answer)
    for name, metric in zip(METRICS, build_metrics(), strict=True)
    for answer in ANSWERS
    if applies(metric.spec, KIND_OF.get(answer, answer), GIVEN, quantity_of(answer))
]


def scored(name, evidence):
    return score_scene(build_metrics([name]), evidence, "rgb", restores=True)


def figures(items):
    return [(item.target, item.other, item.score.value, item.score.weight) for item in items]


@pytest.fixture(scope="module", params=ANSWERS)
def noisy(request):
    return request.param, noisy_scene(oracle_scene(request.param, **ROW), 0.1)


def applicable(kind):
    return [name for name, one in CASES if one == kind]


@pytest.mark.parametrize("name", METRICS)
def test_the_spec_says_what_the_catalog_says(name):
    spec = build_metrics([name])[0].spec
    assert spec.name == name
    assert spec.better == BETTER[name]
    assert spec.stage_version >= 1
    assert set(spec.kinds) <= set(KINDS)
    assert any(case == name for case, _ in CASES), "a metric that applies to nothing"


def test_a_figure_or_a_reason_and_the_same_every_time_whatever_is_asked_for_beside_it(noisy):
    kind, evidence = noisy
    alone = []
    for name in applicable(kind):
        items = scored(name, evidence)
        assert items, name
        for item in items:
            assert math.isfinite(item.score.value) == (item.score.reason == "") == (item.outcome == "ok")
            assert item.score.weight > 0 if item.outcome == "ok" else item.score.weight == 0
        assert any(item.outcome == "ok" for item in items), f"{name}: {items[0].score.reason}"
        alone += figures(items)
    together = score_scene(build_metrics(applicable(kind)), evidence, "rgb", restores=True)
    assert figures(together) == alone


@pytest.mark.parametrize("garbage", [1e6, math.nan])
def test_what_does_not_count_changes_nothing(noisy, garbage):
    """Whatever lies under the mask, in predictions, features, the true image, depth or labels, is not looked at."""
    kind, evidence = noisy
    before, after = [], []
    for index, view in enumerate(evidence.views):
        counts = view.counts.clone()
        counts[:, : 16 + 4 * index] = False
        masked = replace(view, counts=counts)
        before.append(masked)
        after.append(spoiled(masked, garbage))
    for name in applicable(kind):
        clean = repr(figures(scored(name, replace(evidence, views=before))))
        assert repr(figures(scored(name, replace(evidence, views=after)))) == clean, name


def spoiled(view, garbage):
    is_cell = counted_cells(view.counts, view.filled[0].grid)
    features = FeatureMap(torch.where(is_cell, view.filled[0].values, garbage), view.filled[0].grid)
    old = view.lifted.prediction
    keep = is_cell if old.kind == "embedding" else view.counts
    filler = 77 if old.kind == "labels" else garbage
    prediction = Prediction(old.kind, torch.where(keep, old.values, filler), old.is_valid)
    frame = replace(
        view.frame,
        image=torch.where(view.counts, view.frame.image, garbage),
        labels=torch.where(view.counts, view.frame.labels, 55),
        instances=torch.where(view.counts, view.frame.instances, 55),
        z_depth=torch.where(view.counts, view.frame.z_depth, garbage),
    )
    return replace(replaced(view, prediction, features), frame=frame)


def test_where_nothing_counts_or_there_is_no_geometry_there_are_reasons_and_no_numbers(noisy):
    kind, evidence = noisy
    empty = replace(evidence, views=[replace(v, counts=torch.zeros_like(v.counts)) for v in evidence.views])
    for name in applicable(kind):
        for item in scored(name, empty):
            assert math.isnan(item.score.value), name
            assert ": " in item.score.reason
    none = torch.zeros(0, dtype=torch.long)
    blind = replace(evidence, matches={}, observations=Observations(none, none, torch.zeros(0, 2)))
    for name in applicable(kind):
        spec = build_metrics([name])[0].spec
        if "geometry" in spec.needs:
            (item,) = scored(name, blind)
            assert item.outcome == "skipped"
            assert item.score.reason.startswith(("no-pairs", "no-sightings"))


def test_a_misspelt_metric_is_told_apart_from_a_missing_plugin_and_from_ones_own():
    with pytest.raises(UnknownNameError, match="psnr"):
        build_metrics(["psrn"])
    with pytest.raises(ConfigError, match="cannot be imported"):
        build_metrics(["no_such_module:metric"])
    with pytest.raises(ConfigError, match="expected a metric"):
        build_metrics(["math:pi"])
    own = build_metrics(["lift3d.metrics.scoring:coverage"])
    assert own == build_metrics(["coverage"])
    assert build_metrics(["lift3d.metrics.segmentation:object_iou"])[0].spec.name == "object_iou"
    with pytest.raises(ConfigError, match="unique"):
        build_metrics(["coverage", "lift3d.metrics.scoring:coverage"])
