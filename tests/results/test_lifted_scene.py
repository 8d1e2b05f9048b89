"""LiftedScene gives what the store holds, and ``lift3d.lift`` what a run would give."""

import gc
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray

import lift3d
from lift3d.domain.records import LiftedProduct, SceneRecord
from lift3d.errors import ConfigError, ProductMissingError, SceneError, StoreLayoutError, UnknownNameError
from lift3d.pipeline.products import PartOfViews, SkippedTarget, commit_lifted, write_lifted_part
from lift3d.pipeline.stored_views import read_lifted
from lift3d.report.gallery import lifter_pictures
from lift3d.results.opened import lifted_of
from lift3d.results.picture_rows import COLUMNS
from lift3d.runs.records import list_runs
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.storage.products import ProductWriter, open_product
from lift3d.synthetic.reader import ProceduralFrame
from tests.support.captures import capture, write_transforms
from tests.support.runs import ROOM, run_into, small_recipe


def test_everything_that_was_lifted_is_there_in_the_recipes_order(shown_store):
    found = [(one.name.split("-")[0], one.operator, one.lifter) for one in lift3d.lifted_scenes(shown_store)]
    assert found == [
        (scene, operator, lifter)
        for scene in ("room", "street")
        for operator in ("rgb", "hog")
        for lifter in ("plane_sweep", "anchored")
    ]
    # What is not chosen is the first scene and operator, and the last lifter.
    lifted = lift3d.open_lifted(shown_store)
    assert (lifted.name.split("-")[0], lifted.operator, lifted.lifter) == ("room", "rgb", "anchored")
    chosen = lift3d.open_lifted(shown_store, lift3d.lifted_scenes(shown_store)[-1].name, "hog", "plane_sweep")
    assert (chosen.name.split("-")[0], chosen.operator, chosen.lifter) == ("street", "hog", "plane_sweep")


def test_views_are_those_of_the_store(shown_store):
    lifted = lift3d.open_lifted(shown_store, operator="hog")
    product = next(one for one in lifted.record.lifted if (one.operator, one.lifter) == ("hog", "anchored"))
    stored = [view for path in product.parts for view in read_lifted(open_product(lifted.store, path))]
    assert lifted.targets == tuple(view.target for view in stored)
    for view in stored:
        assert np.array_equal(lifted.features(view.target), view.lifted[0].features.values.numpy(), equal_nan=True)
        assert np.array_equal(lifted.prediction(view.target), view.prediction.values.numpy(), equal_nan=True)
    data, target = lifted.to_xarray(), lifted.targets[2]
    assert list(data["view"].values) == list(lifted.to_numpy()) == list(lifted.targets)
    features = data["features_0"].sel(view=target).values.astype(np.float32)
    assert np.array_equal(features, lifted.features(target), equal_nan=True)
    plain = lifted.plain(lifted.targets[0])
    assert plain is not None
    assert plain.source_ids == (lifted.targets[0],)


def test_of_a_few_views_alone_all_is_as_it_is_of_all(shown_store):
    whole = lift3d.open_lifted(shown_store, operator="hog")
    chosen = whole.targets[1:2]
    few = whole.only(chosen)
    assert few.targets == few.compared == chosen
    for found, expected in (
        (few.view(chosen[0]), whole.view(chosen[0])),
        (few.plain(chosen[0]), whole.plain(chosen[0])),
    ):
        assert torch.equal(found.lifted[0].features.values, expected.lifted[0].features.values)
        assert torch.equal(found.prediction.values, expected.prediction.values)
    ((target, camera, grid),) = few.cameras()
    (depth,) = few.depths()
    view = whole.view(chosen[0])
    assert (target, grid) == (chosen[0], view.lifted[0].features.grid)
    assert torch.equal(camera.w2c, view.camera.w2c)
    assert torch.equal(depth.z_depth, view.lifted[0].z_depth)
    surface, expected = few.surface, whole.surface
    assert surface.ids == chosen
    assert torch.equal(surface.views[0].z_depth, expected.views[expected.ids.index(chosen[0])].z_depth)
    assert torch.equal(surface.views[0].quality, expected.views[expected.ids.index(chosen[0])].quality)
    with pytest.raises(UnknownNameError):
        few.view(whole.targets[0])


