"""Files whose numbers were once taken for something else without a word."""

from collections.abc import Callable
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
KIND = "4 numbers that are wrong without a word"
BENT = {"k1": 0.2, "k2": -0.05, "p1": 0.001}
PARAMS = [0.2, -0.05, 0, 0, 0.001, 0]


def transforms(folder: Path, *changes: dict[str, Any], **shared: Any) -> Scene:
    return captures.read_transforms(folder, SOURCE, *changes, **shared)


@pytest.mark.outside(kind=KIND, case="distortion_params of transforms.json", right="OPENCV k1=.2 k2=-.05 p1=.001")
@pytest.mark.parametrize(
    ("frame", "shared"),
    [
        ({"distortion_params": PARAMS}, {}),
        ({}, {"distortion_params": PARAMS}),
        ({"distortion_params": PARAMS}, {"k1": 0.7, "p2": 0.1}),
        ({"distortion_params": PARAMS, "k1": 0.7}, {"distortion_params": [0] * 6}),
    ],
    ids=["in the frame", "in the file", "over the file's k1", "over the frame's k1"],
)
def test_distortion_params(tmp_path, frame, shared):
    found = transforms(tmp_path, frame, **shared).views[0].source.distortion
    assert found == transforms(tmp_path / "plain", **BENT).views[0].source.distortion
    assert found.model == "OPENCV"


@pytest.mark.outside(kind=KIND, case="focal lengths of a frame", right="what a frame says comes before the file")
@pytest.mark.parametrize(
    ("frame", "shared", "right"),
    [
        ({"camera_angle_x": 0.5}, {}, (125.32, 125.32)),
        ({"x_fov": 28.6479}, {"camera_angle_x": 1.0}, (125.32, 125.32)),
        ({"fl_x": 90}, {}, (90, captures.FY)),
        ({"fl_x": 90, "fl_y": 80}, {"camera_angle_x": 0.5}, (90, 80)),
        ({}, {"fl_x": None, "fl_y": None, "camera_angle_y": 0.5}, (93.99, 93.99)),
    ],
)
def test_focal_lengths(tmp_path, frame, shared, right):
    K = transforms(tmp_path, frame, **shared).views[0].camera.K
    assert (float(K[0, 0]), float(K[1, 1])) == pytest.approx(right, abs=0.01)


@pytest.mark.outside(kind=KIND, case="depth maps under instant-ngp's key", right="depth read, or a note")
@pytest.mark.parametrize(
    ("shared", "depth"),
    [
        ({"integer_depth_scale": 1 / 5000, "enable_depth_loading": True}, 2.0),
        ({"integer_depth_scale": 0.01}, 100.0),
        ({"integer_depth_scale": 0.01, "enable_depth_loading": False}, None),
        ({}, None),
    ],
)
def test_depth_path(tmp_path, shared, depth):
    captures.write_depth(tmp_path / "d.png", 10_000)
    scene = transforms(tmp_path, *[{"depth_path": "d.png"}] * 4, **shared)
    z_depth = scene.views[0].load().z_depth
    assert (z_depth is None) == (depth is None)
    assert depth is None or torch.allclose(z_depth, torch.tensor(depth))
    assert any("depth_path" in note for note in scene.notes) == (depth is None)


@pytest.mark.outside(kind=KIND, case="keys that nobody knows", right="a note names every one of them")
def test_unknown_keys_are_noted(tmp_path):
    scene = transforms(tmp_path, {"roll_shutter": 1, "sharpness": 3}, {"lat\x1b": 2}, ev_offset=1, aabb_scale=16)
    notes = [note for note in scene.notes if note.startswith("Keys of")]
    assert [("'ev_offset'" in note, "'roll_shutter'" in note, "aabb_scale" in note) for note in notes] == [
        (True, False, False),
        (False, True, False),
    ]
    assert "\x1b" not in notes[1]
    assert "'lat" in notes[1]


def scaled_transforms(folder: Path, factor: float) -> None:
    K = factor * captures.K
    shared = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": None, "h": None}
    captures.write_transforms(folder, SOURCE, **shared)


def scaled_matrix(writer: Callable, name: str, pad: int) -> Callable[[Path, float], None]:
    def write(folder: Path, factor: float) -> None:
        writer(folder, SOURCE)
        matrix = np.eye(pad)
        matrix[:3, :3] = np.diag([factor, factor, 1]) @ captures.K
        np.savetxt(folder / name, matrix)

    return write


