"""The bench of confidence: what calibration means, constants found again, and cells judged by what is true of them."""

import numpy as np
import pytest

from lift3d.bench.calibration import SHIPPED, Reliability, Samples, fitted, samples
from lift3d.bench.calibration_page import CalibrationFigures, draw, page
from tests.support.runs import small_recipe

RECIPE = small_recipe(
    scenes=["procedural:room?views=6&height=48&width=64"],
    operators=["rgb", "tiny:segmenter", "hog"],
    lifters=["anchored"],
    holdout=3,
)


def drawn(kind="labels", count=20_000):
    """Cells whose confidence is what it says."""
    rng = np.random.default_rng(0)
    agreement, place = rng.uniform(0.05, 0.95, (2, count))
    own = SHIPPED[kind]
    log_odds = (
        own.offset + own.agreement * np.log(agreement / (1 - agreement)) + own.place * np.log(place / (1 - place))
    )
    confidence = 1 / (1 + np.exp(-log_odds))
    right = (rng.uniform(size=count) < confidence).astype(float)
    return Samples("room-0", "sweep", "tiny:segmenter", kind, confidence, place, right)


def test_what_is_as_right_as_it_is_sure_has_no_error_and_what_is_always_as_sure_no_skill():
    one = drawn()
    honest = Reliability.of(one)
    assert honest.error < 0.01
    assert honest.skill > 0.2
    said = np.full_like(one.confidence, 0.99)
    boastful = Reliability.of(Samples("room-0", "sweep", "x", "labels", said, one.place, one.right))
    assert boastful.error == pytest.approx(0.99 - one.right.mean())
    assert boastful.skill < 0
    assert boastful.bins == ((pytest.approx(0.99), pytest.approx(one.right.mean()), len(said)),)


@pytest.mark.parametrize("kind", list(SHIPPED))
def test_constants_are_found_again(kind):
    ((found, best),) = fitted([drawn(kind)])
    own = SHIPPED[found]
    assert found == kind
    assert (best.offset, best.agreement, best.place) == pytest.approx((own.offset, own.agreement, own.place), abs=0.1)


def test_cells_are_judged_by_depth_labels_and_the_view_s_own_features_and_the_page_says_so(tmp_path):
    found = samples(RECIPE.scenes[0], "sensor", RECIPE, str(tmp_path / "store"))
    assert [(one.operator, one.kind) for one in found] == [
        ("rgb", "depth"),
        ("tiny:segmenter", "labels"),
        ("hog", "features"),
    ]
    depth, labels, _ = found
    is_sure = depth.confidence > np.median(depth.confidence)
    assert 1 - depth.right[~is_sure].mean() > 2 * (1 - depth.right[is_sure].mean())
    assert set(labels.right) == {0.0, 1.0}
    assert all(0 <= float(one.confidence.min()) <= float(one.confidence.max()) < 1 for one in found)
    rows = tuple(Reliability.of(one) for one in found)
    figures = CalibrationFigures(rows, rows[1:], dict(fitted(found)))
    text = page(figures, RECIPE, RECIPE)
    assert "lift3d bench calibration CAPTURES/" in text
    assert text.count("| fitted on |") == 3
    assert text.count("| other") == 2
    draw(figures, tmp_path / "pictures/calibration.svg")
    assert "<svg" in (tmp_path / "pictures/calibration.svg").read_text()
