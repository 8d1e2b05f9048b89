"""Distances and shares of surfaces whose distance is known."""

import numpy as np
import pytest

from lift3d.errors import ConfigError
from lift3d.metrics.mesh_fscore import points_on_triangles, surface_score, thinned


def _square(side: float, height: float) -> np.ndarray:
    """Points 1 cm apart on a square, at the middles of voxels."""
    at = np.arange(0.005, side, 0.01)
    x, y = np.meshgrid(at, at)
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], axis=1)


def test_a_surface_is_at_distance_zero_from_itself() -> None:
    score = surface_score(_square(1.0, 0.5), _square(1.0, 0.5))
    assert (score.precision, score.recall, score.fscore) == (1.0, 1.0, 1.0)
    assert score.accuracy == score.completeness == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("apart", "share"), [(0.04, 1.0), (0.06, 0.0)])
def test_two_parallel_squares_are_as_far_apart_as_they_are(apart: float, share: float) -> None:
    score = surface_score(_square(1.0, 0.5), _square(1.0, 0.5 + apart))
    assert score.accuracy == pytest.approx(apart)
    assert score.completeness == pytest.approx(apart)
    assert (score.precision, score.recall, score.fscore) == (share, share, share)


def test_half_of_a_square_is_precise_and_misses_what_is_farther_than_the_threshold() -> None:
    whole = _square(1.0, 0.5)
    half = whole[whole[:, 0] < 0.5]
    score = surface_score(half, whole, threshold=0.0501)
    # Columns at 0.505 to 0.545 m are within 5 cm of the last one that is covered, at 0.495 m: 50 and 5 of 100.
    assert score.precision == 1.0
    assert score.recall == pytest.approx(0.55)
    assert score.fscore == pytest.approx(2 * 0.55 / 1.55)
    # 1 cm to 50 cm away, for half of the places.
    assert score.completeness == pytest.approx(0.5 * 0.255, rel=0.1)


def test_nothing_found_is_a_score_of_zero_and_no_reference_is_refused() -> None:
    nothing = np.zeros((0, 3))
    score = surface_score(nothing, _square(0.1, 0.0))
    assert score.fscore == 0.0
    assert np.isnan(score.accuracy)
    with pytest.raises(ConfigError, match="reference surface is empty"):
        surface_score(_square(0.1, 0.0), nothing)
    with pytest.raises(ConfigError, match="expected positive"):
        surface_score(nothing, nothing, threshold=0.0)


def test_a_voxel_keeps_the_mean_of_its_points_and_triangles_are_covered_evenly() -> None:
    pair = np.array([[0.0, 0.0, 0.0], [0.004, 0.0, 0.0], [0.5, 0.0, 0.0]])
    assert thinned(pair, 0.01).tolist() == [[0.002, 0.0, 0.0], [0.5, 0.0, 0.0]]
    corners = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    points = points_on_triangles(corners, np.array([[0, 1, 2]]), 0.01)
    assert len(points) == 10_000
    assert points.mean(0) == pytest.approx([1 / 3, 1 / 3, 0.0], abs=0.01)
    assert points_on_triangles(corners, np.zeros((0, 3), dtype=np.int64), 0.01).shape == (0, 3)