def scaled_idr(folder: Path, factor: float) -> None:
    captures.write_idr(folder, SOURCE)
    larger = np.diag([factor, factor, 1, 1])
    matrices = {name: larger @ one if "world" in name else one for name, one in np.load(folder / "cameras.npz").items()}
    np.savez(folder / "cameras.npz", **matrices)


UNSIZED: dict[str, Callable[[Path, float], None]] = {
    "transforms.json without w and h": scaled_transforms,
    "ScanNet": scaled_matrix(captures.write_scannet, "intrinsic/intrinsic_color.txt", 4),
    "ScanNet depth": scaled_matrix(captures.write_scannet, "intrinsic/intrinsic_depth.txt", 4),
    "3DMatch": scaled_matrix(captures.write_seven_scenes, "camera-intrinsics.txt", 3),
    "IDR": scaled_idr,
}


@pytest.mark.outside(
    kind=KIND, case="intrinsics of another image size", right="refused in every format that states no size"
)
@pytest.mark.parametrize("factor", [2.0, 4.0, 0.5])
@pytest.mark.parametrize("form", UNSIZED)
def test_intrinsics_of_another_size(tmp_path, form, factor):
    folder = tmp_path / "scene"
    folder.mkdir()
    # ScanNet's depth maps are half as large as its images here.
    UNSIZED[form](folder, 0.5 * factor if form == "ScanNet depth" else factor)
    with pytest.raises(SceneFormatError, match=r"principal point .* is not that of an image"):
        read_scene(str(folder))


@pytest.mark.outside(kind=KIND, case="a principal point outside its image", right="the view is dropped: camera")
@pytest.mark.parametrize("change", [{"cx": 65}, {"cy": -1}, {"cx": 0.5, "cy": 0.5}, {"cx": 1e300}])
def test_principal_points_outside(tmp_path, change):
    scene = transforms(tmp_path, change)
    assert [(view.id, view.reason) for view in scene.dropped] == [("000", "camera")]


@pytest.mark.outside(kind=KIND, case="frames in no order", right="sorted by name, numbers as numbers; others as before")
@pytest.mark.parametrize("order", [[3, 0, 2, 1], [2, 3, 1, 0]])
def test_frames_follow_their_names(tmp_path, order):
    names = ["f_1", "f_2", "f_10", "f_11"]
    captures.write_images(tmp_path / "images", names)
    content = captures.transforms(SOURCE, [f"images/{name}.png" for name in names])
    content["frames"] = [content["frames"][index] for index in order]
    captures.write_json(tmp_path / "transforms.json", content)
    scene = read_scene(str(tmp_path))
    assert [view.id for view in scene.views] == names
    np.testing.assert_allclose(scene.views[2].camera.c2w, SOURCE.c2w[2], atol=1e-9)


def write_palette_mask(path: Path, colours: list[int]) -> None:
    """Indices 0 on the left half and 1 on the right, in these greys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    index = np.zeros((captures.HEIGHT, captures.WIDTH), np.uint8)
    index[:, captures.WIDTH // 2 :] = 1
    mask = Image.fromarray(index, "P")
    mask.putpalette([grey for grey in colours for _ in range(3)])
    mask.save(path)


def mask_transforms(folder: Path, colours: list[int], suffix: str) -> None:
    write_palette_mask(folder / f"masks/m{suffix}", colours)
    transforms(folder, mask_path=f"masks/m{suffix}")


def mask_colmap(folder: Path, colours: list[int], suffix: str) -> None:
    captures.write_colmap_scene(folder, SOURCE)
    for name in SOURCE.names:
        write_palette_mask(folder / f"masks/{name}.png.png", colours)


def mask_idr(folder: Path, colours: list[int], suffix: str) -> None:
    captures.write_idr(folder, SOURCE)
    for name in SOURCE.names:
        (folder / f"mask/{name}.png").unlink()
        write_palette_mask(folder / f"mask/{name}{suffix}", colours)


@pytest.mark.outside(kind=KIND, case="masks with a palette", right="white keeps, black hides, in any order of palette")
@pytest.mark.parametrize("colours", [[255, 0], [0, 255]], ids=["white first", "black first"])
@pytest.mark.parametrize("suffix", [".png", ".gif"])
@pytest.mark.parametrize("write", [mask_transforms, mask_colmap, mask_idr])
def test_palette_masks(tmp_path, write, suffix, colours):
    write(tmp_path, colours, suffix)
    is_valid = read_scene(str(tmp_path)).views[0].load().is_valid
    half = captures.WIDTH // 2
    halves = [is_valid[:, :half].float().mean(), is_valid[:, half:].float().mean()]
    assert halves == [one == 255 for one in colours]
