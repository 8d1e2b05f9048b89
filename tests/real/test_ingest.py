"""Photographs of a real capture, their cameras thrown away: found again, and lifted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.scenes.catalog import read_scene
from tests.support.warping import rotation_angle

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

COUNT = 20


def command(*arguments):
    ran = CliRunner().invoke(cli.app, [str(one) for one in arguments])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_cameras_of_a_capture_are_found_again_and_the_scene_is_lifted(test_data: Path, tmp_path: Path) -> None:
    capture = test_data / "captures/bear"
    # Every second one of those in a row: steps as somebody takes who walks around a thing.
    names = [f"frame_{number:05d}.jpg" for number in range(1, 2 * COUNT, 2)]
    (tmp_path / "photographs").mkdir()
    for name in names:
        shutil.copyfile(capture / "images" / name, tmp_path / "photographs" / name)
    said = json.loads(command("ingest", tmp_path / "photographs", tmp_path / "bear", "--json"))
    assert len(said["registered"]) >= 19
    assert said["mean_reprojection_error_px"] < 0.6

    true = {Path(view.source.image).name: view.camera for view in read_scene(str(capture)).views}  # type: ignore[attr-defined]
    views = read_scene(str(tmp_path / "bear")).views
    cameras = [true[Path(view.source.image).name] for view in views]  # type: ignore[attr-defined]
    found = np.stack([view.camera.center.numpy() for view in views])
    centers = np.stack([camera.center.numpy() for camera in cameras])
    similarity = pycolmap.estimate_sim3d(found, centers)
    aligned = (similarity.matrix() @ np.c_[found, np.ones(len(found))].T).T
    extent = np.linalg.norm(centers - centers.mean(0), axis=1).max()
    assert np.linalg.norm(aligned - centers, axis=1).max() < 0.03 * extent
    for view, camera in zip(views, cameras, strict=True):
        turn = view.camera.w2c[:3, :3] @ views[0].camera.w2c[:3, :3].T
        true_turn = camera.w2c[:3, :3] @ cameras[0].w2c[:3, :3].T
        # The capture's principal point is 17 pixels off the middle, where it is looked for: 1.8 degrees of each turn.
        assert np.degrees(rotation_angle(turn, true_turn)) < 5

    where = ("--store", tmp_path / "store", "--serial", "--image-height", 96, "--json")
    outcome = json.loads(command("run", tmp_path / "bear", "--operator", "rgb", "--lifter", "plane_sweep", *where))
    assert [scene["outcome"] for scene in outcome["scenes"]] == ["ok"]
    assert outcome["scenes"][0]["target_count"] == len(views)
