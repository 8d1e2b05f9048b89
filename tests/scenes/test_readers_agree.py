"""One capture written in every format reads as the same cameras, whatever the format's own conventions."""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lift3d.errors import SceneFormatError
from lift3d.geometry.projection import project
from lift3d.geometry.rigid import transform
from lift3d.scenes.catalog import read_scene
from tests.support import captures

SOURCE = captures.capture()
LLFF_K = np.array([[captures.FX, 0, captures.WIDTH / 2], [0, captures.FX, captures.HEIGHT / 2], [0, 0, 1.0]])


WRITERS: dict[str, Callable[[Path, captures.Capture], None]] = {
    "transforms": captures.write_transforms,
    "colmap_bin": captures.write_colmap_scene,
    "colmap_txt": partial(captures.write_colmap_scene, forms=["txt"]),
    "llff": captures.write_llff,
    "scannet": captures.write_scannet,
    "seven_scenes": captures.write_seven_scenes,
    "tum": captures.write_tum,
    "replica": captures.write_replica,
    "idr": captures.write_idr,
    "record3d": captures.write_record3d,
    "polycam": captures.write_polycam,
    "arkitscenes": captures.write_arkitscenes,
    "metashape": captures.write_metashape,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_reads_as_the_same_capture(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "tiny scene ü"
    folder.mkdir()
    WRITERS[name](folder, SOURCE)
    scene = read_scene(str(folder))
    assert scene.id == "tiny scene ü"
    depths = []
    for index, view in enumerate(scene.views):
        xyz = transform(view.camera.w2c, torch.from_numpy(SOURCE.points))
        depths.append(xyz[:, 2])
        uv, is_in_front = project(xyz, view.camera.K)
        assert is_in_front.all()
        np.testing.assert_allclose(uv, SOURCE.uv(index, LLFF_K if name == "llff" else captures.K), atol=1e-4)
        assert view.load().image.shape == (3, captures.HEIGHT, captures.WIDTH)
        assert view.load(24).image.shape == (3, 24, 32)
        source = pickle.loads(pickle.dumps(view.source))
        assert source == view.source
        assert source.content_digest() == view.source.content_digest()
    z = torch.stack(depths)
    assert len(z) == len(SOURCE.c2w)
    # Depth maps of sequences are constants, not the points' depth.
    is_sequence = name in ("scannet", "seven_scenes", "tum", "replica", "polycam", "record3d", "arkitscenes")
    assert is_sequence or scene.depth_range.near < z.min() < z.max() < scene.depth_range.far


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_array(content: object) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "poses_bounds.npy", np.array(content), allow_pickle=True)


def with_pickled_cameras(folder: Path) -> None:
    np.savez(folder / "cameras.npz", world_mat_0=np.array([{"a": 1}], dtype=object))


def with_one_pose(folder: Path) -> None:
    captures.write_transforms(folder, captures.Capture((SOURCE.c2w[0],) * 3, SOURCE.points))


@pytest.mark.parametrize(
    ("writer", "damage", "said"),
    [
        ("transforms", with_one_pose, "same pose"),
        ("colmap_bin", lambda folder: (folder / "images").rename(folder / "photos"), "no folder 'images'"),
        (
            "colmap_bin",
            lambda folder: captures.write_colmap(
                folder / "sparse/0", SOURCE, model="EQUIRECTANGULAR", params=(64.0, 48.0)
            ),
            "EQUIRECTANGULAR",
        ),
        ("scannet", without("intrinsic/intrinsic_color.txt"), "intrinsic_color"),
        # These join images with cameras by position.
        ("llff", lambda folder: captures.write_images(folder / "images", ["zzz"]), "5 images"),
        ("idr", lambda folder: captures.write_images(folder / "image", ["zzz"]), "5 images"),
        ("llff", with_array(np.zeros((3, 16))), "poses_bounds"),
        ("llff", with_array(np.zeros(17)), "poses_bounds"),
        ("llff", with_array([{"a": 1}]), "poses_bounds"),
        ("idr", with_pickled_cameras, r"cameras\.npz"),
        ("idr", lambda folder: (folder / "cameras.npz").write_bytes(b"PK\x03\x04 cut"), r"cameras\.npz"),
    ],
)
def test_a_capture_that_is_no_scene_is_refused(writer: str, damage: Callable, said: str, tmp_path: Path) -> None:
    WRITERS[writer](tmp_path, SOURCE)
    damage(tmp_path)
    with pytest.raises(SceneFormatError, match=said):
        read_scene(str(tmp_path))
