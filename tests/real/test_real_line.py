"""The whole line on real captures: what lifting must reach there, in runs that anyone can repeat."""

import os
from pathlib import Path

import pytest

from lift3d.config import parse_recipe
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store
from lift3d.tables.comparison import compare_rows
from tests.support.runs import run_into

OBJECTS = "creativity_chenille_stems,i_am_a_bunny_book,kleenex_tissue_box,laugh_out_loud_joke_book"
PLUGIN = Path(__file__).parent / "plugins" / "npz_segmentation.py"

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def held_out(capture: str, tmp_path: Path, every: int = 8, **fields: object):
    """Run a capture, every so many-th view held out, and return its table over all valid pixels."""
    location = str(Path(os.environ["LIFT3D_TEST_DATA"]) / "captures" / capture)
    recipe = parse_recipe({"scenes": [location], "target_mode": "heldout", "holdout": every, **fields})
    url = str(tmp_path / "store")
    record = run_into(url, recipe)[0]
    assert record.is_ok, record.reason
    return record, run_table(open_store(url), recipe.run_id).where(protocol=f"heldout-{every}/all")


def mean(table, metric: str, lifter: str) -> float:
    return float(table.where(metric=metric, lifter=lifter).frame["value"].mean())


def test_plane_sweep_shows_unseen_views_of_a_capture_without_depth(tmp_path):
    record, table = held_out(
        "fox", tmp_path, operators=["rgb", "hog"], lifters=["plane_sweep"], image_height=192, sources=8
    )
    assert (record.view_count, record.target_count, len(record.dropped)) == (50, 7, 17)
    assert mean(table, "psnr", "plane_sweep") >= 20.0
    assert set(table.where(metric="warp_error_short").frame["scoring_geometry"]) == {"tracks"}
    # Photographs agree with one another as they are; gradients of photographs do not, until they are lifted.
    gradients = table.where(operator="hog")
    assert mean(gradients, "rho", "plane_sweep") > mean(gradients, "rho", "raw2d")
    assert mean(gradients, "warp_error_long", "plane_sweep") < mean(gradients, "warp_error_long", "raw2d")


def test_lifting_a_real_segmentation_network_beats_it_on_views_it_never_saw(tmp_path):
    _, table = held_out(
        "kitchen",
        tmp_path,
        operators=["mosaic"],
        lifters=["anchored"],
        metrics=["miou", "label_kappa", "warp_error_short"],
        image_height=240,
        sources=40,
        plugins=[f"{PLUGIN}:mosaic"],
    )
    sides = [table.where(metric="miou", lifter=name).frame.assign(lifter="") for name in ("raw2d", "anchored")]
    gain = compare_rows(*sides, {})
    assert gain["pairs"].item() == 13
    assert gain["low"].item() > 0
    assert mean(table, "label_kappa", "anchored") > mean(table, "label_kappa", "raw2d")
    assert mean(table, "warp_error_short", "anchored") < mean(table, "warp_error_short", "raw2d")


def test_masks_of_a_real_network_that_disagree_between_views_are_better_lifted(tmp_path):
    shelf = f"{os.environ['LIFT3D_TEST_DATA']}/captures/shelf"
    _, table = held_out(
        "shelf",
        tmp_path,
        3,
        operators=[f"files:{shelf}/network_masks?pattern={{view}}.{{name}}.mask.png&names={OBJECTS}"],
        lifters=["plane_sweep", "anchored"],
        metrics=["mask_iou_transferred"],
        image_height=96,
        sources=10,
    )
    assert set(table.frame["threshold_source"]) == {"other views"}
    plain = mean(table, "mask_iou_transferred", "raw2d")
    assert mean(table, "mask_iou_transferred", "plane_sweep") > plain + 0.1
    assert mean(table, "mask_iou_transferred", "anchored") > plain + 0.1
