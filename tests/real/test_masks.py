"""Masks of a real network, which misses things in most views, merged on a capture: whole things, one id each."""

import os
from pathlib import Path

import pytest

from lift3d.bench.systems import masks
from lift3d.bench.systems.parts import Asked

OBJECTS = "creativity_chenille_stems,i_am_a_bunny_book,kleenex_tissue_box,laugh_out_loud_joke_book"

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_masks_that_miss_things_in_most_views_are_whole_when_they_are_merged(tmp_path, monkeypatch):
    # Smaller than the bench has it, and the floor at its own scale alone: a fourth of the time.
    monkeypatch.setattr(masks, "SCALES", (masks.SCALE,))
    monkeypatch.setattr(masks, "IMAGE_HEIGHT", 180)
    shelf = Path(os.environ["LIFT3D_TEST_DATA"]) / "captures" / "shelf"
    operator = f"files:{shelf}/network_masks?pattern={{view}}.{{name}}.mask.png&names={OBJECTS}"
    rows = {row.metric: row for row in masks.measure(Asked(str(shelf), (operator,), (), str(tmp_path / "store")))}
    assert all(rows[metric].is_above for metric in ("AP", "AP50", "PQ"))
    assert rows["AP50"].figure == 1.0
    assert rows["PQ"].figure > 0.6
