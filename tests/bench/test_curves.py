"""Curves over taps and sources: what more than all candidates cannot change, and what the page says."""

import json

import pytest
import torch
from click.testing import CliRunner

from lift3d.bench import curves, curves_page
from lift3d.bench.curves_picture import draw_bench_curves
from lift3d.bench.lifter_errors import HeldOutScene
from lift3d.cli import app as cli
from lift3d.config import Recipe
from lift3d.errors import ConfigError, UnknownNameError
from lift3d.lifters.weights import weights_at
from lift3d.pipeline.encode import encode_view, target_grids
from lift3d.pipeline.propose import propose

SCENE = "procedural:room?seed=0&views=4&height=32&width=48"


@pytest.fixture(scope="module")
def recipe():
    return Recipe(
        scenes=(SCENE,),
        operators=("rgb",),
        lifters=curves.compared("lift3d"),
        image_height=32,
        sources=3,
        holdout=2,
        target_mode="heldout",
    )


@pytest.fixture(scope="module")
def figures(recipe, tmp_path_factory):
    return curves.measure(recipe, str(tmp_path_factory.mktemp("store")), (4, 4096), (2, 3), cell_count=64)


def test_more_taps_than_candidates_change_nothing(recipe, tmp_path):
    scene = HeldOutScene(SCENE, recipe, str(tmp_path))
    target = scene.targets(3)[0]
    lifter, operator = scene.models.lifters[0], scene.models.operators[0]
    proposal = propose(lifter, target, scene.inputs.frame, scene.inputs.scene.depth_range)
    (grid,) = target_grids(operator, target.camera.size)
    count = curves.candidate_count(proposal, grid)
    all_of_them, more = (weights_at(proposal, grid, tap_count=taps) for taps in (count, count + 5))
    torch.testing.assert_close(more.weight[:, :count], all_of_them.weight, rtol=0, atol=0)
    assert float(more.weight[:, count:].abs().sum()) == 0


def test_features_of_more_taps_than_candidates_are_those_of_all(recipe, tmp_path):
    scene = HeldOutScene(SCENE, recipe.model_copy(update={"operators": ("hog",)}), str(tmp_path))
    target, (operator,) = scene.targets(3)[0], scene.models.operators
    proposal = scene.propose(scene.models.lifters[0], target)
    (guide,) = encode_view(operator, scene.picture(proposal))
    count, state = curves.candidate_count(proposal, guide.grid), scene.state(operator, target)
    shared, whole = (
        [scene.lifted(operator, lifter, proposal, guide.grid, guide, state, taps).values for taps in (count, 2 * count)]
        for lifter in scene.models.lifters
    )
    assert torch.equal(*shared)
    # Stage II sums over padding too, which may add in another order.
    torch.testing.assert_close(*whole, rtol=1e-4, atol=1e-5)


def test_a_count_beyond_all_candidates_gives_what_all_give(figures):
    (row, *_) = figures["scenes"][0]["rows"]
    for lifter in ("shared_weights", "lift3d"):
        assert row["taps"]["4096"][lifter] == row["taps"][curves.ALL][lifter]
        assert 0 < row["taps"]["4"][lifter]["fidelity"] <= 1


def test_the_page_and_the_picture_are_made_of_the_same_figures(figures, tmp_path):
    picture = tmp_path / "curves.png"
    draw_bench_curves(figures, picture)
    assert picture.stat().st_size > 10_000
    text = curves_page.page(json.loads(json.dumps(figures)), picture)
    assert "lift3d bench curves" in text
    assert "curves.png" in text
    assert "0.5 %" in text


def test_what_is_no_curve_is_refused(recipe, tmp_path):
    with pytest.raises(UnknownNameError, match="learned lifter"):
        curves.compared("plane_sweep")
    with pytest.raises(ConfigError, match="Hold views out"):
        curves.measure(recipe.model_copy(update={"target_mode": "refine", "holdout": None}), str(tmp_path))


def test_the_command_writes_the_page_and_the_picture_and_prints_one_object(tmp_path):
    out = tmp_path / "pages" / "curves.md"
    options = ["--image-height", "32", "--sources", "3", "--store", str(tmp_path / "store"), "--out", str(out)]
    printed = CliRunner().invoke(
        cli.app, ["bench", "curves", SCENE.replace("views=4", "views=3"), *options, "--json"], catch_exceptions=False
    )
    found = json.loads(printed.stdout)
    assert {"recipe", "tap_counts", "source_counts", "cells_per_target", "judged", "scenes", "losses"} == set(found)
    (scene,) = found["scenes"]
    assert {"target", "operator", "covered", "candidates", "taps", "sources", "covered_by_sources"} == set(
        scene["rows"][0]
    )
    # Three views, each left out in turn: two are left to be sources.
    assert scene["source_counts"] == [2]
    assert "has 2 views that may be sources, of 12 asked for" in out.read_text(encoding="utf-8")
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_page_does_not_take_the_name_of_its_picture(tmp_path):
    with pytest.raises(ConfigError, match="markdown"):
        curves_page.picture_beside(tmp_path / "curves.png")
