import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import Frame, Scene, Tracks, View
from lift3d.errors import NoOverlapError
from lift3d.geometry.projection import project
from lift3d.geometry.rays import baseline_angle
from lift3d.geometry.rigid import transform
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.tracks import find_tracks
from lift3d.scenes.tracks_matching import epipolar_error, find_keypoints, neighbour_pairs
from lift3d.synthetic.reader import ProceduralReader
from tests.support.scenes import moved_scene, row_of_cameras, some_motion, textured_plane_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return ProceduralReader().read("procedural:room?seed=2&views=8&height=180&width=240")


@pytest.fixture(scope="module")
def tracks(scene: Scene) -> Tracks:
    return find_tracks(scene)


def _changed(scene: Scene, change: Callable[[Frame], Frame]) -> Scene:
    frames = [change(view.load()) for view in scene.views]
    said = {"has_depth": True, "has_labels": True, "content_digest": str}
    held = [SimpleNamespace(load=lambda camera, size, frame=frame: frame, **said) for frame in frames]
    views = [View(view.id, view.camera, one) for view, one in zip(scene.views, held, strict=True)]
    return dataclasses.replace(scene, views=tuple(views))


def _projected(scene: Scene, tracks: Tracks, view: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Observed pixels, projected pixels and depth of the points that a view sees."""
    camera, here = scene.views[view].camera, tracks.view_index == view
    xyz_cam = transform(camera.w2c, tracks.points[tracks.point_index[here]])
    return tracks.uv[here].double(), project(xyz_cam, camera.K)[0], xyz_cam[:, 2]


def test_points_lie_on_the_exact_surface_and_two_calls_are_equal(scene: Scene, tracks: Tracks) -> None:
    errors = []
    for number, view in enumerate(scene.views):
        uv, _, z = _projected(scene, tracks, number)
        z_depth = view.load().z_depth
        cells = uv.long()
        errors.append((z / z_depth[cells[:, 1], cells[:, 0]] - 1).abs())
    relative = torch.cat(errors)
    assert len(tracks.points) > 300
    assert relative.median() < 0.01
    assert (relative < 0.05).double().mean() > 0.9
    again = find_tracks(scene)
    assert torch.equal(again.points, tracks.points)
    assert torch.equal(again.point_index, tracks.point_index)
    assert torch.equal(again.uv, tracks.uv)


def test_observations_are_where_the_points_project_and_without_bias(scene: Scene, tracks: Tracks) -> None:
    pairs = [_projected(scene, tracks, number)[:2] for number in range(len(scene.views))]
    offsets = torch.cat([uv - seen for uv, seen in pairs])
    assert offsets.norm(dim=-1).max() < 1.501
    assert offsets.norm(dim=-1).median() < 0.3
    # Poses fix the points up to a common shift in the images; a half-pixel convention gone wrong shows here.
    assert offsets.mean(0).abs().max() < 0.02


def test_keypoints_sit_on_the_pixels_they_claim() -> None:
    """A blob drawn at a known place, corner origin: neither half nor quarter pixels are lost."""
    scene = textured_plane_scene(1, ImageSize(96, 128))
    frame = scene.views[0].load()
    center = torch.tensor([50.25, 40.75])
    u, v = torch.meshgrid(torch.arange(128) + 0.5, torch.arange(96) + 0.5, indexing="xy")
    blob = 0.2 + 0.6 * torch.exp(-((u - center[0]) ** 2 + (v - center[1]) ** 2) / (2 * 3.0**2))
    keypoints = find_keypoints(dataclasses.replace(frame, image=blob.expand(3, -1, -1)))
    assert (keypoints.uv - center).norm(dim=-1).min() < 0.05


def test_a_track_has_one_observation_per_view_and_enough_parallax(scene: Scene, tracks: Tracks) -> None:
    keys = tracks.point_index * len(scene.views) + tracks.view_index
    assert keys.unique().numel() == keys.numel()
    assert tracks.point_index.bincount(minlength=len(tracks.points)).min() >= 3
    centers, widest = torch.stack([view.camera.center for view in scene.views]), []
    for point, xyz in enumerate(tracks.points):
        seen = centers[tracks.view_index[tracks.point_index == point]]
        widest.append(torch.stack([baseline_angle(xyz[None], one, seen) for one in seen]).max().rad2deg())
    assert min(widest) > 1.499
    assert torch.stack([_projected(scene, tracks, view)[2].min() for view in range(len(scene.views))]).min() > 0


def test_moving_the_world_moves_the_points_and_nothing_else(scene: Scene, tracks: Tracks) -> None:
    motion = some_motion()
    moved = find_tracks(moved_scene(scene, motion))
    by_observation = {
        (view, *uv): point
        for view, uv, point in zip(
            moved.view_index.tolist(), moved.uv.tolist(), moved.points[moved.point_index], strict=True
        )
    }
    expected = transform(motion, tracks.points)[tracks.point_index]
    distances = [
        (by_observation[(view, *uv)] - xyz).norm()
        for view, uv, xyz in zip(tracks.view_index.tolist(), tracks.uv.tolist(), expected, strict=True)
        if (view, *uv) in by_observation
    ]
    # An observation at the very threshold may fall on the other side of it, and moves its point a little.
    assert len(distances) > 0.99 * len(tracks.uv)
    assert torch.stack(distances).quantile(0.95) < 1e-9


def test_pixels_refer_to_the_view_at_its_own_size(scene: Scene) -> None:
    scene = dataclasses.replace(scene, views=scene.views[:6])
    small = find_tracks(scene, max_height=120)
    for number in (0, 5):
        uv, projected, _ = _projected(scene, small, number)
        assert (uv - projected).norm(dim=-1).max() < 1.6 * 180 / 120
        assert uv[:, 1].max() > 120


def test_invalid_pixels_make_no_observations(scene: Scene) -> None:
    is_right = torch.arange(240) >= 120
    tracks = find_tracks(_changed(scene, lambda frame: dataclasses.replace(frame, is_valid=frame.is_valid & is_right)))
    assert tracks.uv[:, 0].min() > 120
    assert len(tracks.points) > 50


def test_views_without_texture_have_no_tracks(scene: Scene) -> None:
    with pytest.raises(NoOverlapError, match="expected at least 20"):
        find_tracks(_changed(scene, lambda frame: dataclasses.replace(frame, image=torch.full_like(frame.image, 0.5))))
    with pytest.raises(NoOverlapError, match="0 points from 1 views"):
        find_tracks(dataclasses.replace(scene, views=scene.views[:1]))


def test_wrong_poses_give_few_points(scene: Scene, tracks: Tracks) -> None:
    """Every other camera rolled by 20° about its own axis: matches do not fit the epipolar lines."""
    roll = torch.eye(4, dtype=torch.float64)
    cosine, sine = math.cos(math.radians(20)), math.sin(math.radians(20))
    roll[:2, :2] = torch.tensor([[cosine, -sine], [sine, cosine]])
    views = tuple(
        dataclasses.replace(view, camera=dataclasses.replace(view.camera, w2c=roll @ view.camera.w2c))
        if number % 2
        else view
        for number, view in enumerate(scene.views)
    )
    found = find_tracks(dataclasses.replace(scene, views=views))
    assert (found.view_index % 2 == 1).sum() < 0.15 * (tracks.view_index % 2 == 1).sum()


def test_epipolar_error_is_zero_for_true_matches() -> None:
    a, b = row_of_cameras(2, 0.3)
    xyz = torch.tensor([[0.1, 0.2, 2.0], [-0.4, 0.1, 3.0], [0.3, -0.3, 1.5]], dtype=torch.float64)
    uv_a, uv_b = (project(transform(camera.w2c, xyz), camera.K)[0].float() for camera in (a, b))
    assert epipolar_error(uv_a, uv_b, (a, b)).max() < 1e-3
    off = uv_b + torch.tensor([0.0, 5.0])
    assert epipolar_error(uv_a, off, (a, b)).min() > 2


def test_neighbours_look_the_same_way() -> None:
    cameras = row_of_cameras(6, 0.2)
    pairs = neighbour_pairs(cameras)
    assert {(number, number + 1) for number in range(5)} <= set(pairs)
    turned = cameras[0].w2c.clone()
    turned[0], turned[2] = -turned[0], -turned[2]
    assert all(6 not in pair for pair in neighbour_pairs([*cameras, Camera(cameras[0].K, turned, cameras[0].size)]))


@pytest.mark.real
def test_a_real_capture_has_many_precise_points(test_data: Path) -> None:
    scene = read_scene(str(test_data / "captures" / "fox"))
    scene = dataclasses.replace(scene, views=scene.views[:16])
    tracks = find_tracks(scene, max_height=384)
    seen = [_projected(scene, tracks, number) for number in range(len(scene.views))]
    scales = [min(1.0, 384 / view.camera.size.height) for view in scene.views]
    errors = [(uv - projected).norm(dim=-1) * scale for (uv, projected, _), scale in zip(seen, scales, strict=True)]
    assert len(tracks.points) > 500
    assert torch.cat(errors).mean() < 0.6
    assert torch.cat([z for *_, z in seen]).min() > 0
