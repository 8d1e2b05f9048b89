import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift3d.tables.aggregation import metric_means
from lift3d.tables.comparison import RESAMPLES, compare_rows, interval, scene_intervals
from lift3d.tables.schema import ScoreTable
from tests.tables.score_rows import missing_row, score_row


def side(values, *extra):
    return ScoreTable.from_rows([*(score_row(target=f"v{i}", value=float(v)) for i, v in enumerate(values)), *extra])


def compare(a, b):
    """Return the only line of b − a."""
    (line,) = compare_rows(a.frame, b.frame, {"psnr": "higher"}).to_dict("records")
    return line


def test_pairing_removes_what_both_share_and_a_constant_difference_is_certain():
    generator = np.random.default_rng(0)
    # Views differ by far more than the lifters do.
    hard = 10 * generator.normal(size=50)
    found = compare(side(hard), side(hard + 0.3 + 0.1 * generator.normal(size=50)))
    assert found["low"] < 0.3 < found["high"]
    assert found["verdict"] == "better"
    found = compare(side(np.arange(20)), side(np.arange(20) + 0.5))
    assert [found[name] for name in ("difference", "low", "high")] == pytest.approx([0.5, 0.5, 0.5])
    assert (found["pairs"], found["unit"], found["only_a"], found["only_b"]) == (20, "views", 0, 0)


def test_the_interval_covers_the_known_difference_about_95_times_in_100():
    generator = np.random.default_rng(1)
    found = [interval(0.2 + generator.normal(size=40)) for _ in range(60)]
    assert 52 <= sum(low <= 0.2 <= high for low, high in found) <= 60


def test_no_difference_does_not_exclude_0_swapping_mirrors_it_and_it_is_the_same_again():
    values = np.random.default_rng(2).normal(size=30)
    a, b = side(values), side(values[::-1])
    there, back = compare(a, b), compare(b, a)
    assert compare(a, b) == there
    assert there["verdict"] == "–"
    assert there["difference"] == pytest.approx(-back["difference"], abs=1e-12)
    assert there["low"] == pytest.approx(-back["high"], abs=0.05)


def test_what_one_side_lacks_is_counted_and_left_out():
    lacking = side([0, 1, 2], missing_row(target="x"), missing_row(target="z"))
    more = [score_row(target=target, value=99.0) for target in "xy"]
    found = compare(lacking, side([1, 2, 3], *more, missing_row(target="z")))
    assert (found["difference"], found["pairs"], found["only_a"], found["only_b"]) == (1, 3, 0, 2)


def test_too_few_pairs_have_no_interval_and_protocols_are_not_mixed():
    found = compare(side([0.0]), side([0.5]))
    assert (found["difference"], found["verdict"]) == (0.5, "–")
    assert math.isnan(found["low"])
    other = score_row(protocol="heldout-8/common")
    assert compare_rows(side([], other).frame, side([1, 2]).frame, {}).empty
    assert compare_rows(side([1, 2], other).frame, side([1, 2], other).frame, {})["pairs"].tolist() == [2, 1]


def rows_of(values, metric="psnr"):
    return [
        score_row(scene=f"s{scene:03d}", target=f"v{view}", metric=metric, value=value)
        for scene, given in enumerate(values)
        for view, value in enumerate(given)
    ]


def failed(number):
    scene = f"t{number}"
    return missing_row(scene=scene, target="", operator="", lifter="", metric="usable_scene", protocol="")


def intervals_of(rows):
    return scene_intervals(metric_means(ScoreTable.from_rows(rows)))


VALUES = [[0.1, 0.3], [0.5], [0.7, 0.8, 0.9], [0.2]]


def test_scenes_are_the_unit_however_many_views_they_have():
    (line,) = intervals_of(rows_of(VALUES)).to_dict("records")
    scenes = np.array([0.2, 0.5, 0.8, 0.2])
    assert line["mean"] == pytest.approx(scenes.mean())
    assert (line["low"], line["high"]) == pytest.approx(interval(scenes))
    # A thousand views more of one scene make nobody surer.
    (more,) = intervals_of(rows_of([[0.1, 0.3], [0.5] * 1000, *VALUES[2:]])).to_dict("records")
    assert (more["low"], more["high"]) == pytest.approx((line["low"], line["high"]))
    (one,) = intervals_of(rows_of(VALUES[:1])).to_dict("records")
    assert (one["ok"], np.isnan(one["low"])) == (1, True)


@settings(max_examples=15)
@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=3), min_size=1, max_size=5), st.integers(1, 4))
def test_failed_scenes_lower_the_count_and_move_nothing(values, count):
    (before,) = intervals_of(rows_of(values)).to_dict("records")
    (after,) = intervals_of([*rows_of(values), *map(failed, range(count))]).to_dict("records")
    for name in ("mean", "low", "high", "ok"):
        # Other rows change the order in which a group is summed, by its last bit.
        assert after[name] == pytest.approx(before[name], rel=1e-12, abs=1e-12, nan_ok=True)
    assert (before["missing"], after["missing"]) == (0, count)


def test_adding_a_metric_moves_no_other():
    alone = intervals_of(rows_of(VALUES))
    both = intervals_of([*rows_of(VALUES), *rows_of([[1.0], [2.0], [3.0], [4.0], [5.0]], "rho")])
    found = both[both["metric"] == "psnr"].reset_index(drop=True)
    counts = ["missing"]
    pd.testing.assert_frame_equal(found.drop(columns=counts), alone.drop(columns=counts), check_exact=True)
    assert found["missing"].tolist() == [1]  # The fifth scene has a figure of the other metric alone.


def test_parts_one_below_the_other_are_the_whole():
    rows = [*rows_of(VALUES), failed(0)]
    parts = [metric_means(ScoreTable.from_rows(some)) for some in (rows[3:], rows[:2], rows[2:3])]
    # Whole scenes in each part, in any order.
    pd.testing.assert_frame_equal(scene_intervals(pd.concat(parts)), intervals_of(rows), check_exact=True)


def test_of_many_units_fewer_resamples_give_the_same_interval():
    values = np.random.default_rng(0).normal(size=12_000)
    low, high = interval(values)
    exact = 1.96 * values.std() / np.sqrt(len(values))
    assert (high - low) / 2 == pytest.approx(exact, rel=0.1)
    assert RESAMPLES * len(values) > 20_000_000
