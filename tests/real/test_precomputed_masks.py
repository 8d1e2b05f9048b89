"""A real network's masks, stored per view: lifted, they tell objects apart better than they did view by view."""

import os

import pytest

from lift3d.config import Execution, Recipe
from lift3d.runs.driver import run_serially
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store

OBJECTS = "creativity_chenille_stems,i_am_a_bunny_book,kleenex_tissue_box,laugh_out_loud_joke_book"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("LIFT3D_TEST_DATA"), reason="LIFT3D_TEST_DATA is not set"),
]


def test_masks_that_disagree_between_views_are_better_lifted(tmp_path):
    shelf = f"{os.environ['LIFT3D_TEST_DATA']}/captures/shelf"
    recipe = Recipe(
        scenes=(shelf,),
        operators=(f"files:{shelf}/network_masks?pattern={{view}}.{{name}}.mask.png&names={OBJECTS}",),
        lifters=("plane_sweep", "depth_mean"),
        metrics=("mask_iou_transferred",),
        image_height=96,
        sources=14,
        target_mode="heldout",
    )
    store = str(tmp_path / "store")
    run_serially(recipe, Execution(store=store))
    table = run_table(open_store(store), recipe.run_id).frame
    everywhere = table[table["protocol"] == "leave-one-out/all"].set_index("lifter")
    assert set(everywhere["threshold_source"]) == {"other views"}
    assert everywhere["value"]["plane_sweep"] > everywhere["value"]["raw2d"] + 0.1
    assert everywhere["value"]["depth_mean"] > everywhere["value"]["raw2d"] + 0.1
