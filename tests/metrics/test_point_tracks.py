"""Figures of tracked points, on cases that are worked out by hand."""

import numpy as np
import pytest

from lift3d.errors import ShapeError
from lift3d.metrics.point_tracks import median_pixel_error, pixel_scores, track_scores

# Two views, three points at a depth of 2; with f = 200 a pixel is a centimetre there.
TRUE = np.array([[[0.0, 0.0, 2.0], [0.5, 0.0, 2.0], [0.0, 0.5, 2.0]]] * 2)
SEEN = np.array([[True, True, True], [True, True, False]])
FOCAL = 200.0


def test_the_truth_is_1():
    found = track_scores(TRUE, SEEN, TRUE, SEEN, FOCAL)
    assert (found.jaccard, found.within, found.occlusion, found.scale) == (1.0, 1.0, 1.0, 1.0)


def test_a_world_of_another_unit_is_scaled_unless_told_otherwise():
    assert track_scores(3 * TRUE, SEEN, TRUE, SEEN, FOCAL).jaccard == 1.0
    assert track_scores(3 * TRUE, SEEN, TRUE, SEEN, FOCAL).scale == pytest.approx(1 / 3)
    assert track_scores(3 * TRUE, SEEN, TRUE, SEEN, FOCAL, "none").jaccard == 0.0


def test_who_says_that_all_is_hidden_finds_nothing_however_near():
    found = track_scores(TRUE, np.zeros_like(SEEN), TRUE, SEEN, FOCAL)
    assert (found.jaccard, found.within, found.occlusion) == (0.0, 1.0, pytest.approx(1 / 6))


def test_who_says_that_all_is_seen_has_one_false_positive():
    found = track_scores(TRUE, np.ones_like(SEEN), TRUE, SEEN, FOCAL)
    # Five true positives, one false one, at all five thresholds.
    assert (found.jaccard, found.within, found.occlusion) == (pytest.approx(5 / 6), 1.0, pytest.approx(5 / 6))


def test_thresholds_are_pixels_at_the_depth_of_the_point():
    off = TRUE.copy()
    off[0, 0, 0] += 0.03  # three pixels: within 4, 8 and 16
    off[1, 1] = np.nan  # no point at all
    found = track_scores(off, SEEN, TRUE, SEEN, FOCAL, "none")
    assert found.within == pytest.approx((2 * 3 + 3 * 4) / 25)
    # Of five visible ones: 3 right and 2 false where both are off, 4 right and 1 false where one is.
    assert found.jaccard == pytest.approx((2 * 3 / 7 + 3 * 4 / 6) / 5)
    # Twice as far, the same step is half as many pixels: within 2, too.
    far = TRUE * [1, 1, 2]
    assert track_scores(far + (off - TRUE), SEEN, far, SEEN, FOCAL, "none").within == pytest.approx((3 + 4 * 4) / 25)


def test_focal_lengths_may_be_of_views():
    off = TRUE + np.array([0.03, 0, 0])
    both = track_scores(off, SEEN, TRUE, SEEN, np.array([200.0, 20.0]), "none")
    # The second view sees its two points 0.3 pixels off.
    assert both.within == pytest.approx((2 * 2 + 3 * 5) / 25)


def test_pixels():
    uv = TRUE[..., :2] * 100
    assert pixel_scores(uv, SEEN, uv, SEEN).jaccard == 1.0
    assert pixel_scores(uv + np.array([3, 0]), SEEN, uv, SEEN).within == pytest.approx(3 / 5)
    assert median_pixel_error(uv + np.array([3, 0]), uv, SEEN) == pytest.approx(3)
    assert median_pixel_error(np.full_like(uv, np.nan), uv, SEEN) == np.inf


def test_nothing_visible_has_no_figure_and_shapes_must_fit():
    none = np.zeros_like(SEEN)
    found = track_scores(TRUE, none, TRUE, none, FOCAL)
    assert np.isnan(found.jaccard)
    assert np.isnan(found.within)
    assert found.occlusion == 1.0
    with pytest.raises(ShapeError, match="do not fit"):
        track_scores(TRUE[:, :0], SEEN[:, :0], TRUE[:, :0], SEEN[:, :0], FOCAL)
