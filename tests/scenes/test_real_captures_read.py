"""Real captures: points and cameras agree, and labels and masks are read; depth and the rest are, by runs on them."""

from pathlib import Path

import pytest
import torch

from lift3d.domain.scene import UNKNOWN_LABEL, Scene
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rigid import transform
from lift3d.scenes.catalog import read_scene

pytestmark = pytest.mark.real


def capture(test_data: Path, name: str) -> Scene:
    return read_scene(str(test_data / "captures" / name))


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
