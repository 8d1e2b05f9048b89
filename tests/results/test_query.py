"""Words and clicks asked of points: what is found, where it ends, whole masks, files, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from plyfile import PlyData

import lift3d
from lift3d.cli.app import app
from lift3d.errors import ConfigError, NoOverlapError, UnknownNameError
from lift3d.results.query.ask import ask_all
from lift3d.results.query.likeness import Neighbours, edge_threshold, even_threshold, otsu_threshold
from tests.support import surfaces
from tests.support.runs import run_into, small_recipe

SCENE = "procedural:objects?seed=3&views=8&height=96&width=128"
THING = "purple ball"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("asked") / "store")
    names = {"operators": ["tiny:clip", "hog"], "lifters": ["anchored"], "target_mode": "refine", "sources": 8}
    run_into(url, small_recipe(scenes=[SCENE], image_height=96, metrics=["coverage"], **names))
    return url


@pytest.fixture(scope="module")
def asked(store):
    return lift3d.open_lifted(store, operator="tiny:clip").ask()


@pytest.fixture(scope="module")
def is_thing(asked):
    """Which points are of the thing, by the pixels that they are read from."""
    scene = lift3d.read_scene(SCENE)
    (number,) = (number for number, name in scene.label_names.items() if name == THING)
    true = np.zeros(len(asked.cloud), dtype=bool)
    for place, target in enumerate(asked.lifted.targets):
        own = (asked.cloud.view == place).numpy()
        col, row = asked.cloud.uv[torch.from_numpy(own)].floor().long().clamp(min=0).T
        true[own] = (scene.view(target).load(96).labels == number)[row.clamp(max=95), col.clamp(max=127)].numpy()
    return true


def test_words_find_the_thing_that_they_name(asked, is_thing):
    found = asked.words(THING)
    assert is_thing[found.peak]
    assert (found.selected & is_thing).sum() > 0.6 * (found.selected | is_thing).sum()
    assert found.threshold_source == "edge, from relevancy 0.5 on"
    assert found.summary()["view"] in asked.lifted.targets


def test_a_click_finds_what_is_clicked_and_nothing_else(asked, is_thing):
    view, u, v = asked.words(THING).best_view
    found = asked.click(view, u, v)
    assert (found.selected & is_thing).sum() > 0.5 * (found.selected | is_thing).sum()


def test_every_view_reads_the_same_points(asked):
    found = asked.words(THING)
    views = [asked.lifted.view(target) for target in asked.lifted.targets[:3]]
    values = {value for view in views for value in found.seen_from(view).ravel() if np.isfinite(value)}
    assert values <= {*found.likeness}


def test_a_mask_is_found_whole_or_not_at_all(asked, is_thing):
    ids = np.where(is_thing, 0, np.where(asked.cloud.xyz[:, 2].numpy() > 1.0, 1, -1))
    on_masks = asked.on(ids)
    assert torch.equal(on_masks.unit[torch.from_numpy(ids == -1)], asked.unit[torch.from_numpy(ids == -1)])
    assert len(torch.unique(on_masks.unit[torch.from_numpy(ids == 0)], dim=0)) == 1
    found = on_masks.words(THING)
    assert found.selected[is_thing].mean() > 0.95
    with pytest.raises(ConfigError, match="one each; got 3"):
        asked.on(np.zeros(3, dtype=int))


def test_masks_of_the_scene_are_asked_whole(asked):
    masks = lift3d.scene_masks(asked.lifted)
    on_masks = asked.on(masks)
    ids = masks.ids_at(asked.cloud.xyz.numpy())
    assert (ids >= 0).mean() > 0.5
    number = int(np.bincount(ids[ids >= 0]).argmax())
    assert len(torch.unique(on_masks.unit[torch.from_numpy(ids == number)], dim=0)) == 1
    assert (masks.ids_at(asked.cloud.xyz.numpy() + 100) == -1).all()


def test_of_several_words_a_point_is_the_most_relevant_one(asked, is_thing):
    number = ask_all(asked, ["yellow box", THING])
    assert (number[is_thing] == 1).mean() > 0.6
    assert not (number[is_thing] == 0).any()


def test_a_query_ends_where_features_change():
    # On a sheet features turn at row 60 of 100; likeness falls evenly from 1 to 0, and says nothing of it.
    row, col = np.indices((100, 20)).reshape(2, -1).astype(float)
    unit = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).half()[torch.from_numpy((row >= 60).astype(int))]
    neighbours, likeness = Neighbours.of(np.stack([row, col, 0 * row], axis=1), unit), 1 - row / 99
    threshold = edge_threshold(likeness, neighbours, 0.1)
    assert abs(row[likeness > threshold].max() - 59.5) < 2
    assert even_threshold(likeness, neighbours, 0.5) == 0.5
    assert 0.5 < otsu_threshold(likeness, neighbours, 0.5) < 1
    assert edge_threshold(np.zeros(2000), neighbours, 0.5) == otsu_threshold(np.zeros(2000), neighbours, 0.5) == 0.5


@pytest.mark.parametrize("suffix", ["ply", "csv", "parquet"])
def test_what_is_found_is_written_for_others(asked, tmp_path, suffix):
    found = asked.words(THING)
    out = tmp_path / f"found.{suffix}"
    found.write(out)
    read = {
        "ply": lambda: PlyData.read(str(out))["vertex"].data,
        "csv": lambda: pd.read_csv(out),
        "parquet": lambda: pd.read_parquet(out),
    }[suffix]()
    np.testing.assert_allclose(read["likeness"], found.likeness, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(read["is_selected"]).astype(bool), found.selected)
    np.testing.assert_allclose(read["x"], found.cloud.xyz[:, 0], rtol=1e-5, atol=1e-6)


def test_what_is_found_is_cut_out_of_a_file_of_ones_own(asked, is_thing, tmp_path):
    found = asked.words(THING)
    xyz = np.concatenate([asked.cloud.xyz.numpy(), asked.cloud.xyz.numpy() + 50])
    path = surfaces.write_splats(tmp_path / "splats.ply", xyz, 0.01)
    count = found.cut_out(path, tmp_path / "thing.ply")
    rows = PlyData.read(str(tmp_path / "thing.ply"))["vertex"].data
    assert len(rows) == count == found.selected.sum()
    np.testing.assert_allclose(rows["x"], asked.cloud.xyz[torch.from_numpy(found.selected), 0], rtol=1e-5, atol=1e-5)
    assert {"opacity", "scale_0", "likeness"} <= {*rows.dtype.names}
    far = surfaces.write_splats(tmp_path / "far.ply", xyz * 1000, 0.01)
    with pytest.raises(ConfigError, match="another world or unit"):
        found.cut_out(far, tmp_path / "none.ply")
    with pytest.raises(ConfigError, match="is there already"):
        found.write(tmp_path / "thing.ply")


def test_bad_questions_are_refused_in_words(asked, store, tmp_path):
    with pytest.raises(ConfigError, match=r"up to 200 characters.*got 0"):
        asked.words("  ")
    with pytest.raises(ConfigError, match="128×96 pixels as lifted; got u = 500"):
        asked.click("0000", 500.0, 3.0)
    with pytest.raises(UnknownNameError, match="lifted view 'nowhere'"):
        asked.click("nowhere", 5.0, 3.0)
    with pytest.raises(UnknownNameError, match="threshold rule"):
        asked.words(THING, "guess")
    with pytest.raises(ConfigError, match=r"ends in \.ply"):
        asked.words(THING).write(tmp_path / "found.obj")
    with pytest.raises(ConfigError, match=r"knows pictures only.*This run has one: --operator 'tiny:clip'"):
        lift3d.open_lifted(store, operator="hog").ask().words(THING)


_PLUGIN = """
from dataclasses import replace

