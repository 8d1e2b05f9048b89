"""Where the depth range comes from, and that it contains what the cameras look at."""

import math

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import DepthRange, View
from lift3d.geometry.rigid import inverse, transform
from lift3d.scenes.depth_range import estimate_depth_range
from lift3d.scenes.file_frame import FileFrame
from tests.support import captures

SOURCE = captures.capture()
POINTS = torch.from_numpy(SOURCE.points)


def views_of(c2w: list[torch.Tensor]) -> list[View]:
    K = torch.from_numpy(captures.K)
    size = ImageSize(captures.HEIGHT, captures.WIDTH)
    return [View(str(i), Camera(K, inverse(matrix), size), FileFrame("none")) for i, matrix in enumerate(c2w)]


ARC = [torch.from_numpy(c2w) for c2w in SOURCE.c2w]
PARALLEL = [torch.eye(4, dtype=torch.float64) for _ in range(3)]
for index, matrix in enumerate(PARALLEL):
    matrix[0, 3] = 0.1 * index


def contains(found: DepthRange, views: list[View], points: torch.Tensor) -> bool:
    z = torch.cat([transform(view.camera.w2c, points)[:, 2] for view in views])
    return found.near < float(z.min()) and float(z.max()) < found.far


def test_points_come_first_are_contained_and_stray_ones_do_not_stretch_the_range() -> None:
    found, sentence = estimate_depth_range(views_of(ARC), POINTS)
    assert "points" in sentence
    assert contains(found, views_of(ARC), POINTS)
    assert found.far / found.near < 4
    behind = POINTS[:1] * 0 + torch.tensor([[0.0, 0.0, -50.0]])
    found, _ = estimate_depth_range(views_of(ARC), torch.cat([POINTS.repeat(5, 1), behind]))
    assert found.far < 10


def test_cameras_alone_still_contain_what_they_look_at_and_one_says_that_it_knows_nothing() -> None:
    found, sentence = estimate_depth_range(views_of(ARC), None)
    assert "guess" in sentence
    assert contains(found, views_of(ARC), POINTS)
    found, sentence = estimate_depth_range(views_of(ARC[:1]), None)
    assert found.near < found.far
    assert "nothing" in sentence


@pytest.mark.parametrize("c2w", [ARC, PARALLEL], ids=["arc", "parallel"])
def test_scaling_the_world_scales_the_guess_and_moving_it_changes_nothing(c2w: list[torch.Tensor]) -> None:
    found, _ = estimate_depth_range(views_of(c2w), None)
    scaled = [matrix.clone() for matrix in c2w]
    for matrix in scaled:
        matrix[:3, 3] *= 7
    for world, scale in ((scaled, 7), ([ARC[2] @ matrix for matrix in c2w], 1)):
        again, _ = estimate_depth_range(views_of(world), None)
        assert math.isclose(again.near, scale * found.near, rel_tol=1e-6)
        assert math.isclose(again.far, scale * found.far, rel_tol=1e-6)
