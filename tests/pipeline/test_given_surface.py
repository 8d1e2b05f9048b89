"""Runs of scenes that bring their surface along: found, said which, passed over with a reason, refused when named."""

import pytest

from lift3d.scenes.catalog import read_scene
from tests.support.photographs import write_posed
from tests.support.runs import ran
from tests.support.surfaces import mesh_of, write_mesh, write_workspace

SMALL = {
    "operators": ["rgb"],
    "lifters": ["anchored"],
    "metrics": ["coverage"],
    "target_mode": "refine",
    "image_height": 32,
}


@pytest.fixture(scope="module")
def room():
    scene = read_scene("procedural:room?views=6&height=96&width=128")
    return scene, {view.id: view.load() for view in scene.views}


@pytest.fixture
def folder(room, tmp_path):
    """Photographs and cameras of a computed room; its surface is not among them."""
    return write_posed(room[0], tmp_path / "room")


def test_the_best_that_a_scene_has_is_taken_and_one_that_does_not_fit_is_passed_over(room, folder, tmp_path):
    _, frames = room
    vertices, triangles = mesh_of(frames.values(), step=2)
    write_mesh(folder / "mesh.ply", vertices, triangles)
    record, rows = ran(tmp_path, scenes=[str(folder)], **SMALL)
    assert (record.outcome, record.surface) == ("ok", "mesh 'mesh.ply'"), record.reason
    assert rows[(rows["metric"] == "coverage") & (rows["lifter"] == "anchored")]["value"].min() > 0.9
    again, _ = ran(tmp_path, scenes=[str(folder)], **SMALL)
    assert (again.surface, again.computed) == (record.surface, {})
    write_mesh(folder / "mesh.ply", 1000 * vertices, triangles)
    refused, _ = ran(tmp_path, scenes=[str(folder)], **SMALL)
    assert refused.surface == "sweep"
    assert any("mesh 'mesh.ply' of the scene was passed over" in note for note in refused.notes)
    named, _ = ran(tmp_path, scenes=[str(folder)], geometry="mesh", **SMALL)
    assert named.outcome == "failed"
    assert "'mesh.ply' does not fit the views" in named.reason


def test_a_view_without_a_depth_map_is_shown_what_the_others_know(room, folder, tmp_path):
    _, frames = room
    write_workspace(folder / "dense", {name: frame for name, frame in frames.items() if name != "0002"})
    record, rows = ran(tmp_path, scenes=[str(folder)], **SMALL)
    assert (record.outcome, record.surface) == ("ok", "colmap 'dense'"), record.reason
    cover = rows[(rows["metric"] == "coverage") & (rows["lifter"] == "anchored") & (rows["target"] == "0002")]
    assert cover["value"].min() > 0.8


def test_a_surface_that_a_network_completes_is_one_of_its_own_and_says_what_became_of_it(tmp_path):
    scenes = ["procedural:room?views=6&height=64&width=96&plain=1"]
    plain, _ = ran(tmp_path, scenes=scenes, geometry="sweep", **SMALL)
    record, _ = ran(tmp_path, scenes=scenes, geometry="planar?prior=tiny:depth", **SMALL)
    assert (record.outcome, record.surface) == ("ok", "planar with tiny:depth"), record.reason
    assert record.surface_path != plain.surface_path
    (note,) = [one for one in record.notes if "tiny:depth" in one]
    other = {**SMALL, "operators": ["hog"]}
    again, _ = ran(tmp_path, scenes=scenes, geometry="planar?prior=tiny:depth", **other)
    assert again.surface_path == record.surface_path
    assert "surfaces" not in again.computed
    assert note in again.notes
