"""The table of lifters: every one on the same cells of the same targets."""

import shlex

import pytest

from lift3d.bench import lifters
from lift3d.config import parse_recipe

RECIPE = parse_recipe(
    {
        "scenes": ["procedural:room?seed=1&views=4&height=48&width=64"],
        "operators": ["rgb", "hog"],
        "lifters": ["plane_sweep", "shared_weights", "lift3d"],
        "image_height": 48,
        "sources": 3,
        "target_mode": "heldout",
        "holdout": 2,
    }
)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    return lifters.measure(RECIPE, str(tmp_path_factory.mktemp("lifters") / "store"))


def test_every_target_and_operator_has_a_row_with_every_lifter(figures):
    rows = figures["scenes"][0]["rows"]
    assert {(row["target"], row["operator"]) for row in rows} == {
        (target, operator) for target in {row["target"] for row in rows} for operator in ("rgb", "hog")
    }
    for row in rows:
        assert {*RECIPE.lifters, "reencoded"} == set(row["errors"])
        assert 0 < row["covered"] <= 1


def test_a_scene_of_few_views_leaves_each_out_in_turn(figures):
    assert figures["scenes"][0]["protocol"] == "leave-one-out"
    assert len(figures["scenes"][0]["rows"]) == 2 * 4


def test_only_pictures_have_psnr(figures):
    for row in figures["scenes"][0]["rows"]:
        assert bool(row["psnr"]) == (row["operator"] == "rgb")


def test_the_page_has_both_tables_and_the_command(figures):
    text = lifters.page(figures)
    assert f"lift3d bench lifters {shlex.quote(RECIPE.scenes[0])} --operator rgb --operator hog" in text
    assert "## Novel views" in text
    assert "| hog " in text.split("## Operators")[1]
