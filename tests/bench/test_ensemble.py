"""The bench of 2D and 3D together: every row by the same pixels, kept figures as a page, and what it refuses."""

from dataclasses import replace

import cv2
import pytest
import torch

from lift3d.bench import ensemble
from lift3d.bench.ensemble import ANCHORED, DISTILLED, EITHER, ENSEMBLE, FLOOR, FUSED
from lift3d.bench.ensemble_measures import MEANS, PROBE, WORDS, Annotated, by_annotated, by_own_labels, by_words
from lift3d.bench.ensemble_page import draw, page, verdict
from lift3d.bench.pages import PairedInterval
from lift3d.domain.records import RAW2D
from lift3d.errors import ConfigError, SceneError
from lift3d.operators.catalog import build_operator
from lift3d.training.distill.field import DistilSettings
from tests.support.runs import small_recipe

QUICK = DistilSettings(width=32, steps=40, batch=256)
SCENE = "procedural:objects?seed=3&views=4&height=48&width=64"


def recipe(*operators, scene=SCENE):
    return small_recipe(scenes=[scene], operators=operators, lifters=["anchored"], target_mode="refine")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A store, and what was measured into it."""
    store = str(tmp_path_factory.mktemp("store"))
    return store, ensemble.measure(recipe("tiny:clip", "hog"), store, QUICK)


def test_rows_are_of_the_same_views_and_the_same_again(measured, tmp_path):
    _, rows = measured
    assert [(row.operator, row.vocabulary) for row in rows] == [("tiny:clip", WORDS), ("hog", MEANS), ("hog", PROBE)]
    for row in rows:
        assert {*row.means} == {FLOOR, RAW2D, ANCHORED, FUSED, DISTILLED, ENSEMBLE, EITHER}
        assert row.means[EITHER] >= max(row.means[FUSED], row.means[DISTILLED]) - 1e-9
        assert 0 <= row.chosen <= 1
        for over in (FUSED, DISTILLED):
            assert row.gains[ENSEMBLE][over].mean == pytest.approx(row.means[ENSEMBLE] - row.means[over])
    (again,) = ensemble.measure(recipe("tiny:clip"), str(tmp_path), QUICK)
    assert (again.means, again.by_class) == (rows[0].means, rows[0].by_class)


def test_a_page_has_all_that_is_kept_and_a_picture(measured, tmp_path):
    store, rows = measured
    kept = ensemble.measured_before(store)
    assert sorted(row.vocabulary for row in kept) == sorted(row.vocabulary for row in rows)
    draw(recipe("tiny:clip"), store, tmp_path / "pictures/drawn.webp", QUICK)
    assert cv2.imread(str(tmp_path / "pictures/drawn.webp")).shape[2] == 3
    text = page(kept, "pictures/drawn.webp")
    assert "](pictures/drawn.webp)" in text
    assert all(f"{row.operator} (48 px), {row.vocabulary}" in text for row in rows)


def test_an_aim_is_both_branches_and_the_whole_interval(measured):
    row = measured[1][0]

    def said(*means):
        both = zip((FUSED, DISTILLED), means, strict=True)
        gains = {over: PairedInterval(mean, mean - 0.1, mean + 0.1) for over, mean in both}
        return verdict(replace(row, gains={ENSEMBLE: gains}))

    assert (said(0.2, 0.2), said(0.2, 0.05), said(0.2, -0.2)) == ("", "≈", "✗")


def test_vocabularies_name_what_they_were_shown_and_nothing_below_their_least():
    unit = torch.eye(3)
    some = Annotated(unit.repeat(20, 1), unit.repeat(20, 1), torch.tensor([4, 9, 11]).repeat(20))
    for one in by_annotated(some):
        assert one.named(one.of_surface(unit)).tolist() == [4, 9, 11]
    own = by_own_labels(3)
    assert own.of_view(torch.tensor([[0.6, 0.8, 0.0]])).tolist() == [pytest.approx([0.36, 0.64, 0.0])]
    clip = build_operator("tiny:clip")
    words = by_words(clip, {7: "red ball", 2: "blue box"})
    texts = clip.encode_text(["a red ball", "a blue box", "stuff"])
    assert words.named(words.of_view(texts)).tolist() == [7, 2, -1]
    with pytest.raises(ConfigError, match="has a name"):
        by_words(clip, {})
    with pytest.raises(SceneError, match="show 1 class"):
        by_annotated(replace(some, labels=torch.full((60,), 4)))


def test_a_scene_without_labels_is_refused(tmp_path):
    with pytest.raises(SceneError, match=r"No view .* is annotated"):
        ensemble.measure(recipe("hog", scene=f"{SCENE}&labels=0"), str(tmp_path), QUICK)
