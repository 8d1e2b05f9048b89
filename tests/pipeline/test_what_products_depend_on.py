"""What a product depends on, and what not: a store that was used before equals a new one after any change of input."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lift3d.config import parse_recipe
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import Frame
from lift3d.errors import ConfigError
from lift3d.pipeline.decode import at_pixels
from lift3d.pipeline.encode import encode_view
from lift3d.pipeline.stored_views import read_lifted
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product
from tests.support.captures import write_ply
from tests.support.operators import CheckerOperator
from tests.support.photographs import write_posed
from tests.support.runs import canonical_arrays, canonical_table, ran, rows_of, run_into, small_recipe
from tests.support.scenes import textured_plane_scene

SOURCE = "procedural:room?views=12&height=96&width=128"


def write_points(folder, spread=1.0):
    """Write the sparse points of a room; ``spread`` moves them away from the cameras."""
    scene = read_scene(SOURCE)
    center = scene.views[0].camera.center
    write_ply(folder / "points.ply", (center + spread * (scene.points - center)).numpy())


def paint(folder, names):
    for name in names:
        Image.new("RGB", (128, 96), (90, 90, 90)).save(folder / f"images/{name}.png")


@pytest.fixture
def room(tmp_path):
    """A procedural room as files without depth."""
    folder = write_posed(read_scene(SOURCE), tmp_path / "room", ply_file_path="points.ply")
    write_points(folder)
    return folder


def held_out(room, **fields):
    given = {"scenes": [str(room)], "operators": ["rgb"], "lifters": ["plane_sweep"], "image_height": 96}
    return parse_recipe({**given, "target_mode": "heldout", "holdout": 4, "sources": 1, **fields})


def views_at_work(url, record):
    """Targets and their sources, read off the lifted views."""
    paths = [path for product in record.lifted for path in product.parts]
    views = [view for path in paths for view in read_lifted(open_product(open_store(url), path))]
    return {view.target for view in views} | {source for view in views for source in view.source_ids}


def check_used(folder, recipe, computed):
    """Run into a store that was used before: little is computed, and the table is that of a new store."""
    assert run_into(str(folder / "used"), recipe)[0].computed == computed
    run_into(str(folder / "new"), recipe)
    assert canonical_table(str(folder / "used"), recipe) == canonical_table(str(folder / "new"), recipe)


def test_points_that_moved_change_the_depth_range_and_what_hangs_on_it(room, tmp_path):
    recipe = held_out(room)
    run_into(str(tmp_path / "used"), recipe)
    write_points(room, spread=1.7)
    check_used(tmp_path, recipe, {"lifted": 1, "scores": 1})


def test_views_that_are_neither_target_nor_source_still_make_tracks(room, tmp_path):
    recipe = held_out(room)
    record = run_into(str(tmp_path / "used"), recipe)[0]
    idle = {path.stem for path in room.glob("images/*.png")} - views_at_work(str(tmp_path / "used"), record)
    paint(room, idle)
    assert idle
    check_used(tmp_path, recipe, {"tracks": 1, "scores": 1})


def test_another_way_of_finding_tracks_makes_a_scene_be_scored_anew(room, tmp_path, monkeypatch):
    recipe = held_out(room, operators=["felzenszwalb?as=ids"])
    run_into(str(tmp_path), recipe)
    monkeypatch.setattr("lift3d.scenes.tracks.STAGE_VERSION", 99)
    # What is fitted may rest on tracks, and needs features of idle views; what is lifted rests on the state as it is.
    assert run_into(str(tmp_path), recipe)[0].computed == {"features": 6, "tracks": 1, "states": 1, "scores": 1}


def test_held_out_images_reach_no_lifted_view(room, tmp_path):
    vit = "timm:test_vit?weights=random"
    fitted = ["felzenszwalb?as=ids", vit, f"{vit}&positional_field=subtract"]
    recipe = held_out(
        room, operators=["rgb", *fitted], lifters=["plane_sweep", "anchored"], sources=3, metrics=["psnr"]
    )
    before = run_into(str(tmp_path / "a"), recipe)
    digests = [one.digest for one in before[0].lifted]
    assert len(set(digests)) == len(digests), "products tell all operators and lifters apart"
    paint(room, ("0000", "0004", "0008"))
    after = run_into(str(tmp_path / "b"), recipe)

    def lifted(url, records):
        own = [replace(one, lifted=tuple(two for two in one.lifted if not two.is_plain)) for one in records]
        return canonical_arrays(url, own)

    # The digests are equal, too: the very same products.
    assert lifted(str(tmp_path / "a"), before) == lifted(str(tmp_path / "b"), after)
    assert canonical_table(str(tmp_path / "a"), recipe) != canonical_table(str(tmp_path / "b"), recipe)


def test_one_view_without_depth_that_is_no_source_keeps_no_lifter_from_running(room, tmp_path):
    content = json.loads((room / "transforms.json").read_text())
    for frame in content["frames"][1:]:
        frame["depth_file_path"] = "depth.png"
    Image.fromarray(np.full((96, 128), 3000, np.uint16)).save(room / "depth.png")
    (room / "transforms.json").write_text(json.dumps(content))
    recipe = held_out(room, lifters=["anchored"], geometry="sensor")
    assert all(not product.reason for product in run_into(str(tmp_path / "store"), recipe)[0].lifted)


def test_scenes_of_one_name_or_of_one_content_have_rows_of_their_own(tmp_path):
    tiny = "procedural:room?views=4&height=32&width=40"
    failed = [str(tmp_path / "a" / "images"), str(tmp_path / "b" / "images")]
    scenes = [*failed, tiny, f"{tiny}&seed=0"]
    recipe = small_recipe(scenes=scenes, operators=["rgb"], lifters=["plane_sweep"], image_height=32)
    records = run_into(str(tmp_path / "store"), recipe)
    assert [one.outcome for one in records] == ["failed", "failed", "ok", "ok"]
    rows = rows_of(str(tmp_path / "store"), recipe)
    assert rows["scene"].nunique() == 4
    assert len(rows[rows["outcome"] == "failed"]) == 2


def test_a_view_that_the_files_list_twice_is_dropped_once(room, tmp_path):
    content = json.loads((room / "transforms.json").read_text())
    content["frames"] += 2 * [{**content["frames"][0], "file_path": "images/gone.png"}]
    (room / "transforms.json").write_text(json.dumps(content))
    _, rows = ran(tmp_path, scenes=[str(room)], operators=["rgb"], lifters=["plane_sweep"], holdout=4)
    assert list(rows.loc[rows["metric"] == "usable_view", "target"]) == ["gone"]


def test_flags_of_cells_are_read_where_the_cells_sit():
    grid = FeatureGrid(4, 6, 8.0, 8.0, origin_u=8.0, origin_v=12.0)
    flags = torch.zeros(4, 6, dtype=torch.bool)
    flags[0, 0] = True
    expected = torch.zeros(48, 64, dtype=torch.bool)
    # The first cell, and the pixels outside the grid that are nearest to it.
    expected[:20, :16] = True
    assert torch.equal(at_pixels(flags, grid, 48, 64), expected)


def test_features_lie_in_memory_as_if_they_had_been_read_back():
    class TokenMajor(CheckerOperator):
        def encode(self, image):
            (one,) = super().encode(image)
            return (FeatureMap(one.values.permute(1, 2, 0).contiguous().permute(2, 0, 1), one.grid),)

    frame: Frame = textured_plane_scene().views[0].load(48)
    assert all(one.values.is_contiguous() for one in encode_view(TokenMajor(), frame))


def test_two_spellings_of_one_operator_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="once"):
        ran(tmp_path, operators=["hog?cell=8", "hog?cell=%38"])
