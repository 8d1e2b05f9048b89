import json
import tracemalloc
from dataclasses import replace

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.errors import ConfigError
from lift3d.pipeline.targets import choose_targets, interpolated_path, read_cameras
from tests.support.captures import write_json
from tests.support.runs import small_recipe
from tests.support.scenes import textured_plane_scene

MIRRORED = torch.diag(torch.tensor([-1.0, 1, 1, 1])).tolist()
CAMERA = {"K": [[9, 0, 4], [0, 9, 4], [0, 0, 1]], "w2c": MIRRORED, "height": 8, "width": 9}
MALFORMED = ([CAMERA], [{**CAMERA, "w2c": torch.eye(4).tolist(), "height": 7.5}])


@pytest.fixture(scope="module")
def views():
    return textured_plane_scene(view_count=17).views


@pytest.mark.parametrize(
    ("fields", "step", "barred"),
    [
        # No held-out view is a source of any; left out alone, none is its own; refined, every one is.
        ({"holdout": 8}, 8, lambda own, held_out: held_out),
        ({}, 1, lambda own, held_out: {own}),
        ({"target_mode": "refine", "holdout": 8}, 8, lambda own, held_out: set()),
    ],
)
def test_every_mode_has_its_targets_and_bars_its_own_sources(views, fields, step, barred):
    names, held_out = [view.id for view in views], [view.id for view in views[::step]]
    targets = choose_targets(views, small_recipe(**fields))
    assert [target.id for target in targets] == held_out
    for target in targets:
        wanted = tuple(name for name in names if name not in barred(target.id, set(held_out)))
        assert (*target.source_ids,) == wanted
        assert (target.source_ids[-1], target.source_ids[1:3], len(target.source_ids)) == (
            *(wanted[-1], wanted[1:3], len(wanted)),
        )
        assert target.source_ids == wanted
        assert hash(target.source_ids) == hash(wanted)


@pytest.mark.parametrize("fields", [{}, {"target_mode": "refine"}, {"holdout": 2}])
def test_targets_of_a_long_scene_have_no_lists_of_their_own(views, fields):
    many = [replace(views[0], id=f"{number:04d}") for number in range(2000)]
    tracemalloc.start()
    targets = choose_targets(many, small_recipe(**fields))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A list of 2,000 names for each of 2,000 targets takes 32 MB.
    assert peak < 8e6
    assert sum(len(target.source_ids) for target in targets) >= 10**6


def test_a_path_passes_through_the_cameras(views):
    cameras = [view.camera for view in views[:3]]
    path = interpolated_path(cameras, 5)
    for camera, found in zip(cameras, path[::2], strict=True):
        torch.testing.assert_close(found.w2c, camera.w2c, rtol=0, atol=1e-9)
    middle = (cameras[0].center + cameras[1].center) / 2
    torch.testing.assert_close(path[1].center, middle, rtol=0, atol=1e-9)


def test_cameras_are_read_back(views, tmp_path):
    camera = views[0].camera
    path = write_json(tmp_path / "cameras.json", [{**CAMERA, "K": camera.K.tolist(), "w2c": camera.w2c.tolist()}])
    found = read_cameras(path)[0]
    assert torch.equal(found.K, camera.K)
    assert found.size == ImageSize(8, 9)
    targets = choose_targets(views, small_recipe(targets=str(path)))
    assert [target.view for target in targets] == [None]


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "[{}]", "[3]", '[{"K": 3, "w2c": 4, "height": 2, "width": 2}]', *map(json.dumps, MALFORMED)],
)
def test_a_malformed_camera_file_is_refused(tmp_path, content):
    path = tmp_path / "cameras.json"
    path.write_text(content)
    with pytest.raises(ConfigError):
        read_cameras(path)


@pytest.mark.parametrize("targets", ["path:", "path:1", "path:x", "path:²", "path:99999999999", "/nowhere.json"])
def test_a_wrong_target_list_is_refused(views, targets):
    with pytest.raises(ConfigError):
        choose_targets(views, small_recipe(targets=targets))
