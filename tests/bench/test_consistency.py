"""The bench of agreement between views: what is left of disagreement, and what pictures are beside agreeing."""

import math

import numpy as np
import pytest
import torch

from lift3d.bench import consistency
from lift3d.bench.consistency_page import aims_of, page
from lift3d.bench.picture_figures import step_ratio
from lift3d.bench.ratios import ratio
from lift3d.errors import ConfigError, NoOverlapError
from tests.support.runs import small_recipe

ROOM = "procedural:room?seed=1&views=10&height=32&width=44"


def recipe(location, **changes):
    given = {"operators": ["tiny:style"], "lifters": ["anchored"], "image_height": 32, "sources": 6, **changes}
    return small_recipe(scenes=[location], **given)


def test_what_is_left_is_the_excess_over_that_of_the_plain_answers_and_the_page_has_all_that_was_measured(tmp_path):
    (row,) = consistency.measure(recipe(ROOM), str(tmp_path))
    own, plain = row.lifters["anchored"], row.lifters["raw2d"]
    excess, whole = (one["warp_error_long"].value - one["warp_floor_long"].value for one in (own, plain))
    assert own["left_long"].value == pytest.approx(excess / whole)
    assert own["left_long"].low <= own["left_long"].value <= own["left_long"].high < 0.5
    # The plain answers are all of themselves, of their own style, and have no seams.
    assert (plain["left_long"].value, plain["gram"].value, plain["seam"].value) == (1, 1, 0)
    consistency.measure(recipe(ROOM, target_mode="refine"), str(tmp_path))
    both = consistency.measured_before(str(tmp_path))
    assert both[0] == row
    assert {one.protocol for one in both} == {"leave-one-out", "refine-all"}
    text = page(both)
    assert text.count("lift3d bench consistency") == 2
    assert "--refine" in text
    # A room of ten views of 32 rows is too coarse for what captures are to reach.
    assert not aims_of(row)["left_long"].is_met_by(own["left_long"])
    assert text.count("✗ |") >= 2


def test_views_that_never_share_a_long_range_pair_and_a_store_without_figures_are_said_so(tmp_path):
    views = "procedural:room?seed=0&views=6&height=48&width=64"
    with pytest.raises(NoOverlapError, match="long-range"):
        consistency.measure(recipe(views, operators=["rgb"], holdout=6), str(tmp_path))
    with pytest.raises(ConfigError, match="Nothing was measured"):
        consistency.measured_before(str(tmp_path))


def test_a_ratio_is_of_sums_and_its_interval_that_of_views_drawn_together():
    whole = np.array([1.0, 2.0, 4.0, 5.0])
    found = ratio(0.5 * whole, whole)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert math.isnan(ratio(whole, 0 * whole).value)


def test_steps_across_borders_are_told_from_those_elsewhere():
    # Grey rises by a hundredth per column, and by a tenth more where the owner changes.
    luma = 0.01 * torch.arange(10.0) + 0.1 * (torch.arange(10) >= 5)
    owner = (torch.arange(10) >= 5).long().expand(4, 10)
    found = step_ratio(luma.expand(3, 4, 10), owner, torch.ones(4, 10))
    # Of 36 + 30 steps 4 cross the border; those down are 0.
    assert found == pytest.approx(0.11 / (32 * 0.01 / (32 + 30)), rel=1e-4)
    # A step of depth is an edge of things, not a seam.
    assert math.isnan(step_ratio(luma.expand(3, 4, 10), owner, 1.0 + owner))