def test_several_parts_are_joined_along_the_views(shown_store, monkeypatch, tmp_path):
    for module in ("lift", "products", "features"):
        monkeypatch.setattr(f"lift3d.pipeline.{module}.VIEWS_PER_PART", 4)
    place = str(tmp_path / "store")
    run_into(place, small_recipe(operators=["rgb"]))
    split, whole = lift3d.open_lifted(place), lift3d.open_lifted(shown_store)
    assert {number for _, number in split._parts.values()} == {0, 1}
    assert split.targets == whole.targets
    for one in (split.to_xarray(), whole.to_xarray()):
        assert one.sizes["view"] == 6
    for name in ("features_0", "coverage_0", "z_depth_0", "prediction", "K", "w2c"):
        xarray.testing.assert_equal(split.to_xarray()[name], whole.to_xarray()[name])
    assert [view.target for view in split.views()] == list(split.targets)


def test_scores_are_the_lines_of_the_table(shown_store):
    lifted = lift3d.open_lifted(shown_store, lifter="plane_sweep")
    lines = lift3d.summary(lift3d.run_table(lifted.store, lifted.recipe.run_id))
    wanted = (
        (lines["scene"] == lifted.name) & (lines["operator"] == "rgb") & lines["lifter"].isin({"raw2d", "plane_sweep"})
    )
    mine = lifted.scores()
    pd.testing.assert_frame_equal(mine, lines.loc[wanted, mine.columns].reset_index(drop=True))
    rows = lifted.to_pandas()
    assert (set(rows["lifter"]), set(rows["scene"])) == ({"raw2d", "plane_sweep"}, {lifted.name})


def test_a_view_is_shown_with_a_picture_of_each_kind_and_without_its_image_where_that_has_gone(
    shown_store, monkeypatch
):
    lifted = lift3d.open_lifted(shown_store)
    target = lifted.targets[1]
    pictures = lifted.pictures(target)
    assert list(pictures) == list(COLUMNS)
    assert np.array_equal(pictures["image"], lifted.scene.view(target).load(48).image.permute(1, 2, 0).numpy())
    assert [axes.get_title() for axes in lifted.show(target).axes] == list(COLUMNS)
    assert lifted.show()._repr_png_().startswith(b"\x89PNG")

    def gone(location):
        raise ConfigError(f"'{location}' does not exist.")

    monkeypatch.setattr("lift3d.results.lifted_scene.read_scene", gone)
    assert [axes.get_title() for axes in lift3d.open_lifted(shown_store).show().axes] == list(COLUMNS[1:])


def test_what_a_mask_hides_is_hatched_in_pictures_of_the_photograph_which_is_loaded_once(shown_store, monkeypatch):
    lifted, plain_load, loaded = lift3d.open_lifted(shown_store), ProceduralFrame.load, []

    def load(self, *asked):
        loaded.append(self.index)
        frame = plain_load(self, *asked)
        frame.is_valid[:24] = False
        return frame

    before = lifted.pictures(lifted.targets[0])
    monkeypatch.setattr(ProceduralFrame, "load", load)
    with lifted.photographs_kept():
        for one in lift3d.lifted_scenes(shown_store)[:1], [lifted], [lifted]:
            hidden = one[0].pictures(lifted.targets[0])
    assert loaded == [0, 0]
    for name in COLUMNS:
        stripes = np.unique(hidden[name][: len(hidden[name]) // 2])
        assert (stripes.tolist() == np.float32([0.7, 0.92]).tolist()) == (name in ("image", "2D", "difference"))
        half = slice(len(hidden[name]) // 2, None)
        assert np.array_equal(hidden[name][half], before[name][half])


def test_where_no_source_saw_any_target_nothing_is_drawn(tmp_path):
    store = open_store(str(tmp_path / "store"), create=True)
    path, camera = "scenes/room/lifted/rgb/anchored/leaf", read_scene(ROOM).views[0].camera
    writer, skipped = ProductWriter(store, path), SkippedTarget("novel-0000", "no-overlap: nothing")
    write_lifted_part(PartOfViews(writer, 0, 1), [skipped], {camera.size}, lambda size: ())
    commit_lifted(writer, {skipped.id: camera}, {})
    record = SceneRecord("room", ROOM, "ok", lifted=(LiftedProduct("rgb", "anchored", "0", (path,)),))
    (lifted,) = lifted_of(store, small_recipe(), [record])
    assert (lifted.targets, lifted.compared, lifted.cell_count, list(lifted.depths())) == ((), (), 0, [])
    drawn = lifter_pictures(lifted, lifted.colours, 3, 10**6)
    assert (drawn.rows, drawn.steps, drawn.left_out) == ((), (), 0)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"operator": "rbg"}, UnknownNameError, r"Did you mean 'rgb'\? Known: hog, rgb\.$"),
        (
            {"operator": "tiny:depth"},
            UnknownNameError,
            r"lift3d run 'procedural.*' --operator tiny:depth --store .*store",
        ),
        ({"lifter": "lift3d"}, UnknownNameError, "anchored"),
        ({"run_id": "other"}, ProductMissingError, "no run 'other'"),
    ],
)
def test_who_asks_for_what_is_not_there_is_told_what_is(shown_store, given, error, said):
    with pytest.raises(error, match=said):
        lift3d.open_lifted(shown_store, **given)
    with pytest.raises(UnknownNameError, match="lifted view"):
        lift3d.open_lifted(shown_store).view("9999")


