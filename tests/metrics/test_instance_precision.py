"""Average precision of masks without classes, against values computed by hand after ScanNet's script."""

import math

import numpy as np
import pytest

from lift3d.metrics.instance_precision import average_precision, masks_of

# Two instances of 100 points, and 100 points of which nothing is known.
TRUE = np.repeat([0, 7, -1], 100)


def span(first: int, last: int) -> np.ndarray:
    """The mask of a range of points."""
    mask = np.zeros(len(TRUE), dtype=bool)
    mask[first:last] = True
    return mask


def ap50(predictions, confidence, true=TRUE, fewest=1) -> float:
    return average_precision(predictions, confidence, true, fewest).ap50


def test_what_is_all_found_is_one_and_nothing_is_zero():
    found = average_precision(masks_of(np.repeat([0, 1, 2], 100)), [0.3, 0.2, 0.9], TRUE)
    assert (found.ap, found.ap50, found.ap25) == (1.0, 1.0, 1.0)
    # What lies where nothing is known counts for nothing, however sure it is.
    assert (found.instances, found.predictions) == (2, 3)
    assert average_precision([], [], TRUE).ap == 0.0
    assert math.isnan(average_precision([span(0, 100)], [1.0], np.full(300, -1)).ap)


def test_one_of_two_instances_is_a_half():
    assert ap50([span(0, 100)], [0.9]) == 0.5


def test_a_wrong_one_before_a_right_one_costs_more_than_behind_it():
    one = np.where(np.arange(300) < 100, 0, -1)
    wrong, right = np.zeros(300, dtype=bool), span(0, 100)
    wrong[:40] = True
    # Precision 1/2 at recall 1, then 0 at recall 0; steps around the points of the curve are 1/2, 1/2, 0.
    assert ap50([wrong, right], [0.9, 0.8], one) == pytest.approx(0.25)
    # Precision 1/2 and 1 at recall 1, and 1 at recall 0: steps 0, 1/2, 1/2.
    assert ap50([wrong, right], [0.8, 0.9], one) == pytest.approx(1.0)


def test_of_two_that_match_one_instance_one_is_wrong():
    one = np.where(np.arange(300) < 100, 0, -1)
    # Precision 1/2 at recall 1, and 1 at recall 0, each half of the way.
    assert ap50([span(0, 100), span(0, 90)], [0.5, 0.5], one) == pytest.approx(0.75)


def test_overlap_must_be_more_than_asked_for():
    # IoU 0.7: more than 0.5, 0.55, 0.6 and 0.65, of nine.
    one = np.where(np.arange(300) < 100, 0, -1)
    found = average_precision([span(0, 70)], [1.0], one, 1)
    assert found.ap == pytest.approx(4 / 9)
    assert (found.ap50, found.ap25) == (1.0, 1.0)


def test_the_smallest_are_left_out_and_are_no_mistakes():
    true = np.concatenate([np.zeros(200), np.ones(99), [-1]]).astype(int)
    found = average_precision([true == 0, true == 1], [0.1, 0.9], true, 100)
    assert (found.instances, found.predictions, found.ap) == (1, 1, 1.0)
    # Large enough itself, but on a small instance for the most part: ignored.
    assert ap50([true == 0, true != 0], [0.1, 0.9], true, 100) == 1.0
