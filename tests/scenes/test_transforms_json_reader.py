"""The dialects of transforms.json, and what becomes of frames that cannot be used."""

import math
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lift3d.domain.scene import Scene
from lift3d.errors import SceneFormatError
from lift3d.scenes.catalog import read_scene
from tests.support import captures

SOURCE = captures.capture()


def read(folder: Path, *changes: dict[str, Any], **shared: Any) -> Scene:
    return captures.read_transforms(folder, SOURCE, *changes, **shared)


def test_a_file_is_read_like_its_folder_and_test_frames_are_views_too(tmp_path: Path) -> None:
    read(tmp_path)
    content = captures.transforms(SOURCE)
    content["test_frames"] = [content["frames"].pop()]
    captures.write_json(tmp_path / "transforms.json", content)
    scene, again = read_scene(str(tmp_path)), read_scene(str(tmp_path / "transforms.json"))
    assert [view.id for view in again.views] == [view.id for view in scene.views] == SOURCE.names
    assert again.id == tmp_path.name


def test_blender_splits(tmp_path: Path) -> None:
    for split, poses in (("train", SOURCE.c2w[:2]), ("test", SOURCE.c2w[2:])):
        captures.write_images(tmp_path / split, ["r_0", "r_1", "r_0_depth_0001"])
        pair = captures.Capture(poses, SOURCE.points)
        content = captures.transforms(pair, [f"./{split}/r_0", f"./{split}/r_1"])
        given = {"camera_angle_x": 0.7, "frames": content["frames"]}
        captures.write_json(tmp_path / f"transforms_{split}.json", given)
    scene = read_scene(str(tmp_path))
    assert [view.id for view in scene.views] == ["train/r_0", "train/r_1", "test/r_0", "test/r_1"]
    focal = 0.5 * captures.WIDTH / math.tan(0.35)
    expected = [[focal, 0, captures.WIDTH / 2], [0, focal, captures.HEIGHT / 2], [0, 0, 1]]
    np.testing.assert_allclose(scene.views[3].camera.K, expected, atol=1e-4)


def test_images_smaller_than_declared_scale_the_intrinsics(tmp_path: Path) -> None:
    captures.write_images(tmp_path / "images", SOURCE.names, size=(32, 24))
    captures.write_json(tmp_path / "transforms.json", captures.transforms(SOURCE, k1=0.1))
    view = read_scene(str(tmp_path)).views[0]
    assert (view.camera.size.width, view.camera.size.height) == (32, 24)
    np.testing.assert_allclose(view.camera.K, np.diag([0.5, 0.5, 1]) @ captures.K)
    full = read(tmp_path / "full", k1=0.1).views[0].load(24)
    small = view.load()
    both = small.is_valid & full.is_valid
    assert both.float().mean() > 0.7
    # The same lens at both sizes; the textures were drawn at pixel corners, half a pixel apart.
    assert (small.image - full.image)[:, both].abs().mean() < 0.03


@pytest.mark.fault(25, "a frame whose image is missing, and an image that two frames name")
@pytest.mark.fault(24, "an infinite and a mirrored pose, and one with a scale of 1.01")
def test_missing_and_unusable_frames_are_dropped_with_a_reason(tmp_path: Path) -> None:
    def pose(index: int, *scales: float) -> dict[str, Any]:
        return {"transform_matrix": (np.array(captures.opengl(SOURCE.c2w[index])) @ np.diag([*scales, 1])).tolist()}

    infinite = {"transform_matrix": [[math.inf] * 4] * 4}
    scenes = [
        read(tmp_path, {"file_path": "images/gone.png"}, infinite, pose(2, 1, 1, -1)),
        read(tmp_path, {"is_bad": True}, pose(1, 1.01, 1.01, 1.01), {"file_path": "images/003.png"}),
    ]
    assert [{view.id: view.reason for view in scene.dropped} for scene in scenes] == [
        {"gone": "image", "001": "camera", "002": "camera"},
        {"000": "flagged", "001": "camera", "003": "duplicate"},
    ]
    for scene in scenes:
        assert [view.id for view in scene.views] == ["003"]
        assert all(view.message for view in scene.dropped)


def test_rounded_rotations_are_repaired_and_noted(tmp_path: Path) -> None:
    rounded = np.array(captures.opengl(SOURCE.c2w[0])).round(4)
    scene = read(tmp_path, {"transform_matrix": rounded.tolist()})
    assert len(scene.views) == len(SOURCE.c2w)
    assert "Rotations of 1 views were projected to SO(3), such as that of '000'." in scene.notes
    np.testing.assert_allclose(scene.views[0].camera.c2w, SOURCE.c2w[0], atol=2e-4)


@pytest.mark.fault(28, "a file named in NFD with an emoji and spaces, asked for in NFC")
def test_names_in_the_other_unicode_form_and_with_backslashes(tmp_path: Path) -> None:
    name = "Küche 1 ☕"
    captures.write_images(tmp_path / "images", [unicodedata.normalize("NFD", name)])
    scene = read(
        tmp_path, {"file_path": f"images/{unicodedata.normalize('NFC', name)}.png"}, {"file_path": "images\\001.png"}
    )
    assert [view.id for view in scene.views] == ["001", "002", "003", unicodedata.normalize("NFC", name)]
    assert scene.views[-1].load(24).image.shape == (3, 24, 32)


