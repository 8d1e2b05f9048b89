"""Questions of a scene's things: answers that do not depend on the world, files that come back, refusals in words."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import lift3d
from lift3d.bench.systems.true_things import TrueThings
from lift3d.cli.questions import ask_about
from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import ConfigError, NoOverlapError, UnknownNameError
from lift3d.geometry.rigid import inverse, look_at
from lift3d.results.cloud import surface_of
from lift3d.results.masks.scene_masks import MOST_POINTS, SceneMasks
from lift3d.results.questions import spatial
from lift3d.results.questions.scene_questions import scene_questions
from lift3d.results.questions.templates import ANSWERS, QUESTIONS, REFUSED, length, question, the
from lift3d.results.questions.thing import Shown, Thing
from lift3d.results.questions.things import up_of
from lift3d.surface.cloud import surface_points
from lift3d.surface.scene_surface import SceneSurface
from lift3d.synthetic.objects import OBJECT_LABELS

SCENE = "procedural:objects?seed=3&views=8&spacing=4&height=72&width=96"


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    """A table and things around it, lifted with the model that reads words."""
    store = str(tmp_path_factory.mktemp("questions") / "store")
    return lift3d.lift(SCENE, "tiny:clip", store=store, image_height=72, metrics=("coverage",))


def _masks(lifted, moved=None, scale=1.0):
    """Return the true things on the surface, in the world as it is or moved and scaled."""
    moved = torch.eye(4, dtype=torch.float64) if moved is None else moved
    views = {}
    for one in surface_of(lifted).views:
        w2c = one.camera.w2c.clone()
        w2c[:3, 3] *= scale
        camera = Camera(one.camera.K, w2c @ inverse(moved), one.camera.size)
        views[one.id] = ViewGeometry(camera, one.grid, one.z_depth * scale, one.confidence)
    surface = SceneSurface.of(SceneGeometry("sensor", views))
    points = surface_points(surface, MOST_POINTS)
    ids = torch.full((len(points.xyz),), -1)
    for view in surface.views:
        own = points.xyz @ view.camera.w2c[:3, :3].T + view.camera.w2c[:3, 3]
        uv = (own[:, :2] / own[:, 2:] * view.camera.K.diagonal()[:2] + view.camera.K[:2, 2]).floor().long()
        is_in = (own[:, 2] > 0) & (uv >= 0).all(1) & (uv[:, 0] < 96) & (uv[:, 1] < 72)
        frame = lifted.scene.view(view.id).load(72)
        at = uv[is_in]
        is_seen = ((frame.z_depth * scale)[at[:, 1], at[:, 0]] / own[is_in, 2] - 1).abs() < 0.02
        place = torch.nonzero(is_in)[:, 0][is_seen]
        ids[place] = frame.labels[at[:, 1], at[:, 0]][is_seen]
    count = len(OBJECT_LABELS)
    views_seen = torch.ones(count, len(surface.views), dtype=torch.float64)
    return SceneMasks(lifted, surface, points, ids, torch.ones(count), views_seen, lifted.compared)


NAMES = {number: name for name, number in OBJECT_LABELS.items()}


@pytest.fixture(scope="module")
def found(lifted):
    return scene_questions(_masks(lifted), names=NAMES)


def test_answers_are_those_of_the_world_as_it_was_built(lifted, found):
    true, asked = TrueThings.of(lifted.scene), [one for one in found.questions if not one.refused]
    assert {"distance", "centre distance", "left or right", "nearer", "count"} <= {one.kind for one in asked}
    assert sum(map(true.is_right, asked)) >= 0.95 * len(asked) > 60
    table = found.to_pandas()
    lengths = table[(table["unit"] == "m")]
    assert (lengths["tolerance"] <= 0.1 * lengths["value"]).all()


def test_turning_moving_and_scaling_the_world_leave_relations_and_scale_lengths(lifted, found):
    moved = inverse(look_at(torch.tensor([3.0, -2, 5], dtype=torch.float64), torch.tensor([0.5, 4, 1.0]).double(), 0.4))
    other = scene_questions(_masks(lifted, moved, 2.5), names=NAMES, metres_per_unit=1.0)
    before = {(one.kind, one.names, one.view): one for one in found.questions if not one.refused}
    after = {(one.kind, one.names, one.view): one for one in other.questions if not one.refused}
    both = {*before} & {*after}
    # Spots stand in the axes of the first view: the points are the same but for rounding.
    assert len(both) > 0.95 * max(len(before), len(after)) > 40
    for key in both:
        if np.isnan(before[key].value) or key[0] == "count":
            assert after[key].answer == before[key].answer
        else:
            assert after[key].value == pytest.approx(2.5 * before[key].value, rel=0.03)


def _ball(center, radius=0.1):
    index = np.arange(600) + 0.5
    z, turn = 1 - index / 300, np.pi * (1 + 5**0.5) * index
    across = np.sqrt(1 - z**2)
    unit = np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=1)
    return np.array(center) + radius * unit, unit


def _thing(number, center, cameras):
    xyz, normals = _ball(center)
    shown = {}
    for name, camera in cameras.items():
        own = xyz @ camera.w2c[:3, :3].numpy().T + camera.w2c[:3, 3].numpy()
        uv = own[:, :2] / own[:, 2:] * 100 + 50
        shown[name] = Shown(camera, np.ones(len(xyz), dtype=bool), uv, own[:, 2])
    up = np.array([0.0, 0.0, 1.0])
    ends = np.zeros(len(xyz), dtype=bool)
    return Thing(number, str(number), xyz, normals, ends, 0.002, 0.01, 0.0, up, shown)


def test_left_from_one_side_is_right_from_the_other_and_behind_is_in_front():
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    places = {"south": (0.3, -3.0, 1.0), "north": (-0.3, 3.0, 1.0)}
    target = torch.zeros(3, dtype=torch.float64)
    cameras = {
        name: Camera(K, look_at(torch.tensor(place, dtype=torch.float64), target), ImageSize(100, 100))
        for name, place in places.items()
    }
    a, b = _thing(0, (-0.5, -0.4, 0.0), cameras), _thing(1, (0.4, 0.4, 0.0), cameras)
    right = {view: spatial.right_of(a.shown[view], b.shown[view], 0.004) for view in cameras}
    behind = {view: spatial.behind(a.shown[view], b.shown[view], 0.004) for view in cameras}
    farther = {view: spatial.farther(a, b, camera.center.numpy()) for view, camera in cameras.items()}
    for found in (right, behind, farther):
        assert not any(one.doubt for one in found.values())
        assert found["south"].value < 0 < found["north"].value
    assert spatial.right_of(b.shown["south"], a.shown["south"], 0.004).value > 0
    assert spatial.nearest(a, b).value == pytest.approx(np.hypot(0.9, 0.8) - 0.2, rel=0.02)
    assert spatial.middles(a, b).value == pytest.approx(np.hypot(0.9, 0.8), rel=0.01)
    assert spatial.width(a).value == pytest.approx(0.2, rel=0.03)
    overlapping = _thing(2, (-0.45, -0.2, 0.0), cameras)
    assert spatial.right_of(a.shown["south"], overlapping.shown["south"], 0.004).doubt == "overlap"
    assert spatial.nearest(a, _thing(3, (-0.29, -0.4, 0.0), cameras)).doubt == "noise"


def test_level_cameras_tell_up_and_others_do_not():
    places = torch.tensor([[2.0, 0, 1], [0, 2, 0.5], [-2, 1, 2]], dtype=torch.float64)
    K, size = torch.eye(3), ImageSize(8, 8)
    target = torch.zeros(3, dtype=torch.float64)
    assert up_of([Camera(K, look_at(one, target), size) for one in places]) == pytest.approx([0, 0, 1])
    rolled = [Camera(K, look_at(one, target, roll), size) for one, roll in zip(places, (0.0, 1.5, 0.7), strict=True)]
    assert up_of(rolled) is None


def test_parquet_and_json_lines_hold_the_same(found, tmp_path):
    found.write(tmp_path / "asked.parquet")
    found.write(tmp_path / "asked.jsonl")
    table = pd.read_parquet(tmp_path / "asked.parquet")
    lines = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    assert len(table) == len(lines) == len(found.questions)
    assert [*table.columns] == [*lines[0]]
    for row, line in zip(table.to_dict("records"), lines, strict=True):
        for name, value in line.items():
            if isinstance(value, list):
                assert [*row[name]] == value
            else:
                assert row[name] == value or (value is None and pd.isna(row[name]))
        assert bool(line["refused"]) == (line["answer"] is None) == bool(line["why"])
    with pytest.raises(ConfigError, match="is there already"):
        found.write(tmp_path / "asked.parquet")
    with pytest.raises(ConfigError, match=r"\.parquet or \.jsonl"):
        found.write(tmp_path / "asked.txt")


def test_what_is_in_doubt_is_refused(lifted):
    masks = _masks(lifted)
    there = {number: NAMES[number] for number in np.unique(masks.ids.numpy()).tolist() if number > 3}
    same = scene_questions(masks, names=dict.fromkeys([*there][:2], "thing") | {3: "table"}).to_pandas()
    assert {*same.loc[same["names"].map(lambda names: "thing" in names) & (same["kind"] != "count"), "refused"]} == {
        "same-name"
    }
    apart = scene_questions(masks, names=dict.fromkeys([*there][:2], "thing") | {3: "table"}, numbered=True)
    assert {one.name for one in apart.things} == {"table", *(f"thing {one}" for one in [*there][:2])}
    assert next(one for one in apart.questions if one.names == ("thing",)).answer == "2"
    nobody = replace(masks, lifted=replace(lifted, reads_capture=False))
    unscaled = scene_questions(nobody, names=NAMES).to_pandas()
    assert unscaled.loc[unscaled["unit"] == "m"].empty
    assert {"no-scale", ""} <= {*unscaled["refused"]}
    assert (unscaled[unscaled["kind"] == "nearer"]["refused"] == "").any()


def test_words_name_masks_and_one_that_no_mask_shows_is_refused(lifted):
    asked = scene_questions(lifted, names=("table", "purple ball", "red box"))
    table = asked.to_pandas()
    missing = table[table["refused"] == "not-found"]
    assert {*asked.naming.names.values()} | {name for names in missing["names"] for name in names} == {
        *("table", "purple ball", "red box")
    }
    assert (missing["why"] == REFUSED["not-found"]).all()
    assert "named by words, tiny:clip" in asked.summary()


def test_bad_input_is_told(lifted, tmp_path):
    masks = _masks(lifted)
    with pytest.raises(UnknownNameError, match="view 'nowhere'"):
        scene_questions(masks, views=["nowhere"])
    with pytest.raises(ConfigError, match="has the id 99"):
        scene_questions(masks, names={99: "mug"})
    with pytest.raises(ConfigError, match="without any letter"):
        scene_questions(masks, names={0: " "})
    with pytest.raises(UnknownNameError, match="segmentation 'tiny:segmenter'"):
        scene_questions(masks, names="tiny:segmenter")
    with pytest.raises(ConfigError, match="names nothing"):
        scene_questions(masks, names="tiny:clip")
    with pytest.raises(ConfigError, match="number of metres"):
        scene_questions(masks, metres_per_unit=-1.0)
    with pytest.raises(ConfigError, match="direction of three numbers"):
        scene_questions(masks, up=(0.0, 0.0, 0.0))
    with pytest.raises(NoOverlapError, match="None of the"):
        scene_questions(masks, names={0: "floor"})
    nothing = {
        "words": (),
        "labels": None,
        "given": (),
        "ignored": (),
        "numbered": False,
        "views": (),
        "metres_per_unit": None,
    }
    for wrong, said in (({"given": ("mug",)}, "ID=NAME"), ({"words": ("mug",), "labels": "capture"}, "one way")):
        with pytest.raises(ConfigError, match=said):
            ask_about(lambda: lifted, tmp_path / "asked.jsonl", None, **{**nothing, "up": None, **wrong})
    with pytest.raises(UnknownNameError, match="view 'nowhere'"):
        ask_about(lambda: lifted, tmp_path / "asked.jsonl", None, **{**nothing, "up": None, "views": ("nowhere",)})
    with pytest.raises(ConfigError, match="X,Y,Z"):
        ask_about(lambda: lifted, tmp_path / "asked.jsonl", None, **nothing, up="z")


def test_labels_of_the_capture_name_masks(lifted):
    named = scene_questions(_masks(lifted), names="capture").naming.names
    assert named.items() <= NAMES.items()
    assert "table" in named.values()
    assert "floor" not in named.values()


def test_wordings_are_complete_and_always_the_same():
    assert {*ANSWERS} < {*QUESTIONS}
    for kind, wordings in QUESTIONS.items():
        said = {question(kind, str(n), a="the mug", b="the box", view="7", name="mug") for n in range(60)}
        assert len(said) == len(wordings)
        assert all("mug" in one for one in said)
    assert (the("red mug"), the("region 7"), the("the lamp")) == ("the red mug", "region 7", "the lamp")
    assert (length(0.254), length(2.0)) == ("25 cm", "2.00 m")
