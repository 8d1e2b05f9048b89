"""The bench of systems: what a line says, their mean, and that parts are known by name."""

from dataclasses import replace

import pytest
import torch

from lift3d.bench.kept_figures import kept
from lift3d.bench.systems import generators, meshes, moments, parts, queries, restoration, sparse
from lift3d.bench.systems.page import page
from lift3d.bench.systems.parts import PARTS, Asked, measure
from lift3d.bench.systems.row import SystemRow
from lift3d.bench.systems.splats import _painted
from lift3d.errors import ConfigError, NoOverlapError, UnknownNameError

ROW = SystemRow("queries", "a", "mIoU", True, 0.6, {"per view": 0.5}, {"true masks": 0.9}, {"things": 4.0}, "C", "D")


def test_a_figure_is_held_against_all_of_its_floors():
    assert ROW.is_above
    assert not replace(ROW, floors={"per view": 0.5, "other": 0.7}).is_above
    assert replace(ROW, higher_is_better=False, floors={"per view": 0.7}).is_above
    assert not replace(ROW, figure=float("nan")).is_above


def test_the_page_has_the_mean_of_scenes_and_marks_what_is_missed():
    text = page([ROW, replace(ROW, scene="b", figure=0.2)])
    assert "| mean of 2 | mIoU   | 0.400 ✗ | per view 0.500 | true masks 0.900 |" in text
    assert "| b     | mIoU   | 0.200 ✗ |" in text
    assert text.count("C  # D") == 1
    assert PARTS["queries"].lacks in text


def test_a_part_keeps_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(queries, "measure", lambda asked: [replace(ROW, scene=asked.scene)])
    store = str(tmp_path / "store")
    (row,) = measure("queries", ["procedural:x?a=1&b=2"], ["one"], ["p.py:x"], store)
    assert row.command == "lift3d bench systems queries 'procedural:x?a=1&b=2' --operator one --plugin p.py:x"
    assert kept(store, "systems", SystemRow) == [row]
    with pytest.raises(UnknownNameError, match="part of the bench of systems 'nothing'"):
        measure("nothing", [], [], [], store)


def test_folders_are_named_as_captures(tmp_path):
    assert Asked(str(tmp_path), (), (), "").command == f"CAPTURES/{tmp_path.name}"


def test_every_part_says_what_it_is():
    for part in PARTS.values():
        assert all((part.systems, part.brief, part.published, part.lacks, part.does))
    assert parts.PARTS is PARTS


def test_paint_has_all_labels_whatever_the_unit():
    xyz = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert len(torch.unique(_painted(xyz))) == 8
    assert torch.equal(_painted(xyz), _painted(xyz * 4))


def test_words_on_a_small_scene_are_measured(tmp_path):
    rows = queries.measure(Asked("procedural:objects?seed=9006&views=6", (), (), str(tmp_path / "store")))
    assert [row.metric for row in rows] == ["localisation by words", "mIoU by words"]
    assert all(0 < row.figure <= 1 and {*row.floors} == {"per view", "per view, even"} for row in rows)
    assert rows[1].details["seconds a query"] < 1


def test_what_is_under_drops_is_read_from_other_views(tmp_path, monkeypatch):
    monkeypatch.setattr(restoration, "IMAGE_HEIGHT", 72)
    scene = "procedural:room?seed=2&views=8&height=72&width=96"
    rain, drops = restoration.measure(Asked(scene, (), (), str(tmp_path / "store")))
    assert (rain.scene[-6:], drops.scene[-10:]) == (", rain", ", droplets")
    for row in (rain, drops):
        assert row.is_above
        assert row.details["share seen elsewhere"] > 0.8


def test_true_depth_gives_the_best_mesh_and_walls_are_told_apart(monkeypatch):
    monkeypatch.setattr(meshes, "VOXEL", 0.04)
    scene = "procedural:room?seed=1&views=4&height=48&width=64&plain=1&spacing=2"
    whole, walls = meshes.measure(Asked(scene, (), (), ""))
    for row in (whole, walls):
        assert row.part == "meshes"
        assert set(row.floors) == {"stereo", "network alone"}
        assert 0 <= max(row.floors.values()) < row.ceilings["true depth"] <= 1
        assert 0 <= row.details["precision"] <= 1
    assert "walls" in walls.metric
    assert whole.ceilings["true depth"] > 0.5


def test_what_an_editor_made_by_chance_is_one_scene_again(tmp_path, monkeypatch):
    monkeypatch.setattr(generators, "_HEIGHT", 48)
    monkeypatch.setattr(generators, "_EVERY", 4)
    scene = "procedural:room?seed=2&views=8&height=48&width=64&spacing=2"
    (row,) = generators.measure(Asked(scene, (), (), str(tmp_path / "store")))
    assert row.scene.endswith(", editor")
    assert row.is_above
    assert row.figure < 0.5
    assert row.details["coverage"] > 0.9
    with pytest.raises(ConfigError, match="generates no pictures: it gives"):
        generators.measure(Asked(scene, ("hog",), (), str(tmp_path / "store")))
    grey = torch.full((3, 1, 1), 0.5)
    red, green, blue = generators.edited(grey, None).flatten().tolist()
    assert red > green > blue


def test_few_photographs_are_completed_and_what_is_made_up_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sparse, "_HEIGHT", 48)
    monkeypatch.setattr(sparse, "_COUNTS", (3,))
    scene = "procedural:room?seed=2&views=8&depth=0&plain=1&height=48&width=64"
    seen, covered = sparse.measure(Asked(scene, (), (), str(tmp_path / "store")))
    assert (seen.metric, covered.metric) == ("PSNR of withheld views, dB", "coverage of withheld views")
    assert seen.scene.endswith(", 3 views")
    assert seen.is_above
    assert covered.is_above
    assert seen.details["PSNR where confident"] > seen.details["PSNR where in doubt"] + 3
    monkeypatch.setattr(sparse, "_COUNTS", (5,))
    with pytest.raises(NoOverlapError, match="has 8 views; expected at least 10"):
        sparse.measure(Asked(scene, (), (), str(tmp_path / "store")))


def test_what_stands_still_looks_alike_at_all_moments_and_what_moves_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "_HEIGHT", 36)
    scene = "procedural:room?seed=2&views=2&times=3&spacing=4&height=36&width=48"
    (row,) = moments.measure(Asked(scene, (), (), str(tmp_path / "store")))
    assert row.is_above
    assert row.figure < 0.5
    assert row.details["what moves is there"] > 0.7
