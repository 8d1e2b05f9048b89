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


@pytest.mark.parametrize(
    ("answer", "own", "others"),
    [
        ("labels", {"miou", "label_kappa", "label_agreement_2d", "warp_error_short", "rho"}, {"psnr", "psnr_2d", "pq"}),
        ("image", {"psnr", "ssim", "psnr_2d", "warp_error_short", "rho"}, {"miou", "depth_abs_rel"}),
        ("scalar", {"scalar_error_2d", "warp_error_short", "rho"}, {"depth_abs_rel", "depth_cross_short"}),
        ("depth", {"depth_abs_rel", "depth_cross_short"}, {"warp_error_short", "rho", "direction_cross_short"}),
        ("disparity", {"depth_abs_rel", "depth_cross_short"}, {"warp_error_short", "rho"}),
        ("direction", {"direction_cross_short"}, {"warp_error_short", "rho", "depth_cross_short"}),
        ("instance", {"warp_error_short", "rho", "pq"}, {"depth_abs_rel", "direction_cross_short"}),
    ],
)
def test_each_kind_and_quantity_has_the_metrics_that_know_what_it_is(answer, own, others):
    found = names(
        score_scene(build_metrics(sorted(own | others)), oracle_scene(answer), "x", restores=answer == "image")
    )
    assert found == own
    spec = build_metrics(["psnr"])[0].spec
    assert [applies(spec, "image", given) for given in ({"truth"}, {"labels"})] == [True, False]


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
