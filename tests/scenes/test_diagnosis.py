"""A capture that was spoiled in one way is told which, and one that was not raises no alarm."""

import shutil
from dataclasses import dataclass, replace

import pytest

from lift3d.domain.scene import Frame, View
from lift3d.ingest.diagnosis.diagnose import diagnose
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.tracks import TRACKED_HEIGHT
from tests.support.spoiled import SPOILED, masked, rescaled_depth, rolled


@dataclass(frozen=True, eq=False)
class _Held:
    """Computed once for all tests."""

    frame: Frame
    has_depth: bool
    has_labels: bool = False

    def load(self, camera, size):
        assert size.height <= self.frame.camera.size.height
        return self.frame

    def content_digest(self):
        return ""


def held(location, views=None):
    scene = read_scene(str(location))
    frames = [one.load(min(TRACKED_HEIGHT, one.camera.size.height)) for one in scene.views[:views]]
    loaded = [
        View(view.id, one.camera, _Held(one, one.z_depth is not None))
        for view, one in zip(scene.views, frames, strict=False)
    ]
    return replace(scene, views=tuple(loaded))


@pytest.fixture(scope="module")
def scene():
    return held("procedural:objects?seed=3&views=16")


def kinds(scene):
    return [one.kind for one in diagnose(scene)]


@pytest.mark.parametrize("how", SPOILED)
def test_what_was_spoiled_is_named_and_nothing_else(scene, how):
    spoil, kind = SPOILED[how]
    if how == "mixed sizes":
        scene = read_scene("procedural:objects?seed=3&views=8")
    assert kinds(spoil(scene)) == [kind]


def test_every_fifth_view_is_named_where_those_are_blurred(scene):
    (found,) = diagnose(SPOILED["blur"][0](scene))
    assert found.views == ("0002", "0007", "0012")
    assert str(found).startswith("blur: edges of 3 of 16 views are 1.")


def test_depth_in_other_units_is_told_by_how_much(scene):
    (found,) = diagnose(rescaled_depth(scene, 0.001))
    assert found.kind == "depth"
    assert "scale the depth by 100" in found.remedy or "scale the depth by 99" in found.remedy


def test_rows_that_were_read_while_the_camera_moved_are_told_over_how_long_and_which_way():
    (found,) = diagnose(rolled(read_scene("procedural:objects?seed=3&views=6&spacing=4"), -0.5))
    assert found.kind == "rolling shutter"
    share = float(found.said.split("last to first over ")[1].split()[0])
    assert share == pytest.approx(0.5, abs=0.05)


def test_a_clean_capture_raises_no_alarm(scene):
    assert kinds(scene) == kinds(masked(scene, inverted=False)) == []


@pytest.mark.real
def test_real_photographs_whose_files_are_gone(test_data, tmp_path):
    bear = test_data / "captures/bear"
    shutil.copy(bear / "transforms.json", tmp_path)
    names = sorted((bear / "images").iterdir())
    (tmp_path / "images").mkdir()
    for name in names[: len(names) // 2]:
        shutil.copy(name, tmp_path / "images")
    half = read_scene(str(tmp_path))
    (found,) = diagnose(replace(half, views=half.views[::2]))
    assert found.kind == "missing views"
    assert len(found.views) == len(names) // 2


@pytest.mark.real
def test_real_photographs_that_were_spoiled(test_data):
    bear = held(test_data / "captures/bear", views=12)
    assert kinds(bear) == []
    for how in ("poses off by 3 px", "wrong focal length", "blur"):
        assert kinds(SPOILED[how][0](bear)) == [SPOILED[how][1]]
