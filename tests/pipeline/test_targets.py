import json

import pytest
import torch

from lift3d.errors import ConfigError, SceneError
from lift3d.pipeline.targets import choose_targets, interpolated_path, read_cameras
from tests.support.runs import small_recipe
from tests.support.scenes import textured_plane_scene


@pytest.fixture(scope="module")
def views():
    return textured_plane_scene(view_count=17).views


def test_held_out_views_are_never_a_source(views):
    targets = choose_targets(views, small_recipe(holdout=8))
    held_out = {target.id for target in targets}
    assert [target.id for target in targets] == [views[index].id for index in (0, 8, 16)]
    assert all(not held_out & set(target.source_ids) for target in targets)
    assert all(len(target.source_ids) == 14 for target in targets)


def test_leave_one_out_makes_every_view_a_target_and_never_its_own_source(views):
    targets = choose_targets(views, small_recipe())
    assert len(targets) == 17
    assert all(target.id not in target.source_ids and len(target.source_ids) == 16 for target in targets)


def test_refining_has_the_own_view_among_its_sources(views):
    targets = choose_targets(views, small_recipe(target_mode="refine", holdout=8))
    assert len(targets) == 3
    assert all(target.id in target.source_ids and len(target.source_ids) == 17 for target in targets)


def test_one_view_is_too_few(views):
    with pytest.raises(SceneError, match="at least 2"):
        choose_targets(views[:1], small_recipe())


def test_a_path_passes_through_the_cameras(views):
    cameras = [view.camera for view in views[:3]]
    path = interpolated_path(cameras, 5)
    for camera, found in zip(cameras, path[::2], strict=True):
        torch.testing.assert_close(found.w2c, camera.w2c, rtol=0, atol=1e-9)
    middle = (cameras[0].center + cameras[1].center) / 2
    torch.testing.assert_close(path[1].center, middle, rtol=0, atol=1e-9)


def test_cameras_are_read_back(views, tmp_path):
    camera = views[0].camera
    entry = {
        "K": camera.K.tolist(),
        "w2c": camera.w2c.tolist(),
        "height": camera.size.height,
        "width": camera.size.width,
    }
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps([entry]))
    found = read_cameras(path)[0]
    assert torch.equal(found.K, camera.K)
    assert found.size == camera.size
    targets = choose_targets(views, small_recipe(targets=str(path)))
    assert [target.view for target in targets] == [None]


MIRRORED = [[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
CAMERA = {"K": [[9, 0, 4], [0, 9, 4], [0, 0, 1]], "w2c": MIRRORED, "height": 8, "width": 8}
MALFORMED = ([CAMERA], [{**CAMERA, "w2c": torch.eye(4).tolist(), "height": 7.5}])


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "[{}]", "[3]", '[{"K": 3, "w2c": 4, "height": 2, "width": 2}]', *map(json.dumps, MALFORMED)],
)
def test_a_malformed_camera_file_is_refused(tmp_path, content):
    path = tmp_path / "cameras.json"
    path.write_text(content)
    with pytest.raises(ConfigError):
        read_cameras(path)


@pytest.mark.parametrize("targets", ["path:", "path:1", "path:x", "path:²", "/nowhere.json"])
def test_a_wrong_target_list_is_refused(views, targets):
    with pytest.raises(ConfigError):
        choose_targets(views, small_recipe(targets=targets))
