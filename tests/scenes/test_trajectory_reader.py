"""Images beside one file of poses: joined by timestamps or numbers, with a reason for the rest."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lift3d.errors import SceneFormatError
from lift3d.scenes.catalog import read_scene
from tests.support import captures

SOURCE = captures.capture()


def depths(scene):
    return [round(float(view.load().z_depth.nanmean()), 4) for view in scene.views if view.source.has_depth]


def test_depth_of_tum_is_joined_by_time_and_lacks_where_none_is_near(tmp_path):
    captures.write_tum(tmp_path, SOURCE)
    assert depths(read_scene(str(tmp_path))) == [1.0, 1.001, 1.002, 1.003]
    lines = (tmp_path / "depth.txt").read_text().splitlines()
    (tmp_path / "depth.txt").write_text("\n".join([*lines[:2], *lines[3:]]))
    scene = read_scene(str(tmp_path))
    assert [view.source.has_depth for view in scene.views] == [True, False, True, True]
    assert depths(scene) == [1.0, 1.002, 1.003]


def test_between_two_poses_that_are_near_in_time_lies_the_camera(tmp_path):
    captures.write_tum(tmp_path, SOURCE, start=100.0)
    step = np.eye(4)
    step[:3, :3], step[:3, 3] = Rotation.from_rotvec([0.0, 0.04, 0.0]).as_matrix(), (0.02, 0, 0)
    half = np.eye(4)
    half[:3, :3], half[:3, 3] = Rotation.from_rotvec([0.0, 0.02, 0.0]).as_matrix(), (0.01, 0, 0)
    both = [pose for c2w in SOURCE.c2w for pose in (c2w, c2w @ step)]
    times = [100 + 0.5 * index + late for index in range(len(SOURCE.c2w)) for late in (-0.015, 0.015)]
    captures.write_trajectory(tmp_path / "groundtruth.txt", times, both)
    for view, c2w in zip(read_scene(str(tmp_path)).views, SOURCE.c2w, strict=True):
        torch.testing.assert_close(view.camera.c2w, torch.from_numpy(c2w @ half), rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["CameraTrajectory.txt", "KeyFrameTrajectory.txt"])
def test_what_slam_writes_beside_numbered_images_gives_those_their_poses_that_it_kept(name, tmp_path):
    captures.write_images(tmp_path / "rgb", [*(f"{index:05d}" for index in range(4)), "cover"])
    captures.write_trajectory(tmp_path / name, [0, 2, 3], [SOURCE.c2w[at] for at in (0, 2, 3)])
    with pytest.raises(SceneFormatError, match=r"no intrinsics: expected 'camera-intrinsics\.txt'"):
        read_scene(str(tmp_path))
    np.savetxt(tmp_path / "camera-intrinsics.txt", captures.CENTRED)
    scene = read_scene(str(tmp_path))
    assert [view.id for view in scene.views] == ["00000", "00002", "00003"]
    assert [(one.id, one.reason) for one in scene.dropped] == [("cover", "camera"), ("00001", "camera")]
    assert "no pose within 0.02 s of 1.0" in scene.dropped[1].message
    np.testing.assert_allclose(scene.views[1].camera.c2w, SOURCE.c2w[2], atol=1e-12)


def test_a_part_of_replica_keeps_its_poses_by_the_numbers_of_the_frames(tmp_path):
    captures.write_replica(tmp_path / "office0", SOURCE)
    for path in (tmp_path / "office0/results").glob("*000001.*"):
        path.unlink()
    scene = read_scene(str(tmp_path / "office0"))
    assert depths(scene) == [1.0, 1.002, 1.003]
    np.testing.assert_allclose(scene.views[1].camera.c2w, SOURCE.c2w[2], atol=1e-12)
    assert any("4 poses for 3 images" in note for note in scene.notes)
    np.savetxt(tmp_path / "office0/traj.txt", np.array(SOURCE.c2w[:3]).reshape(-1, 16))
    (dropped,) = read_scene(str(tmp_path / "office0")).dropped
    assert (dropped.id, dropped.message) == ("frame000003", "'traj.txt' has 3 poses, none of frame 3.")


POSES, LENS = "groundtruth.txt", "cam_params.json"


def in_text(name, change):
    def spoil(folder):
        (folder / name).write_text(change((folder / name).read_text()))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            in_text(POSES, lambda text: text.replace("13050", "17050")),
            r"nearest is .* Are both of one clock",
        ),
        (in_text(POSES, lambda text: ""), "got no rows"),
        (in_text(POSES, lambda text: "\n1 2 3" * 9), "got 3"),
        (
            in_text(POSES, lambda text: "\n".join(["nan 0 0 0 0 0 0 1"] * 3)),
            "no pose with a finite timestamp",
        ),
        (in_text("rgb.txt", lambda text: "1305031102.175304"), "a time and a file in each row"),
        (in_text("rgb.txt", lambda text: "nan rgb/x.png"), "a time and a file in each row"),
        (in_text("rgb.txt", lambda text: "1305031102.175304 ../x.png"), "leads out of the scene's folder"),
        (in_text("rgb.txt", lambda text: "1305031102.175304 rgb/gone.png"), "is missing"),
        (lambda folder: (folder / "groundtruth.txt").write_bytes(b"\xff\xfe\x00"), "not readable as text"),
        (
            lambda folder: captures.write_json(folder / LENS, {"camera": {"w": 3}}),
            "should have a 'camera'",
        ),
        (
            lambda folder: captures.write_json(folder / LENS, dict(w=64, h=48, fx=70, fy=66, cx=30, cy=26, scale=0)),
            "'scale' should be positive",
        ),
    ],
)
def test_a_sequence_that_is_none_is_refused_in_words(spoil, message, tmp_path):
    captures.write_tum(tmp_path, SOURCE)
    spoil(tmp_path)
    with pytest.raises(SceneFormatError, match=message):
        read_scene(str(tmp_path))


@pytest.mark.parametrize(
    "row", ["nan nan nan 0 0 0 1", "1 2", "0 0 0 0 0 0 one", "0 0 0 0 0 0 0", "0 0 inf 0 0 0 1", "0 0 0 1 1 1 1"]
)
def test_a_pose_that_is_none_costs_its_view_alone(row, tmp_path):
    captures.write_tum(tmp_path, SOURCE)
    lines = (tmp_path / "groundtruth.txt").read_text().splitlines()
    lines[2] = f"{lines[2].split()[0]} {row}"
    (tmp_path / "groundtruth.txt").write_text("\n".join(lines))
    scene = read_scene(str(tmp_path))
    assert len(scene.views) == 3
    assert "a quaternion of length 1" in scene.dropped[0].message


def test_sequences_of_tum_without_a_lens_have_the_published_one(tmp_path: Path) -> None:
    captures.write_tum(tmp_path, SOURCE)
    (tmp_path / "camera-intrinsics.txt").unlink()
    scene = read_scene(str(tmp_path))
    # They are for 640×480; these images are a tenth of it.
    torch.testing.assert_close(scene.views[0].camera.K.diagonal(), torch.tensor([52.5, 52.5, 1.0]).double())
    torch.testing.assert_close(scene.views[0].camera.K[:2, 2].tolist(), [32.0, 24.0])
    assert any("TUM registers depth" in note for note in scene.notes)
