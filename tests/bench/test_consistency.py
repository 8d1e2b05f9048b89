"""The bench of agreement between views: one table per operator, on pixels that all lifters share."""

import pytest

from lift3d.bench import consistency
from lift3d.errors import NoOverlapError
from tests.support.runs import small_recipe

ROOM = "procedural:room?seed=1&views=10&height=32&width=44"


def recipe(location, **changes):
    return small_recipe(scenes=[location], operators=["rgb"], image_height=32, sources=6, **changes)


def test_excess_is_the_error_less_the_floor_and_the_plain_answer_is_all_of_itself(tmp_path):
    figures = consistency.measure(recipe(ROOM), str(tmp_path))
    (row,) = figures.scenes[0].rows
    assert row.protocol.endswith("/common")
    for own in row.lifters.values():
        assert own["excess"] == pytest.approx(own["warp_error_long"] - own["warp_floor_long"])
    assert row.lifters["raw2d"]["share_of_raw2d"] == 1
    assert row.lifters["raw2d"]["feature_cosine"] == pytest.approx(1)
    text = consistency.page(figures)
    assert "lift3d bench consistency" in text
    assert "| plane_sweep |" in text


def test_views_that_never_share_a_long_range_pair_are_said_so(tmp_path):
    with pytest.raises(NoOverlapError, match="long-range"):
        consistency.measure(recipe("procedural:room?seed=0&views=6&height=48&width=64", holdout=6), str(tmp_path))