def test_of_a_store_that_shows_nothing_it_is_said_why(tmp_path):
    (tmp_path / "alien").mkdir()
    (tmp_path / "alien" / "lift3d.json").write_text('{"format": "lift3d-store", "layout": 99}')
    for place in ("nothing", "alien"):
        with pytest.raises(StoreLayoutError, match=place):
            lift3d.open_lifted(str(tmp_path / place))
    with pytest.raises(ProductMissingError, match="lift3d run"):
        lift3d.open_lifted(open_store(str(tmp_path / "empty"), create=True))
    for gone in ("/captures/gone", "/captures/lost"):
        run_into(str(tmp_path / "failed"), small_recipe(scenes=[gone]))
    with pytest.raises(ProductMissingError, match=r"lift3d status .*other runs, by --run .*: [0-9a-f]{16}\.$"):
        lift3d.open_lifted(str(tmp_path / "failed"))


def test_lift_gives_what_a_run_gives(tmp_path):
    recipe = small_recipe(operators=["hog"], lifters=["anchored"])
    run_into(str(tmp_path / "run"), recipe)
    scene, told = lift3d.read_scene(ROOM), []

    def lift(operator):
        told.clear()
        fields = {"image_height": 48, "sources": 3, "target_mode": "heldout"}
        report = {"report": lambda stage, done, total: told.append(stage)}
        return lift3d.lift(scene, operator, "anchored", store=str(tmp_path / "lift"), **fields, **report)

    lifted, same = lift(lift3d.operator("hog")), lift3d.open_lifted(str(tmp_path / "run"))
    assert lifted.recipe == same.recipe
    for target in same.targets:
        assert np.array_equal(lifted.features(target), same.features(target), equal_nan=True)
    assert any(stage.startswith("encode") for stage in told)
    # What a store holds is not computed again.
    again = lift("hog")
    assert told == []
    assert list_runs(again.store) == [recipe.run_id]


def test_a_module_of_ones_own_is_lifted_into_a_store_that_goes_with_the_answer():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1))
    own = lift3d.operator(module, cuts=("1",), name="own", prediction="image")
    lifted = lift3d.lift(ROOM, own, "anchored", image_height=48)
    folder = Path(lifted.store.url.removeprefix("file://"))
    assert folder.is_dir()
    assert lifted.prediction(lifted.targets[0]).shape == (3, 48, 64)
    assert json.loads((folder / "runs" / lifted.recipe.run_id / "recipe.json").read_text())["operators"] == ["own"]
    del lifted
    # The thread that reads arrays may still hold the last answer, or be deleting the folder itself.
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert not folder.exists()


def test_lift_refuses_what_it_cannot_use(tmp_path):
    with pytest.raises(ConfigError, match=r"lift3d\.operator"):
        lift3d.lift(ROOM, torch.nn.Conv2d(3, 3, 1))
    with pytest.raises(ConfigError, match="image_hight"):
        lift3d.lift(ROOM, "rgb", image_hight=48)
    write_transforms(tmp_path / "capture", capture())
    with pytest.raises(SceneError, match="depth of a sensor"):
        lift3d.lift(tmp_path / "capture", "rgb", geometry="sensor", image_height=48)