def test_equal_stems_keep_what_tells_them_apart(tmp_path: Path) -> None:
    captures.write_images(tmp_path / "images", ["left/1", "right/1", "right/2"])
    captures.write_images(tmp_path / "images", ["right/2"], ".jpg")
    names = ["images/left/1.png", "images/right/1.png", "images/right/2.png", "images/right/2.jpg"]
    captures.write_json(tmp_path / "transforms.json", captures.transforms(SOURCE, names))
    scene = read_scene(str(tmp_path))
    assert [view.id for view in scene.views] == ["left/1", "right/1", "right/2.jpg", "right/2.png"]


def test_depth_labels_and_masks_are_joined_by_name(tmp_path: Path) -> None:
    captures.write_depth(tmp_path / "depth/a.png", 3000)
    captures.write_depth(tmp_path / "labels/a.png", 5)
    Image.new("L", (captures.WIDTH, captures.HEIGHT), 0).save(tmp_path / "mask.png")
    maps = {"depth_file_path": "depth/a.png", "label_file_path": "labels/a.png"}
    scene = read(
        tmp_path,
        maps,
        {"depth_file_path": "depth/gone.png"},
        {"mask_path": "mask.png"},
        {"mask_path": "gone.png"},
        label_names={"5": "table"},
        depth_unit_scale_factor=0.002,
    )
    frame = scene.views[0].load()
    assert (frame.z_depth == 6).all()
    assert (frame.labels == 5).all()
    assert scene.label_names == {5: "table"}
    assert not scene.views[1].source.has_depth
    assert any("depth_file_path" in note for note in scene.notes)
    assert not scene.has_depth
    assert not scene.views[2].load().is_valid.any()
    # Without its mask nobody knows which pixels may vote.
    assert [(view.id, view.reason) for view in scene.dropped] == [("003", "image")]
    # In millimetres unless the file says so.
    frame = read(tmp_path, maps).views[0].load()
    torch.testing.assert_close(frame.z_depth, torch.full_like(frame.z_depth, 3.0))


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_sparse_points(form: str, tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    points = SOURCE.points.astype(np.float32)
    points[3] = np.nan
    captures.write_ply(tmp_path / "p.ply", points, form)
    scene = read(tmp_path, ply_file_path="p.ply")
    np.testing.assert_array_equal(scene.points, np.delete(points, 3, axis=0).astype(np.float64))


def test_applied_transform_is_kept(tmp_path: Path) -> None:
    applied = [[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0.5]]
    scene = read(tmp_path, applied_transform=applied, applied_scale=2.0)
    moved = scene.canonical_from_source @ torch.tensor([1.0, 2, 3, 1], dtype=torch.float64)
    assert moved.tolist() == [4.0, 2.0, -5.0, 1.0]
    np.testing.assert_allclose(scene.views[1].camera.c2w, SOURCE.c2w[1], atol=1e-9)


@pytest.mark.parametrize(
    ("shared", "model"),
    [
        ({"k1": 0.1}, "OPENCV"),
        ({"camera_model": "OPENCV", "k3": 0.1}, "FULL_OPENCV"),
        ({"is_fisheye": True}, "OPENCV_FISHEYE"),
        ({"camera_model": "OPENCV_FISHEYE", "k4": 0.01}, "OPENCV_FISHEYE"),
        ({"camera_model": "PINHOLE"}, None),
        ({"camera_model": "OPENCV", "k1": 0, "p2": 0.0}, None),
    ],
)
def test_lens_models(shared: dict[str, Any], model: str | None, tmp_path: Path) -> None:
    distortion = read(tmp_path, **shared).views[0].source.distortion
    assert (distortion and distortion.model) == model


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        ({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR"),
        ({"k4": 0.1}, "k4"),
        ({"is_fisheye": True, "p1": 0.1}, "p1"),
        ({"fl_x": None, "fl_y": None}, "focal length"),
        ({"fl_x": "wide"}, "fl_x"),
        ({"w": 10.5}, "whole numbers"),
        ({"w": 64, "h": 64}, "its camera"),
        ({"frames": []}, "no usable view"),
        ({"frames": [{"transform_matrix": []}]}, "file_path"),
        ({"label_names": ["floor"]}, "label_names"),
        ({"depth_unit_scale_factor": math.nan}, "depth_unit_scale_factor"),
        ({"applied_transform": [[1]]}, "applied_transform"),
    ],
)
def test_what_is_wrong_is_said(shared: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SceneFormatError, match=message):
        read(tmp_path, **shared)


@pytest.mark.fault(27, "JSON nested 100,000 deep")
@pytest.mark.parametrize("text", ["", "[1, 2", "[]", "{}", '{"frames": 3}', "[" * 100_000])
def test_unreadable_json_is_a_format_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(SceneFormatError, match=r"transforms\.json"):
        read_scene(str(tmp_path))
