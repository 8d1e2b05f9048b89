import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.features import FeatureMap
from lift3d.domain.lifted import Prediction
from lift3d.errors import NonFiniteError, ShapeError
from lift3d.metrics.catalog import build_metrics
from lift3d.metrics.scoring import applies, score_scene
from tests.metrics.evidence_builders import oracle_scene, replaced


def names(items):
    return {item.metric.name for item in items}


def test_each_kind_gets_its_own_metrics():
    everything = build_metrics()
    labels = names(score_scene(everything, oracle_scene("labels"), "tiny:seg"))
    image = names(score_scene(everything, oracle_scene("image"), "rgb", restores=True))
    assert {"miou", "label_kappa", "label_agreement_2d"} <= labels
    assert not {"psnr", "psnr_2d"} & labels
    assert {"psnr", "ssim", "psnr_2d"} <= image
    assert "miou" not in image
    spec = build_metrics(["psnr"])[0].spec
    cases = (("image", {"truth"}), ("labels", {"truth"}), ("image", {"labels"}))
    assert [applies(spec, *given) for given in cases] == [True, False, False]


def test_labels_are_only_asked_for_where_some_view_has_them_and_nothing_where_there_is_no_view():
    scene = oracle_scene("labels")
    bare = replace(scene, views=[replace(v, frame=replace(v.frame, labels=None)) for v in scene.views])
    assert not {"miou", "pixel_accuracy", "miou_scene"} & names(score_scene(build_metrics(), bare, "seg"))
    assert score_scene(build_metrics(), replace(scene, views=[]), "seg") == []


def test_pairs_fall_into_the_range_of_their_angle():
    scene = oracle_scene("image", view_count=6, baseline=0.3)
    items = score_scene(build_metrics(["warp_error_short", "warp_error_long"]), scene, "rgb")
    angle = {(f"v{a}", f"v{b}"): found.angle_deg for (a, b), found in scene.matches.items()}
    assert {(item.target, item.other) for item in items} == set(angle)
    for item in items:
        assert (angle[item.target, item.other] < 15) == (item.metric.name == "warp_error_short")


def test_targets_and_coverage_stand_beside_the_figure():
    scene = oracle_scene("image", view_count=3)
    items = score_scene(build_metrics(["psnr_2d", "warp_error_short", "rho"]), scene, "rgb")
    assert [item.target for item in items if item.metric.name == "psnr_2d"] == ["v0", "v1", "v2"]
    assert all(item.coverage == 1 for item in items)
    assert [(item.target, item.other) for item in items if item.metric.name == "rho"] == [("", "")]


def test_nan_where_pixels_count_is_loud_in_views_and_in_scenes():
    scene = oracle_scene("image")
    first, second, *others = scene.views
    values = second.lifted.prediction.values.clone()
    values[0, 20, 20] = math.nan
    features = FeatureMap(torch.full_like(second.filled[0].values, math.nan), second.filled[0].grid)
    spoiled = replaced(second, Prediction("image", values, second.frame.is_valid), features)
    for metric, view in (("psnr_2d", "v1"), ("rho", None)):
        with pytest.raises(NonFiniteError, match=metric) as caught:
            score_scene(build_metrics([metric]), replace(scene, views=[first, spoiled, *others]), "rgb")
        assert view is None or (caught.value.view, caught.value.operator) == (view, "rgb")


def test_a_prediction_of_another_size_is_refused():
    scene = oracle_scene("image", view_count=2)
    small = Prediction("image", torch.zeros(3, 24, 32), torch.ones(24, 32, dtype=torch.bool))
    with pytest.raises(ShapeError, match="size of the frame"):
        score_scene(build_metrics(["psnr_2d"]), replace(scene, views=[replaced(scene.views[0], small)]), "rgb")
