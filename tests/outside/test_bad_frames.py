"""One bad frame of many, in every format: it is dropped with its reason, and nothing else is lost."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lift3d.domain.scene import Scene
from lift3d.scenes.catalog import read_scene
from tests.support import captures
from tests.support.runs import ran

SOURCE = captures.capture()
KIND = "7 one bad frame costs the scene, or is used"
JUNK = b"\x00\x05\x16\x07" + bytes(200)


def transforms(folder: Path, frame: dict[str, Any]) -> Scene:
    captures.write_images(folder / "images", SOURCE.names)
    content = captures.transforms(SOURCE)
    content["frames"][1].update(frame)
    content["frames"][1] = {key: value for key, value in content["frames"][1].items() if value is not ...}
    captures.write_json(folder / "transforms.json", content)
    return read_scene(str(folder))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a path of 6,000 letters": ({"file_path": "a/" * 3000 + "x.png"}, "scene-format"),
    "a name of half a surrogate": ({"file_path": "images/\udc80.png"}, "scene-format"),
    "a path that is a list": ({"file_path": [1] * 10_000}, "scene-format"),
    "an angle of 5e-324": ({"camera_angle_x": 5e-324}, "camera"),
    "an angle of pi": ({"camera_angle_x": math.pi}, "camera"),
    "a field of view of NaN": ({"x_fov": math.nan}, "camera"),
    "a width of 1e300": ({"w": 1e300}, "camera"),
    "a width of nothing": ({"w": 0}, "camera"),
    "a size of 10^30": ({"w": 10**30, "h": 10**30}, "camera"),
    "a focal length of 1e-300": ({"fl_x": 1e-300}, "camera"),
    "a focal length of 1e300": ({"fl_y": 1e300}, "camera"),
    "a focal length that is a word": ({"fl_x": "x" * 10_000}, "camera"),
    "a principal point of NaN": ({"cx": math.nan}, "camera"),
    "distortion of NaN": ({"k1": math.nan}, "camera"),
    "distortion of three numbers": ({"distortion_params": [0, 0, 0]}, "camera"),
    "a pose of NaN": ({"transform_matrix": [[math.nan] * 4] * 4}, "camera"),
    "a pose of zeros": ({"transform_matrix": [[0] * 4] * 4}, "camera"),
    "a pose of 10,000 numbers": ({"transform_matrix": [[0.5] * 100] * 100}, "camera"),
    "a pose that is nested": ({"transform_matrix": [[[[1]]]]}, "camera"),
    "a centre far away": (
        {"transform_matrix": [[1, 0, 0, 1e12], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "camera"
    ),
    "an unhashable lens": ({"camera_model": {"a": [1]}}, "camera"),
    "a mask that is a number": ({"mask_path": 5}, "scene-format"),
    "a depth map outside": ({"depth_file_path": "../x.png"}, "scene-format"),
}  # fmt: skip


@pytest.mark.outside(kind=KIND, case="frames of transforms.json that are none", right="one view dropped, short reason")
@pytest.mark.parametrize("what", BAD)
def test_bad_frames(tmp_path, what):
    frame, reason = BAD[what]
    scene = transforms(tmp_path, frame)
    # Without the folders that all names share, the bad one's, too.
    assert [view.id.rpartition("/")[2] for view in scene.views] == ["000", "002", "003"]
    assert [view.reason for view in scene.dropped] == [reason]
    assert len(scene.dropped[0].message) < 500


def hidden(path: Path) -> None:
    path.write_bytes(JUNK)


def with_hidden_llff(folder: Path) -> None:
    captures.write_llff(folder, SOURCE)
    hidden(folder / "images/._000.png")


def with_hidden_idr(folder: Path) -> None:
    captures.write_idr(folder, SOURCE)
    (folder / "image").rename(folder / "images")
    hidden(folder / "images/._000000.png")
    hidden(folder / "mask/._000.png")


def with_hidden_scannet(folder: Path) -> None:
    captures.write_scannet(folder, SOURCE)
    hidden(folder / "color/._0.jpg")
    hidden(folder / "depth/._0.png")


def with_hidden_seven_scenes(folder: Path) -> None:
    captures.write_seven_scenes(folder, SOURCE)
    hidden(folder / "._frame-000000.color.png")
    hidden(folder / "._frame-000000.pose.txt")


def with_hidden_colmap(folder: Path) -> None:
    captures.write_images(folder / "images", SOURCE.names)
    captures.write_colmap(folder / "sparse/0", SOURCE)
    (folder / "sparse/._0").mkdir()
    hidden(folder / "images/._000.png")


HIDDEN: list[Callable[[Path], None]] = [
    with_hidden_llff, with_hidden_idr, with_hidden_scannet, with_hidden_seven_scenes, with_hidden_colmap
]  # fmt: skip


@pytest.mark.outside(kind=KIND, case="files that begin with '._'", right="no images: as many views as without them")
@pytest.mark.parametrize("write", HIDDEN)
def test_hidden_files_are_no_images(tmp_path, write):
    write(tmp_path)
    scene = read_scene(str(tmp_path))
    assert (len(scene.views), scene.dropped) == (len(SOURCE.c2w), ())
    assert not any("further image" in note for note in scene.notes)


def poses(folder: Path, value: float) -> None:
    captures.write_llff(folder, SOURCE)
    rows = np.load(folder / "poses_bounds.npy")
    rows[1, :] = value
    np.save(folder / "poses_bounds.npy", rows)


def matrices(folder: Path, value: float) -> None:
    captures.write_idr(folder, SOURCE)
    found = dict(np.load(folder / "cameras.npz"))
    np.savez(folder / "cameras.npz", **{**found, "world_mat_1": np.full((4, 4), value)})


def scannet_pose(folder: Path, value: float) -> None:
    captures.write_scannet(folder, SOURCE)
    np.savetxt(folder / "pose/1.txt", np.full((4, 4), value))


def seven_scenes_pose(folder: Path, value: float) -> None:
    captures.write_seven_scenes(folder, SOURCE, with_intrinsics=False)
    np.savetxt(folder / "frame-000001.pose.txt", np.full((4, 4), value))


@pytest.mark.outside(kind=KIND, case="poses that are none", right="one view dropped: camera")
@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, 1e-300, 1e300])
@pytest.mark.parametrize("write", [poses, matrices, scannet_pose, seven_scenes_pose])
def test_bad_poses(tmp_path, write, value):
    write(tmp_path, value)
    scene = read_scene(str(tmp_path))
    assert len(scene.views) == len(SOURCE.c2w) - 1
    assert [view.reason for view in scene.dropped] == ["camera"]


@pytest.mark.outside(kind=KIND, case="text files of matrices that are none", right="one view dropped: camera")
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"1 2 3\n4 5", b"1 2 x 4\n" * 4, b"1 " * 2000, b"#\n"])
def test_bad_matrices(tmp_path, content):
    captures.write_scannet(tmp_path, SOURCE)
    (tmp_path / "pose/1.txt").write_bytes(content)
    assert [view.reason for view in read_scene(str(tmp_path)).dropped] == ["camera"]


@pytest.mark.outside(
    kind=KIND, case="names of files that are not UTF-8", right="the file is dropped or left out, and named"
)
@pytest.mark.parametrize(("write", "folder"), [(captures.write_idr, "image"), (captures.write_scannet, "color")])
def test_files_that_are_not_utf8(tmp_path, write, folder):
    write(tmp_path, SOURCE)
    first = sorted((tmp_path / folder).iterdir())[1]
    os.rename(first, os.fsencode(first.parent) + b"/000001\xff" + first.suffix.encode())
    scene = read_scene(str(tmp_path))
    assert len(scene.views) == len(SOURCE.c2w) - 1
    assert [view.reason for view in scene.dropped] == ["scene-format"]
    assert all(view.id.isprintable() for view in (*scene.views, *scene.dropped))


@pytest.mark.outside(kind=KIND, case="frames of transforms.json that are none", right="one view dropped, short reason")
def test_a_run_goes_on_without_the_bad_frame(tmp_path):
    transforms(tmp_path / "scene", BAD["a path of 6,000 letters"][0])
    record, _ = ran(
        tmp_path, scenes=[str(tmp_path / "scene")], operators=["rgb"], lifters=["plane_sweep"], image_height=24
    )
    assert (record.is_ok, record.view_count, len(record.dropped)) == (True, 3, 1)
