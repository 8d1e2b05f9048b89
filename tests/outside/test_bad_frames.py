"""One bad frame of many, in every format: it is dropped with its reason, and nothing else is lost."""

import io
import math
import os
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lift3d.cli.run import exit_code, scene_line
from lift3d.runs.driver import failed_record
from lift3d.scenes.catalog import read_scene
from tests.support import captures
from tests.support.runs import ran

SOURCE = captures.capture()
SMALL = {"operators": ["rgb"], "lifters": ["plane_sweep"], "image_height": 24}
KIND = "7 one bad frame costs the scene, or is used"


BAD: dict[str, tuple[dict[str, Any], str]] = {
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
    "a pose that is nothing": ({"transform_matrix": None}, "camera"),
    "a pose of unequal rows": ({"transform_matrix": [[1.0, 2.0], [3.0]]}, "camera"),
    "a pose with a scale in its last row": ({"transform_matrix": np.diag([1.0, 1, 1, 2]).tolist()}, "camera"),
    "a pose that is nested": ({"transform_matrix": [[[[1]]]]}, "camera"),
    "a centre far away": (
        {"transform_matrix": [[1, 0, 0, 1e12], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "camera"
    ),
    "an unhashable lens": ({"camera_model": {"a": [1]}}, "camera"),
    "a mask that is a number": ({"mask_path": 5}, "scene-format"),
    "a depth map outside": ({"depth_file_path": "../x.png"}, "scene-format"),
}  # fmt: skip


# Too long, control characters, halves of surrogate pairs, URLs, and what leads out.
NAMES = [
    *("a/" * 3000 + "x.png", "é" * 300 + ".png", "images/\udc80.png", "\ud800.png", "images/\0.png", "\x1b[2J.png"),
    *("a\nb.png", ".", "../../etc/passwd", "//h/a", "C:\\a.png", "file:///etc/passwd", "s3://b/a.png"),
    *("http://169.254.169.254/a.png", "zip://a.png::file:///x.zip"),
]


@pytest.mark.outside(kind=KIND, case="frames of transforms.json that are none", right="one view dropped, short reason")
@pytest.mark.fault(
    28, "names of 300 characters, of control characters, of half a surrogate pair, URLs and what leads out"
)
@pytest.mark.parametrize(
    ("change", "reason"),
    [*BAD.values(), *(({"file_path": name}, "scene-format") for name in NAMES)],
    ids=[*BAD, *(ascii(name[:30]) for name in NAMES)],
)
def test_bad_frames(tmp_path, change, reason):
    scene = captures.read_transforms(tmp_path, SOURCE, {}, change)
    # Without the folders that all names share, the bad one's, too.
    assert [view.id.rpartition("/")[2] for view in scene.views] == ["000", "002", "003"]
    assert [view.reason for view in scene.dropped] == [reason]
    assert len(scene.dropped[0].message) < 500
    record = failed_record(str(tmp_path), "scene", "as an example", scene.dropped)
    assert record.to_bytes()
    assert scene_line(record).encode()
    assert all(unicodedata.category(letter) != "Cc" for letter in scene_line(record))


HIDDEN: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "LLFF": (partial(captures.write_llff, source=SOURCE), ["images/._000.png"]),
    "IDR": (partial(captures.write_idr, source=SOURCE), ["image/._000000.png", "mask/._000.png"]),
    "ScanNet": (partial(captures.write_scannet, source=SOURCE), ["color/._0.jpg", "depth/._0.png"]),
    "7-Scenes": (
        partial(captures.write_seven_scenes, source=SOURCE),
        ["._frame-000000.color.png", "._frame-000000.pose.txt"],
    ),
    "COLMAP": (partial(captures.write_colmap_scene, source=SOURCE), ["images/._000.png", "sparse/._0/x.bin"]),
}


@pytest.mark.outside(kind=KIND, case="files that begin with '._'", right="no images: as many views as without them")
@pytest.mark.parametrize("form", HIDDEN)
def test_hidden_files_are_no_images(tmp_path, form):
    write, hidden = HIDDEN[form]
    write(tmp_path)
    for name in hidden:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07" + bytes(200))
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


@pytest.mark.fault(24, "some frames: a pose at 1e300 or 10**400, no name, a name outside")
@pytest.mark.fault(26, "an empty file, and a JPEG under another name that is cut in the middle of its pixels, in a run")
def test_bad_views_are_dropped_with_a_reason_and_the_others_go_on(tmp_path):
    far = np.eye(4).tolist()
    far[0][3] = 10**400
    changes = [{}, {"transform_matrix": np.full((4, 4), 1e300).tolist()}, {"transform_matrix": far}]
    changes += [{"file_path": None}, {"file_path": "../../etc/passwd"}]
    captures.write_transforms(tmp_path / "scene", captures.capture(8), *changes)
    (tmp_path / "scene/images/005.png").write_bytes(b"")
    whole = io.BytesIO()
    Image.fromarray(captures.texture()).save(whole, "JPEG", quality=95)
    (tmp_path / "scene/images/006.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    record, _ = ran(tmp_path, scenes=[str(tmp_path / "scene")], **SMALL)
    assert (record.outcome, record.view_count) == ("ok", 2)
    assert Counter(view.reason for view in record.dropped) == {"camera": 2, "scene-format": 2, "image": 2}
    assert "6 views dropped, such as" in scene_line(record)


def test_a_scene_that_fails_keeps_a_row_for_each_view_that_made_it_fail(tmp_path):
    captures.write_transforms(tmp_path / "scene", SOURCE, *[{"mask_path": "black.png"}] * 4)
    Image.fromarray(np.zeros((captures.HEIGHT, captures.WIDTH), np.uint8)).save(tmp_path / "scene/black.png")
    record, rows = ran(tmp_path, scenes=[str(tmp_path / "scene")], **SMALL)
    assert record.outcome == "failed"
    assert "no valid pixel" in scene_line(record)
    assert (rows["metric"] == "usable_view").sum() == 4
    assert (rows["metric"] == "usable_scene").sum() == 1


@pytest.mark.fault(29, "all frames are unusable, or there are none")
@pytest.mark.parametrize("shared", [{"w": 10**400}, {"fl_x": 1e300}, {"fl_x": -5.0}, {"frames": []}])
def test_a_scene_without_a_usable_view_says_why(tmp_path, shared):
    captures.write_transforms(tmp_path / "scene", SOURCE, **shared)
    record, _ = ran(tmp_path, scenes=[str(tmp_path / "scene")], **SMALL)
    assert record.outcome == "failed"
    assert "no usable view." in record.reason
    assert len(record.reason) < 400


def test_a_scene_that_no_lifter_could_run_on_is_not_lifted(tmp_path):
    captures.write_transforms(tmp_path / "scene", SOURCE)
    record, _ = ran(tmp_path, **{**SMALL, "scenes": [str(tmp_path / "scene")], "operators": ["tiny:depth"]})
    assert record.is_ok
    assert exit_code([record]) == 1
    assert "not-aligned" in scene_line(record)
