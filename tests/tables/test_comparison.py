import math

import numpy as np
import pytest

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.tables.comparison import interval, paired_bootstrap
from lift3d.tables.schema import ScoreTable
from tests.tables.score_rows import missing_row, score_row


def table_of(a, b, extra=()):
    rows = [score_row(lifter="a", target=f"v{i}", value=float(v)) for i, v in enumerate(a)]
    rows += [score_row(lifter="b", target=f"v{i}", value=float(v)) for i, v in enumerate(b)]
    return ScoreTable.from_rows([*rows, *extra])


def compare(table):
    return paired_bootstrap(table, "psnr", "a", "b", "rgb")


def test_pairing_removes_what_both_share_and_a_constant_difference_is_certain():
    generator = np.random.default_rng(0)
    # Views differ by far more than the lifters do.
    hard = 10 * generator.normal(size=50)
    found = compare(table_of(hard + 0.3 + 0.1 * generator.normal(size=50), hard))
    assert found.low < 0.3 < found.high
    assert found.excludes_zero
    found = compare(table_of(np.arange(20) + 0.5, np.arange(20)))
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (found.pair_count, found.missing_count, found.excludes_zero) == (20, 0, True)


def test_the_interval_covers_the_known_difference_about_95_times_in_100():
    generator = np.random.default_rng(1)
    found = [interval(0.2 + generator.normal(size=40)) for _ in range(60)]
    assert 52 <= sum(low <= 0.2 <= high for low, high in found) <= 60


def test_no_difference_does_not_exclude_0_swapping_mirrors_it_and_it_is_the_same_again():
    values = np.random.default_rng(2).normal(size=30)
    table = table_of(values, values[::-1])
    there = compare(table)
    assert compare(table) == there
    back = paired_bootstrap(table, "psnr", "b", "a", "rgb")
    assert not there.excludes_zero
    assert there.mean == pytest.approx(-back.mean, abs=1e-12)
    assert there.low == pytest.approx(-back.high, abs=0.05)


def test_what_one_side_lacks_is_counted_and_left_out():
    extra = [
        missing_row(lifter="a", target="x"),
        score_row(lifter="b", target="x", value=99.0),
        score_row(lifter="b", target="y", value=99.0),
        missing_row(lifter="a", target="z"),
        missing_row(lifter="b", target="z"),
    ]
    found = compare(table_of([1, 2, 3], [0, 1, 2], extra))
    assert found.mean == 1
    assert (found.pair_count, found.missing_count) == (3, 3)


@pytest.mark.parametrize(("count", "mean"), [(0, math.nan), (1, 0.5)])
def test_too_few_pairs_have_no_interval(count, mean):
    extra = [missing_row(lifter=lifter, target="x") for lifter in "ab"]
    found = compare(table_of([0.5] * count, [0.0] * count, extra))
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(found.low)
    assert not found.excludes_zero


def test_mixed_protocols_are_refused_and_narrowing_helps():
    other = [score_row(lifter=lifter, protocol="heldout-8/common") for lifter in "ab"]
    table = table_of([1, 2, 3], [0, 1, 2], other)
    with pytest.raises(ConfigError, match="protocol"):
        compare(table)
    assert compare(table.where(protocol="heldout-8/all")).pair_count == 3


@pytest.mark.parametrize("changed", [("miou", "a", "b", "rgb"), ("psnr", "c", "b", "rgb"), ("psnr", "a", "b", "hog")])
def test_names_that_the_table_does_not_know_are_refused(changed):
    with pytest.raises(UnknownNameError, match="Known"):
        paired_bootstrap(table_of([1], [2]), *changed)
