"""What was room_run, on a cloud or a mesh of one's own: in its order, with its colours, and an object cut out."""

import numpy as np
import pytest
import trimesh
from plyfile import PlyData

import lift3d
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.results.exports.write import export_lifted
from tests.support import surfaces
from tests.support.runs import ROOM


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A mesh of the true surface as another tool writes it, colours and all; a cloud of it in any order."""
    frames = [view.load(48) for view in lift3d.read_scene(ROOM).views[::2]]
    vertices, faces = surfaces.mesh_of(frames)
    folder = tmp_path_factory.mktemp("own")
    colours = np.random.default_rng(0).integers(0, 255, (len(vertices), 4), dtype=np.uint8)
    colours[:, 3] = 255
    trimesh.Trimesh(vertices, faces, vertex_colors=colours, process=False).export(folder / "mesh.ply")
    order = np.random.default_rng(1).permutation(len(vertices))
    trimesh.PointCloud(vertices[order], colours[order]).export(folder / "cloud.ply")
    image = np.concatenate([frame.image.flatten(1).T.numpy() for frame in frames])
    return folder, vertices, colours, order, image


def test_a_cloud_gets_what_was_lifted_in_its_order(room_run, own, tmp_path):
    folder, vertices, colours, order, _ = own
    said = export_lifted(room_run["hog"], tmp_path / "out.ply", onto=folder / "cloud.ply")
    rows = PlyData.read(str(tmp_path / "out.ply"))["vertex"].data
    np.testing.assert_allclose(np.stack([rows[name] for name in "xyz"], axis=1), vertices[order], rtol=1e-6)
    np.testing.assert_array_equal(rows["red"], colours[order, 0])
    channels = room_run["hog"].view("0000").lifted[0].features.channel_count
    features = np.stack([rows[f"feature_{number}"] for number in range(channels)], axis=1)
    assert np.isfinite(features).all(1).mean() > 0.9
    assert f"{len(order)} of {len(order)} vertices in their order" in said


def test_a_mesh_keeps_its_faces_and_takes_labels_and_pictures(room_run, own, tmp_path):
    folder, _, colours, _, image = own
    export_lifted(room_run["tiny:segmenter"], tmp_path / "labels.ply", onto=folder / "mesh.ply")
    before, after = (trimesh.load(path, process=False) for path in (folder / "mesh.ply", tmp_path / "labels.ply"))
    assert np.array_equal(before.faces, after.faces)
    assert np.array_equal(after.visual.vertex_colors, colours)
    # A model on its own says the same of most of what it sees.
    label = np.asarray(after.metadata["_ply_raw"]["vertex"]["data"]["label"])
    plain = room_run["tiny:segmenter"].plain("0000").prediction.values.numpy().ravel()
    assert (label[: len(plain)] == plain)[label[: len(plain)] >= 0].mean() > 0.8
    export_lifted(room_run["rgb"], tmp_path / "rgb.ply", onto=folder / "mesh.ply")
    shown = np.asarray(trimesh.load(tmp_path / "rgb.ply", process=False).visual.vertex_colors)[:, :3] / 255
    assert np.median(np.abs(shown - image)) < 0.03


def test_a_label_is_cut_out_with_the_faces_between_its_vertices(room_run, own, tmp_path):
    folder = own[0]
    export_lifted(room_run["tiny:segmenter"], tmp_path / "whole.ply", onto=folder / "mesh.ply")
    whole = trimesh.load(tmp_path / "whole.ply", process=False)
    label = np.asarray(whole.metadata["_ply_raw"]["vertex"]["data"]["label"])
    chosen = int(np.bincount(label[label >= 0]).argmax())
    export_lifted(room_run["tiny:segmenter"], tmp_path / "part.ply", onto=folder / "mesh.ply", only=(chosen,))
    part = trimesh.load(tmp_path / "part.ply", process=False)
    kept = label == chosen
    np.testing.assert_array_equal(part.vertices, whole.vertices[kept])
    expected = whole.faces[kept[whole.faces].all(axis=1)]
    np.testing.assert_allclose(part.vertices[part.faces], whole.vertices[expected])


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 0.0), (1.0, 40.0)])
def test_another_unit_or_world_is_refused_in_words(room_run, own, tmp_path, scale, shift):
    trimesh.PointCloud(own[1] * scale + shift).export(tmp_path / "far.ply")
    with pytest.raises(SceneFormatError, match="another world or unit"):
        export_lifted(room_run["hog"], tmp_path / "out.ply", onto=tmp_path / "far.ply")
    assert not (tmp_path / "out.ply").exists()


def test_labels_that_are_not_there_are_named(room_run, own, tmp_path):
    with pytest.raises(ConfigError, match="Nothing has a label of 77"):
        export_lifted(room_run["tiny:segmenter"], tmp_path / "out.ply", onto=own[0] / "cloud.ply", only=(77,))
