"""Real captures: what is kept and dropped, and that depth, points and cameras agree."""

from pathlib import Path

import pytest
import torch

from lift3d.domain.scene import UNKNOWN_LABEL, Scene
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rigid import transform
from lift3d.scenes.catalog import read_scene
from tests.support.warping import correspondences

pytestmark = pytest.mark.real


def capture(test_data: Path, name: str) -> Scene:
    return read_scene(str(test_data / "captures" / name))


def test_fox_lists_frames_that_have_no_file(test_data: Path) -> None:
    scene = capture(test_data, "fox")
    assert (len(scene.views), len(scene.dropped)) == (50, 17)
    assert {view.reason for view in scene.dropped} == {"image"}
    frame = scene.views[0].load(192)
    assert tuple(frame.image.shape) == (3, 192, 108)
    assert 0.95 < frame.is_valid.float().mean() < 1, "the lens takes a little of the border"


@pytest.mark.parametrize(("name", "views"), [("bear", 96), ("garden", 185)])
def test_sparse_points_project_into_the_images(name: str, views: int, test_data: Path) -> None:
    scene = capture(test_data, name)
    assert len(scene.views) == views
    shares = []
    for view in scene.views[::10]:
        xyz = transform(view.camera.w2c, scene.points)
        uv, is_in_front = project(xyz, view.camera.K)
        seen = is_in_front & is_inside(uv, view.camera.size.height, view.camera.size.width)
        z = xyz[seen, 2]
        inside = (z > scene.depth_range.near) & (z < scene.depth_range.far)
        assert inside.float().mean() > 0.97
        shares.append(float(seen.float().mean()))
    # Wrong axes would put next to nothing into the images.
    assert min(shares) > 0.15
    assert sum(shares) / len(shares) > 0.3


@pytest.mark.parametrize(("name", "least"), [("kitchen", 0.93), ("shelf", 0.8)])
def test_depth_of_one_view_is_found_in_the_next(name: str, least: float, test_data: Path) -> None:
    scene = capture(test_data, name)
    assert scene.has_depth
    shares = []
    for a, b in zip(scene.views[::4], scene.views[1::4], strict=False):
        frames = [view.load(240) for view in (a, b)]
        depths = [frame.z_depth for frame in frames]
        cameras = [(frame.camera.K, frame.camera.w2c) for frame in frames]
        uv, agrees = correspondences(depths[0], depths[1], cameras[0], cameras[1], relative_tolerance=0.05)
        rows, cols = depths[1].shape
        inside = is_inside(uv, rows, cols)
        at = uv[inside].floor().long()
        known = torch.isfinite(depths[1][at[:, 1].clamp(max=rows - 1), at[:, 0].clamp(max=cols - 1)])
        shares.append(float(agrees[inside][known].float().mean()))
    assert sorted(shares)[len(shares) // 2] > least


def test_kitchen_has_four_classes_and_shelf_hides_the_gripper(test_data: Path) -> None:
    scene = capture(test_data, "kitchen")
    assert sorted(scene.label_names) == [4, 11, 16, 20]
    labels = torch.cat(
        [frame.labels.unique() for view in scene.views[::20] if (frame := view.load(120)).labels is not None]
    )
    assert set(labels.tolist()) == {4, 11, 16, 20, UNKNOWN_LABEL}
    shelf = capture(test_data, "shelf")
    assert len(shelf.views) == 15
    frames = [view.load(240) for view in shelf.views[:3]]
    assert all(torch.equal(frame.is_valid, frames[0].is_valid) for frame in frames)
    assert 0.5 < frames[0].is_valid.float().mean() < 0.95
