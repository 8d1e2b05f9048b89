"""The table of lifters: every one on the same cells of the same targets."""

import shlex

import pytest
import torch

from lift3d.bench import lifters
from lift3d.bench.lifter_errors import mean_error
from lift3d.domain.features import FeatureGrid, FeatureMap
from tests.support.runs import small_recipe

VIT = "timm:test_vit?weights=random"
RECIPE = small_recipe(
    scenes=["procedural:room?seed=1&views=4&height=48&width=64"],
    operators=["rgb", "hog", VIT, f"{VIT}&positional_field=subtract"],
    lifters=["plane_sweep", "shared_weights", "lift3d"],
    holdout=2,
)


def test_every_target_and_operator_has_a_row_with_every_lifter_and_the_page_both_tables(tmp_path, baselines):
    figures = lifters.measure(RECIPE, str(tmp_path / "store"))
    (scene,) = figures.scenes
    # A scene of few views leaves each out in turn.
    assert scene.protocol == "leave-one-out"
    assert len({(row.target, row.operator) for row in scene.rows}) == len(scene.rows) == 4 * 4
    for row in scene.rows:
        assert {*RECIPE.lifters, "reencoded"} == set(row.errors)
        assert 0 < row.covered <= 1
        assert bool(row.psnr) == (row.operator == "rgb"), "only pictures have it"
    for plain, less in zip(scene.rows[2::4], scene.rows[3::4], strict=True):
        assert (plain.operator, less.operator) == RECIPE.operators[2:]
        # The same network on the same lifted picture, against the same truth, on the same cells.
        assert plain.errors["reencoded"] == less.errors["reencoded"]
        assert plain.errors["shared_weights"] != less.errors["shared_weights"]
    text = lifters.page(figures)
    assert f"lift3d bench lifters {shlex.quote(RECIPE.scenes[0])} --operator rgb --operator hog" in text
    assert "positional_field=subtract` the mean" in text
    assert "## Novel views" in text
    assert "| hog " in text.split("## Operators")[1]


def test_an_error_is_one_less_the_cosine_of_what_has_a_direction():
    grid, cells = FeatureGrid(1, 4, 1.0, 1.0), torch.arange(4)
    truth = FeatureMap(torch.tensor([[1.0, 1, 1, 0], [0.0, 0, 0, 0]])[:, None], grid)
    predicted = FeatureMap(torch.tensor([[3.0, 0, 0, 5], [0.0, 2, 0, 5]])[:, None], grid)
    # The same direction, one across, nothing at all; the last cell has no true direction and does not count.
    assert mean_error(predicted, truth, cells) == pytest.approx((0 + 1 + 1) / 3)
