"""Runs on the scene's surface: views agree in the default mode, and the surface is estimated once and kept."""

import pytest
import torch

import lift3d
from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.pipeline.anchor import finer_grid
from lift3d.pipeline.surface import read_surface
from lift3d.storage.location import open_store
from lift3d.surface.anchors import GUESSED
from tests.support.runs import ROOM, ran, rows_of, run_into, small_recipe

SCENE = "procedural:room?views=8&height=64&width=80"
WORDS = "open_vocabulary?prompts=a red ball,a blue box&of=tiny:clip"
OPERATORS = ("tiny:style", "tiny:segmenter", "tiny:encoder", "rgb", WORDS)


def recipe_of(**fields):
    metrics = ["warp_error_long", "warp_floor_long", "psnr_2d", "coverage"]
    given = {
        "scenes": [SCENE],
        "lifters": ["anchored"],
        "metrics": metrics,
        "image_height": 64,
        "target_mode": "refine",
    }
    return small_recipe(**{**given, **fields})


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("anchored") / "store")
    recipe = recipe_of(operators=OPERATORS)
    return url, recipe, run_into(url, recipe), rows_of(url, recipe)


def leaf_of(store):
    (scene,) = store.names("scenes")
    (leaf,) = store.names(f"scenes/{scene}/geometry/sensor")
    return f"scenes/{scene}/geometry/sensor/{leaf}"


def mean(rows, operator, lifter, metric):
    chosen = rows[(rows["operator"] == operator) & (rows["lifter"] == lifter) & (rows["metric"] == metric)]
    return chosen[chosen["protocol"].str.endswith("/all")]["value"].mean()


@pytest.mark.parametrize(("operator", "left"), [("tiny:style", 0.5), ("tiny:segmenter", 0.5), ("tiny:encoder", 0.4)])
def test_views_that_are_their_own_sources_agree(refined, operator, left):
    rows = refined[3]

    def excess(lifter):
        return mean(rows, operator, lifter, "warp_error_long") - mean(rows, operator, lifter, "warp_floor_long")

    assert excess("anchored") < left * excess("raw2d")


def test_light_is_what_each_view_measured_and_nearly_all_is_covered(refined):
    rows = refined[3]
    assert mean(rows, "rgb", "anchored", "psnr_2d") > 35
    assert mean(rows, WORDS, "anchored", "coverage") > 0.95
    assert not rows[rows["outcome"] == "failed"].size


def test_how_sure_each_cell_is_stands_beside_coverage(refined):
    url = refined[0]
    for operator in ("tiny:segmenter", "tiny:encoder", "rgb"):
        for view in lift3d.open_lifted(url, operator=operator, lifter="anchored").views():
            for one in view.lifted:
                assert bool(((one.confidence > 0) == (one.coverage > GUESSED)).all())
                assert float(one.confidence.max()) < 1
    assert lift3d.open_lifted(url, operator="rgb", lifter="anchored").plain("0000").lifted[0].confidence is None


def test_a_second_run_computes_nothing_and_another_operator_its_own_alone(refined):
    url, recipe, records, _ = refined
    assert records[0].computed["surfaces"] == 1
    assert run_into(url, recipe)[0].computed == {}
    computed = run_into(url, recipe_of(operators=[*OPERATORS, "hog"]))[0].computed
    assert "surfaces" not in computed
    assert computed["lifted"] == 2


def test_what_is_read_is_what_was_written(refined):
    url, *_ = refined
    store = open_store(url)
    surface = read_surface(store, leaf_of(store))
    assert surface.method == "sensor"
    assert len(surface.views) == 8
    assert set(surface.keyframes) <= set(range(8))
    assert all(bool((torch.isfinite(one.z_depth) == (one.confidence > 0)).all()) for one in surface.views)


def test_what_is_held_out_has_no_part_in_the_surface(tmp_path):
    url = str(tmp_path / "store")
    recipe = recipe_of(scenes=[ROOM], operators=["rgb"], target_mode="heldout", holdout=3, image_height=48)
    record = run_into(url, recipe)[0]
    assert record.is_ok
    store = open_store(url)
    assert len(read_surface(store, leaf_of(store)).views) == 4


def test_a_surface_that_has_seen_its_targets_claims_agreement_and_no_fidelity(tmp_path):
    metrics = ["psnr", "warp_error_short", "coverage"]
    _, rows = ran(tmp_path, operators=["rgb"], lifters=["plane_sweep", "anchored"], metrics=metrics)
    own = rows[rows["lifter"] == "anchored"].set_index("metric")
    assert set(own.loc["psnr", "outcome"]) == {"skipped"}
    assert set(own.loc["psnr", "reason"].str.split(":").str[0]) == {"surface-saw-target"}
    assert set(own.loc[["warp_error_short", "coverage"], "outcome"]) == {"ok"}
    others = rows[(rows["lifter"] != "anchored") & (rows["metric"] == "psnr")]
    assert set(others["outcome"]) == {"ok"}


@pytest.mark.parametrize(
    ("rows", "stride_px", "fine_px"),
    [
        pytest.param(120, 4, 1, id="a quarter of a cell"),
        pytest.param(480, 16, 4, id="a quarter of a wide cell"),
        pytest.param(480, 4, 2, id="no finer than depth that is given"),
        pytest.param(120, 1, 1, id="no coarser than the cells themselves"),
    ],
)
def test_what_is_decided_cell_by_cell_is_read_on_finer_cells(rows, stride_px, fine_px):
    size = ImageSize(rows, rows * 4 // 3)
    fine = finer_grid(FeatureGrid.covering(size, float(stride_px)), size)
    assert (fine.rows, fine.cols) == pytest.approx((rows / fine_px, rows * 4 / 3 / fine_px), rel=0.1)
