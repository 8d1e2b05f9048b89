"""What phones export: depth that is trusted where its confidence says so, and a reason for what is left out."""

import sys

import imagecodecs
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lift3d.errors import ImageError, SceneFormatError
from lift3d.scenes.catalog import read_scene
from tests.support import captures
from tests.support.captures import CX, CY, FX, HEIGHT, WIDTH

SOURCE = captures.capture()
COUNT = len(SOURCE.c2w)


def reasons(scene):
    return {one.id: one.message for one in scene.dropped}


def test_depth_of_polycam_is_known_where_it_is_trusted_and_has_the_lens_before_correction(tmp_path):
    captures.write_polycam(tmp_path, SOURCE)
    scene = read_scene(str(tmp_path))
    assert scene.is_metric
    for index, view in enumerate(scene.views):
        source = view.source
        assert source.depth_intrinsics == pytest.approx((FX * 1.1 / 2, 66 * 1.1 / 2, CX / 2, CY / 2))
        z = view.load().z_depth
        # A quarter of the map is not trusted; with its longer lens it shows a part of the image.
        edge = CX + (WIDTH / 4 - CX) / 1.1
        assert torch.isnan(z[20, : int(edge) - 1]).all()
        assert z[20, int(edge) + 2 : 56].tolist() == pytest.approx([1.0 + 0.001 * index] * (54 - int(edge)))
    digest = scene.views[0].source.content_digest()
    captures.write_depth(tmp_path / f"keyframes/confidence/{scene.views[0].id}.png", 1, (WIDTH // 2, HEIGHT // 2))
    assert scene.views[0].source.content_digest() != digest
    assert torch.isfinite(scene.views[0].load().z_depth[20, 4:50]).all()


def test_polycam_without_correction_is_read_as_it_is_and_says_so(tmp_path):
    captures.write_polycam(tmp_path, SOURCE, is_corrected=False)
    keyframes = tmp_path / "keyframes"
    names = sorted(path.stem for path in (keyframes / "images").iterdir())
    (keyframes / f"cameras/{names[0]}.json").unlink()
    (keyframes / f"cameras/{names[1]}.json").write_text('{"fx": 1e999}')
    (keyframes / f"depth/{names[2]}.png").unlink()
    scene = read_scene(str(keyframes))
    assert "corrected neither" in scene.notes[0]
    assert [view.source.has_depth for view in scene.views] == [False, True]
    said = reasons(scene)
    assert f"'cameras/{names[0]}.json' is missing" in said[names[0]]
    assert "'fx' should be a finite number" in said[names[1]]


def test_record3d_needs_a_frame_and_a_lens_as_it_writes_them(tmp_path, monkeypatch):
    captures.write_record3d(tmp_path, SOURCE, perFrameIntrinsicCoeffs=[])
    scene = read_scene(str(tmp_path))
    np.testing.assert_allclose(scene.views[0].camera.K, np.diag([1.1, 1.1, 1.0]) @ captures.K, atol=1e-12)
    z = scene.views[1].load().z_depth
    assert torch.isnan(z[:, : WIDTH // 4 - 1]).all()
    assert z[:, WIDTH // 4 + 1 :].unique().tolist() == pytest.approx([1.001])
    for packed, said in ((b"bvx2", "does not unpack"), (imagecodecs.lzfse_encode(bytes(400)), "unpacks to 400 bytes")):
        (tmp_path / "rgbd/0.depth").write_bytes(packed)
        with pytest.raises(ImageError, match=said):
            scene.views[0].load()
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    (tmp_path / "depth").mkdir()
    scene = read_scene(str(tmp_path))
    assert not scene.views[1].source.has_depth
    assert ["lift3d[phone]" in scene.notes[0], "OpenEXR" in scene.notes[1]] == [True, True]
    (tmp_path / "outside.jpg").write_bytes((tmp_path / "rgbd/1.jpg").read_bytes())
    folder = tmp_path / "take"
    rows = [[*Rotation.from_matrix(c2w[:3, :3]).as_quat(), *c2w[:3, 3]] for c2w in map(np.array, SOURCE.c2w)]
    captures.write_record3d(folder, SOURCE, poses=[rows[0], rows[1], [9.0, *rows[2][1:]]])
    (folder / "rgbd/1.jpg").unlink()
    (folder / "rgbd/1.jpg").symlink_to(tmp_path / "outside.jpg")
    said = reasons(read_scene(str(folder)))
    assert "leads out" in said["1"]
    assert "quaternion of length 1" in said["2"]
    assert "no frame '3', but 0 to 2" in said["3"]
    captures.write_record3d(folder, SOURCE, perFrameIntrinsicCoeffs=None, K=captures.K.ravel().tolist())
    with pytest.raises(SceneFormatError, match="'K' should be written column by column"):
        read_scene(str(folder))
    (folder / "metadata").write_text("[]")
    with pytest.raises(SceneFormatError, match="list 'poses'"):
        read_scene(str(folder))


def test_arkitscenes_gives_images_between_poses_theirs_and_drops_those_without(tmp_path):
    folder = tmp_path / "41069021"
    captures.write_arkitscenes(folder / "41069021_frames", SOURCE)
    scene = read_scene(str(folder))
    depths = [float(view.load().z_depth.nanmean()) for view in scene.views]
    assert depths == pytest.approx([1.0, 1.001, 1.002, 1.003])
    assert scene.is_metric
    frames = folder / "41069021_frames"
    between = "41069021_6845.850"
    captures.write_images(frames / "lowres_wide", [between, "41069021_6850.000", "cover"])
    lens = next((frames / "lowres_wide_intrinsics").iterdir()).read_text()
    (frames / f"lowres_wide_intrinsics/{between}.pincam").write_text(lens)
    first, second = (view.camera.center for view in scene.views[:2])
    (frames / "lowres_wide_intrinsics/41069021_6846.101.pincam").write_text("64 48 70")
    scene = read_scene(str(folder))
    torch.testing.assert_close(scene.view(between).camera.center, (first + second) / 2, rtol=0, atol=1e-9)
    assert not scene.view(between).source.has_depth
    said = reasons(scene)
    assert set(said) == {"41069021_6846.100", "41069021_6850.000", "cover"}
    assert "should have one row: width, height" in said["41069021_6846.100"]
    assert "no pose within" in said["41069021_6850.000"]
    (frames / "lowres_wide.traj").write_text("0.1 1 2 3\n")
    with pytest.raises(SceneFormatError, match="7 finite numbers, got"):
        read_scene(str(folder))
