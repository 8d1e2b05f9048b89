"""RGB-D sequences, LLFF and IDR: joins by stem, half pixels, bad poses, bounds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lift3d.scenes.catalog import read_scene
from tests.support import captures

SOURCE = captures.capture()


def depth_of(folder: Path) -> dict[str, float]:
    """The constant depth of each view, where it has one."""
    found = {}
    for view in read_scene(str(folder)).views:
        z_depth = view.load().z_depth
        if z_depth is not None:
            found[view.id] = round(float(z_depth.nanmean()), 3)
    return found


@pytest.mark.fault(25, "a depth map of a sequence is missing")
def test_a_missing_depth_shifts_nothing(tmp_path: Path) -> None:
    captures.write_scannet(tmp_path, SOURCE)
    assert depth_of(tmp_path) == {"0": 1.0, "1": 1.001, "2": 1.002, "3": 1.003}
    (tmp_path / "depth/1.png").unlink()
    assert depth_of(tmp_path) == {"0": 1.0, "2": 1.002, "3": 1.003}


@pytest.mark.fault(24, "a pose of -inf, as ScanNet has them")
def test_lost_poses_drop_their_frames(tmp_path: Path) -> None:
    captures.write_scannet(tmp_path, captures.capture(11))
    np.savetxt(tmp_path / "pose/1.txt", np.full((4, 4), -np.inf))
    (tmp_path / "pose/2.txt").unlink()
    scene = read_scene(str(tmp_path))
    # In the order of their numbers.
    assert [view.id for view in scene.views] == ["0", *(str(index) for index in range(3, 11))]
    assert [(view.id, view.reason) for view in scene.dropped] == [("1", "camera"), ("2", "camera")]


def test_scannet_depth_follows_its_own_intrinsics(tmp_path: Path) -> None:
    """The depth sensor sees twice the angle: only the middle half of its map lies in the image."""
    captures.write_scannet(tmp_path, SOURCE)
    wide = np.eye(4)
    wide[:3, :3] = np.diag([0.25, 0.25, 1]) @ captures.K
    wide[:2, 2] = (captures.WIDTH / 4 - 0.5, captures.HEIGHT / 4 - 0.5)
    np.savetxt(tmp_path / "intrinsic/intrinsic_depth.txt", wide)
    raw = np.full((24, 32), 9000, np.uint16)
    raw[5:20, 7:26] = 1000
    Image.fromarray(raw).save(tmp_path / "depth/0.png")
    z_depth = read_scene(str(tmp_path)).views[0].load().z_depth
    assert (z_depth == 1).all()


def test_scannet_labels_and_unannotated_pixels(tmp_path: Path) -> None:
    captures.write_scannet(tmp_path, SOURCE)
    for index in range(len(SOURCE.c2w)):
        captures.write_depth(tmp_path / f"label-filt/{index}.png", 0 if index == 2 else 40)
    scene = read_scene(str(tmp_path))
    frames = [view.load() for view in scene.views]
    assert [int(frame.labels.float().mean()) for frame in frames if frame.labels is not None] == [40, 40, -1, 40]


def test_seven_scenes_published_intrinsics_get_half_a_pixel(tmp_path: Path) -> None:
    captures.write_seven_scenes(tmp_path, SOURCE, with_intrinsics=False)
    scene = read_scene(str(tmp_path))
    # They are for 640×480; these images are a tenth of it.
    torch.testing.assert_close(scene.views[0].camera.K[:2, 2].tolist(), [32.05, 24.05])
    assert any("Half a pixel" in note for note in scene.notes)


def test_seven_scenes_saturated_depth_is_unknown_and_broken_depth_fails_its_view_alone(tmp_path: Path) -> None:
    captures.write_seven_scenes(tmp_path, SOURCE)
    captures.write_depth(tmp_path / "frame-000001.depth.png", 65535)
    (tmp_path / "frame-000000.depth.png").write_bytes(b"broken")
    z_depth = read_scene(str(tmp_path)).views[1].load().z_depth
    assert torch.isnan(z_depth).all()


def test_llff_bounds_are_the_depth_range(tmp_path: Path) -> None:
    captures.write_llff(tmp_path, SOURCE, near=1.5, far=9.0)
    scene = read_scene(str(tmp_path / "poses_bounds.npy"))
    assert scene.depth_range.near < 1.5 < 9 < scene.depth_range.far
    assert scene.depth_range.far < 12


def test_llff_smaller_copies_scale_the_focal_length(tmp_path: Path) -> None:
    captures.write_llff(tmp_path, SOURCE)
    full = read_scene(str(tmp_path)).views[0].camera
    captures.write_images(tmp_path / "images_4", SOURCE.names, size=(16, 12))
    (tmp_path / "images").rename(tmp_path / "originals")
    small = read_scene(str(tmp_path)).views[0].camera
    torch.testing.assert_close(small.K, torch.diag(torch.tensor([0.25, 0.25, 1])).double() @ full.K)


def test_idr_keeps_the_world_and_takes_the_sphere_for_depth(tmp_path: Path) -> None:
    captures.write_idr(tmp_path, SOURCE, radius=1.5)
    scene = read_scene(str(tmp_path))
    np.testing.assert_allclose(scene.views[1].camera.c2w, SOURCE.c2w[1], atol=1e-6)
    assert torch.equal(scene.canonical_from_source, torch.eye(4, dtype=torch.float64))
    # Cameras are 4 away from the centre of the sphere.
    assert 2 < scene.depth_range.near < 2.5
    assert 5.5 < scene.depth_range.far < 6
