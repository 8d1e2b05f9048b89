"""What a plan promises: it writes nothing, counts what is missing, and refuses what does not fit."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from lift3d.config import Execution, Recipe
from lift3d.domain.camera import ImageSize
from lift3d.errors import ResourcePromiseError
from lift3d.operators.protocol import OperatorSpec
from lift3d.runs.driver import run_serially
from lift3d.runs.plan import plan
from lift3d.runs.planned.peak import peak_of
from lift3d.runs.planned.proposals import working_bytes
from lift3d.runs.planned.sizes import ASSUMED_CHANNELS, SceneSize, feature_bytes, lifted_bytes
from tests.support import captures

ROOM = "procedural:room?views=4&height=24&width=32"
RECIPE = Recipe(scenes=(ROOM,), operators=("rgb",), lifters=("plane_sweep",), image_height=24)
DINO = OperatorSpec("vit", 1, "embedding", channel_count=384, stride_px=14.0)
SIZE = SceneSize(ImageSize(56, 84), view_count=10, target_count=5)


def test_a_plan_of_a_new_store_wants_everything_and_makes_no_store(tmp_path):
    planned = plan(RECIPE, Execution(store=str(tmp_path / "store")))
    scene = planned.scenes[0]
    assert (str(scene.size), scene.encode_count, scene.lift_count) == ("4 views and 4 targets of 24x32", 4, 4)
    assert not scene.is_done
    assert planned.store_bytes > 0
    assert list(tmp_path.iterdir()) == []
    fields = json.loads(json.dumps(planned.to_json()))
    assert fields["peak_bytes"] == planned.peak_bytes
    assert fields["scenes"][0]["location"] == ROOM
    text = planned.to_text()
    assert RECIPE.run_id in text
    assert "features of one view: rgb" in text


def test_what_is_committed_is_not_planned_again(tmp_path):
    execution = Execution(store=str(tmp_path / "store"))
    run_serially(RECIPE, execution)
    assert plan(RECIPE, execution).scenes[0].is_done
    # Another lifter: the features are there, the lifted views are not.
    more = plan(RECIPE.model_copy(update={"lifters": ("plane_sweep", "anchored")}), execution).scenes[0]
    assert (more.is_done, more.encode_count, more.lift_count) == (False, 0, 8)


def test_an_unusable_scene_is_named_with_its_reason_and_the_others_are_planned(tmp_path):
    missing = str(tmp_path / "nowhere")
    planned = plan(RECIPE.model_copy(update={"scenes": (missing, ROOM)}), Execution(store=str(tmp_path / "store")))
    assert "does not exist" in planned.scenes[0].reason
    assert planned.scenes[1].encode_count == 4
    assert "nowhere: cannot be run" in planned.to_text()


def test_what_does_not_fit_is_refused_with_needed_allowed_and_reserved(tmp_path):
    execution = Execution(store=str(tmp_path / "store"), memory_allowance_bytes=2**20)
    with pytest.raises(ResourcePromiseError, match=r"needs about .* allowed are .* reserved") as caught:
        plan(RECIPE, execution)
    assert caught.value.operator == "rgb"
    assert caught.value.scene == "room-0-views4-height24-width32"


def test_only_what_the_run_encodes_is_planned_to_be(tmp_path):
    recipe = RECIPE.model_copy(update={"sources": 1, "target_mode": "heldout", "holdout": 4})
    execution = Execution(store=str(tmp_path / "store"))
    planned = plan(recipe, execution).scenes[0]
    (record,) = run_serially(recipe, execution)
    assert planned.encode_count == record.computed["features"] == 2


def test_features_take_channels_known_or_assumed_times_cells_and_a_lifted_view_takes_more():
    assert feature_bytes(DINO, SIZE.image) == 384 * 4 * 6 * 4 < lifted_bytes(DINO, SIZE.image)
    assert feature_bytes(DINO, SIZE.image, 2) == 384 * 4 * 6 * 2
    assert feature_bytes(replace(DINO, channel_count=0), SIZE.image) == ASSUMED_CHANNELS * 4 * 6 * 4


MORE_LIFTERS = ("plane_sweep", "anchored", "lift3d")


def test_the_peak_grows_with_the_scene_and_with_the_recipe():
    peak = peak_of(SIZE, RECIPE, [DINO]).needed_bytes
    for changed in ({"view_count": 110}, {"target_count": 105}, {"map_bytes_per_px": 100}):
        assert peak_of(replace(SIZE, **changed), RECIPE, [DINO]).needed_bytes > peak, changed
    size = replace(SIZE, image=ImageSize(480, 640), view_count=100)
    recipe = RECIPE.model_copy(update={"lifters": ("anchored",)})
    peak = peak_of(size, recipe, [DINO]).needed_bytes
    for changed in ({"sources": 64}, {"lifters": MORE_LIFTERS}, {"taps": 1024}):
        assert peak_of(size, recipe.model_copy(update=changed), [DINO]).needed_bytes > peak, changed


def test_the_heaviest_operator_is_named():
    rgb = OperatorSpec("rgb", 1, "image", channel_count=3)
    wide = replace(DINO, name="wide", channel_count=100_000)
    assert peak_of(SIZE, RECIPE, [rgb, wide]).operator == "wide"


def test_what_stage_two_holds_is_bounded_by_a_tile_whatever_the_taps():
    spec = OperatorSpec("features", 1, "embedding", channel_count=64, stride_px=2.0)

    def needed(side: int, taps: int) -> int:
        return working_bytes(spec, ImageSize(side, side), Recipe(scenes=("x",), lifters=("lift3d",), taps=taps))

    assert needed(96, 64) > 1.2 * needed(96, 32)
    # A grid of many tiles: only the weights of all cells grow.
    assert needed(600, 128) < 2 * needed(600, 32)


# What a run of the command takes at most, of the memory of its process.
PEAK = """
import re, sys
from pathlib import Path
from lift3d.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print("peak", 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)))
"""
LARGER = "procedural:room?seed=1&views={}&height=240&width=320"


def photographs(folder):
    """Three views of a room, one of them 31 megapixels large."""
    captures.write_transforms(folder, source := captures.capture(3))
    Image.new("RGB", (100 * captures.WIDTH, 100 * captures.HEIGHT)).save(folder / f"images/{source.names[1]}.png")
    return str(folder)


@pytest.mark.slow
@pytest.mark.outside(kind="9 operations", case="the memory plan of a run", right="its peak within a tenth")
@pytest.mark.parametrize(
    ("scene", "options"),
    [
        (ROOM, "--lifter plane_sweep --image-height 24"),
        (photographs, "--lifter plane_sweep --image-height 24"),
        (LARGER.format(6), "--lifter plane_sweep --image-height 240"),
        (LARGER.format(12), "--image-height 240"),
        (LARGER.format(6), "--operator tiny:encoder --operator tiny:depth --image-height 240"),
        (ROOM, "--operator timm:test_vit?weights=random --image-height 96"),
        ("procedural:room?views=150&height=48&width=64", "--operator tiny:encoder --image-height 48"),
    ],
    ids=[
        "a small room",
        "a large photograph",
        "a search for depth",
        "a surface",
        "two networks",
        "another's network",
        "many views",
    ],
)
def test_a_plan_is_within_a_tenth_of_the_peak(tmp_path, record_property, scene, options):
    location = scene if isinstance(scene, str) else scene(tmp_path / "scene")
    run = ["run", location, "--serial", "--store", str(tmp_path / "store"), *options.split()]
    said = [
        subprocess.run([sys.executable, "-c", PEAK, *run, *more], capture_output=True, text=True, check=False).stdout
        for more in (["--dry-run", "--json"], ["--json"])
    ]
    planned = json.loads(said[0].rpartition("peak")[0])["peak_bytes"]
    peak = int(said[1].rpartition("peak")[2])
    record_property("got", f"{planned / 1e6:.0f} MB planned, {peak / 1e6:.0f} MB measured")
    assert planned == pytest.approx(peak, rel=0.1)


def test_a_search_in_many_sources_takes_no_more_than_in_those_that_are_swept():
    image, spec = ImageSize(96, 128), OperatorSpec("features", 1, "embedding", channel_count=8, stride_px=32.0)
    few, many = (
        working_bytes(spec, image, Recipe(scenes=("x",), lifters=("lift3d",), sources=count, taps=8))
        for count in (8, 40)
    )
    assert few == many