from lift3d.operators.catalog import build_operator

mine = build_operator("tiny:clip")
mine.spec = replace(mine.spec, name="mine")
"""


def test_words_are_asked_of_a_plug_in_that_who_asks_names_himself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(_PLUGIN)
    scene = "procedural:objects?seed=3&views=3&height=48&width=64"
    names = {"operators": ["mine"], "plugins": ["mine.py:mine"], "lifters": ["anchored"], "target_mode": "refine"}
    run_into("store", small_recipe(scenes=[scene], image_height=48, metrics=["coverage"], sources=3, **names))
    with pytest.raises(ConfigError, match="--plugin"):
        lift3d.open_lifted("store").query("ball")
    assert lift3d.open_lifted("store", plugins=["mine.py:mine"]).query("ball").query == "ball"
    answered = CliRunner().invoke(app, ["query", "store", "ball", "--plugin", "mine.py:mine"])
    assert (answered.exit_code, "ball" in answered.output) == (0, True)


def test_nothing_lifted_at_a_pixel_is_said(asked):
    view = asked.lifted.view("0000")
    view.lifted[0].features.values[:, 0, 0] = torch.nan
    with pytest.raises(NoOverlapError, match="Nothing was lifted at u = 0"):
        asked.click("0000", 0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([THING], "edge, from relevancy 0.5 on", 0),
        (["orange box", "--rule", "even"], "relevancy 0.5", 0),
        ([THING, "--on-masks"], "edge, from relevancy 0.5 on", 0),
        (["--click", "0000,60,60"], "from cosine", 0),
        ([], "Nothing is asked", 2),
        (["--click", "0000,60"], "VIEW,U,V", 2),
        ([THING, "red ball", "--out", "x.ply"], "got 2 queries", 2),
        ([THING, "--onto", "mine.ply", "--out", "x.csv"], "needs a name", 2),
    ],
)
def test_the_command_says_where_it_is(store, arguments, said, code):
    result = CliRunner().invoke(app, ["query", store, *arguments, "--operator", "tiny:clip"])
    text = result.output + str(result.exception or "")
    assert said in text
    assert (result.exit_code == 0) == (code == 0)
