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


def test_true_images_are_for_operators_that_predict_the_image():
    spec = build_metrics(["psnr"])[0].spec
    assert applies(spec, "image", {"truth"})
    assert not applies(spec, "labels", {"truth"})
    assert not applies(spec, "image", {"labels", "geometry"})


def test_labels_are_only_asked_for_where_some_view_has_them():
    scene = oracle_scene("labels")
    bare = replace(scene, views=[replace(v, frame=replace(v.frame, labels=None)) for v in scene.views])
    assert not {"miou", "pixel_accuracy", "miou_scene"} & names(score_scene(build_metrics(), bare, "seg"))


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


def test_no_views_no_figures():
    assert score_scene(build_metrics(), replace(oracle_scene(), views=[]), "rgb") == []


def test_nan_where_pixels_count_is_loud():
    scene = oracle_scene("image")
    view = scene.views[1]
    values = view.lifted.prediction.values.clone()
    values[0, 20, 20] = math.nan
    spoiled = replaced(view, Prediction("image", values, view.frame.is_valid))
    with pytest.raises(NonFiniteError, match="psnr_2d") as caught:
        score_scene(build_metrics(["psnr_2d"]), replace(scene, views=[scene.views[0], spoiled]), "rgb")
    assert caught.value.view == "v1"
    assert caught.value.operator == "rgb"


def test_nan_features_are_loud_in_scene_figures():
    scene = oracle_scene("image")
    old = scene.views[0].filled[0]
    spoiled = replaced(scene.views[0], features=FeatureMap(torch.full_like(old.values, math.nan), old.grid))
    with pytest.raises(NonFiniteError, match="rho"):
        score_scene(build_metrics(["rho"]), replace(scene, views=[spoiled, *scene.views[1:]]), "rgb")


def test_a_prediction_of_another_size_is_refused():
    scene = oracle_scene("image", view_count=2)
    small = Prediction("image", torch.zeros(3, 24, 32), torch.ones(24, 32, dtype=torch.bool))
    with pytest.raises(ShapeError, match="size of the frame"):
        score_scene(build_metrics(["psnr_2d"]), replace(scene, views=[replaced(scene.views[0], small)]), "rgb")
