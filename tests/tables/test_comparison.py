import math

import numpy as np
import pytest

from lift3d.tables.comparison import compare_rows, interval
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
