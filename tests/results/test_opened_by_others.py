"""Exports opened again by libraries that others wrote: trimesh, pycolmap and Open3D."""

import numpy as np
import pandas as pd
import pycolmap
import pytest
import torch
import trimesh

import lift3d
from lift3d.errors import CameraError
from lift3d.results.cloud import scene_cloud
from lift3d.results.exports.write import export_lifted


def test_gltf_is_the_mesh_upright_with_its_labels(room_run, tmp_path):
    one = room_run["tiny:segmenter"]
    said = export_lifted(one, tmp_path / "room.glb")
    export_lifted(one, tmp_path / "room.ply", "mesh")
    opened, flat = trimesh.load(tmp_path / "room.glb"), trimesh.load(tmp_path / "room.ply", process=False)
    (mesh,) = opened.geometry.values()
    place, _ = opened.graph["surface"]
    assert np.array_equal(mesh.faces, flat.faces)
    shown = trimesh.transform_points(mesh.vertices, place)
    # The room's z is up, and glTF's y; cameras that look down are not upright themselves.
    np.testing.assert_allclose(shown[:, 1], flat.vertices[:, 2], atol=0.03)
    turn = place[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose((shown @ turn), flat.vertices, atol=1e-4)
    labels = np.asarray(flat.metadata["_ply_raw"]["vertex"]["data"]["label"])
    np.testing.assert_array_equal(mesh.vertex_attributes["_LABEL"].ravel(), labels)
    np.testing.assert_array_equal(np.asarray(mesh.visual.vertex_colors), np.asarray(flat.visual.vertex_colors))
    assert "y is up" in said


def test_a_mesh_has_features_as_attributes(room_run, tmp_path):
    export_lifted(room_run["hog"], tmp_path / "room.glb")
    (mesh,) = trimesh.load(tmp_path / "room.glb").geometry.values()
    names = {f"_FEATURE_{number}" for number in range(8)}
    assert names <= set(mesh.vertex_attributes)
    assert all(len(mesh.vertex_attributes[name]) == len(mesh.vertices) for name in names)


def test_colmap_has_the_cameras_the_images_and_points_that_project_to_their_pixels(room_run, tmp_path):
    one = room_run["rgb"]
    export_lifted(one, tmp_path / "model", "colmap")
    model = pycolmap.Reconstruction(str(tmp_path / "model" / "sparse" / "0"))
    cloud = scene_cloud(one, 200_000)
    assert (model.num_images(), model.num_points3D()) == (6, len(cloud))
    points = [model.points3D[number] for number in sorted(model.points3D)]
    np.testing.assert_allclose(np.stack([point.xyz for point in points]), cloud.xyz.numpy(), atol=1e-12)
    images = {image.name: image for image in model.images.values()}
    for place, target in enumerate(one.targets):
        view, image = one.view(target), images[f"{target}.png"]
        np.testing.assert_allclose(image.cam_from_world().matrix(), view.camera.w2c[:3].numpy(), atol=1e-12)
        own = torch.nonzero(cloud.view == place)[:3, 0].tolist()
        for number in own:
            pixel = image.project_point(points[number].xyz)
            np.testing.assert_allclose(pixel, cloud.uv[number].numpy(), atol=1e-4)
    again = lift3d.read_scene(str(tmp_path / "model"))
    assert [view.id for view in again.views] == [*one.targets]
    np.testing.assert_allclose(again.views[2].load(48).image, one.view(one.targets[2]).prediction.values, atol=2 / 255)


def test_a_table_has_embeddings_at_full_width(room_run, tmp_path):
    one = room_run["hog"]
    export_lifted(one, tmp_path / "points.parquet")
    table, cloud = pd.read_parquet(tmp_path / "points.parquet"), scene_cloud(one, 200_000)
    np.testing.assert_array_equal(table[["x", "y", "z"]], cloud.xyz.numpy())
    channels = one.view(one.targets[0]).lifted[0].features.channel_count
    assert len(table.filter(like="feature_").columns) == channels > 8


def test_colmap_refuses_skew(room_run, tmp_path, monkeypatch):
    view = room_run["rgb"].view(room_run["rgb"].targets[0])
    K = view.camera.K.clone()
    K[0, 1] = 0.5
    camera = type(view.camera)(K, view.camera.w2c, view.camera.size)
    monkeypatch.setattr(type(room_run["rgb"]), "view", lambda self, target: type(view)(
        **{name: camera if name == "camera" else getattr(view, name) for name in view.__dataclass_fields__}
    ))  # fmt: skip
    with pytest.raises(CameraError, match=r"has skew 0\.5"):
        export_lifted(room_run["rgb"], tmp_path / "model", "colmap")
    assert not (tmp_path / "model").exists()


def test_open3d_reads_points_and_triangles(room_run, tmp_path):
    # Four hundred megabytes: pip install open3d.
    open3d = pytest.importorskip("open3d")
    one = room_run["tiny:segmenter"]
    export_lifted(one, tmp_path / "points.ply")
    cloud = open3d.io.read_point_cloud(str(tmp_path / "points.ply"))
    np.testing.assert_allclose(np.asarray(cloud.points), scene_cloud(one, 10**6).xyz.numpy(), atol=1e-5)
    assert cloud.has_normals()
    assert cloud.has_colors()
    export_lifted(one, tmp_path / "mesh.ply", "mesh")
    mesh = open3d.io.read_triangle_mesh(str(tmp_path / "mesh.ply"))
    assert len(mesh.triangles) == len(trimesh.load(tmp_path / "mesh.ply", process=False).faces)
    export_lifted(one, tmp_path / "mesh.glb")
    assert len(open3d.io.read_triangle_mesh(str(tmp_path / "mesh.glb")).triangles) == len(mesh.triangles)
    points = open3d.t.io.read_point_cloud(str(tmp_path / "points.ply"))
    assert "label" in {*points.point}
