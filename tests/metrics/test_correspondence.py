import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.scene import Tracks
from lift3d.errors import ConfigError, ShapeError
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rigid import transform
from lift3d.metrics.correspondence import PointBudget, correspond, pairs_by_angle
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.metrics.track_surface import TrackSurface
from tests.metrics.evidence_builders import frames_of
from tests.support.scenes import textured_plane_scene, two_planes_scene
from tests.support.warping import correspondences

NAN = math.nan


def matrices(frame):
    return frame.camera.K, frame.camera.w2c


def test_depth_matches_are_the_dense_correspondences_on_a_lattice():
    a, b = (view.load() for view in two_planes_scene(2, baseline=0.2).views)
    dense, is_seen = correspondences(a.z_depth, b.z_depth, matrices(a), matrices(b))
    found = DepthSurface([a, b]).matches(0, 1, limit=10**6)
    rows, cols = (found.uv_a[:, 1] - 0.5).long(), (found.uv_a[:, 0] - 0.5).long()
    listed = torch.zeros_like(is_seen)
    listed[rows, cols] = True
    # The dense ones are float32: on the edge of a pixel the two may look at different neighbours.
    assert (listed != is_seen).float().mean() < 1e-3
    assert torch.allclose(found.uv_b, dense[rows, cols].double(), atol=1e-3)


def test_hidden_surface_is_not_matched():
    """The wall behind the card is seen by one view only: no match of it lands on the card."""
    a, b = (view.load() for view in two_planes_scene(2, baseline=0.3).views)
    found = DepthSurface([a, b]).matches(0, 1, limit=10**6)
    label_a = a.labels[found.uv_a[:, 1].long(), found.uv_a[:, 0].long()]
    label_b = b.labels[found.uv_b[:, 1].long().clamp(max=47), found.uv_b[:, 0].long().clamp(max=63)]
    assert torch.equal(label_a, label_b)


@pytest.mark.parametrize("limit", [1, 50, 500])
def test_points_are_bounded(limit):
    surface = DepthSurface(frames_of(2))
    assert len(surface.matches(0, 1, limit).uv_a) <= limit


@pytest.mark.parametrize("slant", [0.0, 0.3])
def test_the_floor_vanishes_where_both_depth_maps_agree(slant):
    found = DepthSurface(frames_of(2, slant=slant)).matches(0, 1, 2000)
    inner = is_inside(found.uv_b - 1, 46, 62)
    assert (found.uv_b_floor - found.uv_b)[inner].abs().max() < 1e-3


def test_the_floor_measures_how_far_the_depth_maps_disagree():
    a, b = frames_of(2)
    wrong = replace(b, z_depth=b.z_depth * 1.01)
    found = DepthSurface([a, wrong]).matches(0, 1, 2000)
    shift = (found.uv_b_floor - found.uv_b).norm(dim=-1)
    # Both cameras look along +z, 0.12 apart and 0.036 up: disparity is f·t/z, and 1 % of depth is 1 % of it.
    fx, fy = float(a.camera.K[0, 0]), float(a.camera.K[1, 1])
    expected = math.hypot(fx * 0.12, fy * 0.036) / 2 * (1 - 1 / 1.01)
    assert shift.median() == pytest.approx(expected, rel=0.02)


def test_invalid_pixels_are_nobodys_correspondence():
    a, b = frames_of(2)
    half = b.is_valid.clone()
    half[:, :32] = False
    found = DepthSurface([a, replace(b, is_valid=half)]).matches(0, 1, 2000)
    assert len(found.uv_b)
    assert (found.uv_b[:, 0] >= 32).all()


def test_the_angle_is_that_of_the_baseline_over_the_depth():
    found = DepthSurface(frames_of(2, baseline=0.5)).matches(0, 1, 2000)
    assert found.angle_deg == pytest.approx(math.degrees(2 * math.atan(0.5 * 1.044 / 2 / 2)), rel=0.1)


def test_pairs_are_the_nearest_in_each_range():
    angles = torch.tensor([[NAN, 3, 9, 20], [3, NAN, 8, 60], [9, 8, NAN, NAN], [20, 60, NAN, NAN]]).double()
    assert pairs_by_angle(angles, 1) == [(0, 1), (0, 3), (1, 2)]
    assert pairs_by_angle(angles, 9) == [(0, 1), (0, 2), (0, 3), (1, 2)]


def test_a_row_of_cameras_has_pairs_in_both_ranges_and_each_once():
    found = correspond(DepthSurface(frames_of(6, baseline=0.3)), PointBudget(pairs_per_view=1))
    assert all(a < b for a, b in found.matches)
    assert any(one.angle_deg < 15 for one in found.matches.values())
    assert any(one.angle_deg >= 15 for one in found.matches.values())
    assert len(found.matches) <= 12


def test_views_that_share_nothing_make_no_pair():
    found = correspond(DepthSurface(frames_of(2, baseline=30.0)))
    assert not found.matches
    assert len(found.observations.point) == 0


def test_every_observation_of_a_point_is_the_same_surface_point():
    frames = frames_of(4)
    observations = DepthSurface(frames).observations(200)
    assert torch.equal(torch.sort(observations.point).values, observations.point)
    assert torch.bincount(observations.point).min() >= 2
    planes_xy = torch.zeros(len(observations.point), 2, dtype=torch.float64)
    for index, frame in enumerate(frames):
        mine = observations.view == index
        K, c2w = frame.camera.K, frame.camera.c2w
        xy = (observations.uv[mine] - K[:2, 2]) / K.diagonal()[:2] * 2.0
        planes_xy[mine] = xy + c2w[:2, 3]
    first = torch.tensor([int((observations.point == p).nonzero()[0, 0]) for p in observations.point.tolist()])
    assert torch.allclose(planes_xy, planes_xy[first], atol=1e-5)


def test_depth_scoring_without_depth_is_refused():
    with pytest.raises(ConfigError, match="depth"):
        DepthSurface([replace(frames_of(1)[0], z_depth=None)])


def tracked(view_count=4, point_count=300, noise_px=0.0):
    """Tracks of random points of the plane, observed by every view at twice the scored size."""
    scene = textured_plane_scene(view_count, ImageSize(96, 128))
    generator = torch.Generator().manual_seed(3)
    xy = torch.rand(point_count, 2, generator=generator, dtype=torch.float64) * 2 - 1
    points = torch.cat([xy, torch.full((point_count, 1), 2.0, dtype=torch.float64)], dim=1)
    numbers, views, uvs = [], [], []
    for index, view in enumerate(scene.views):
        uv, _ = project(transform(view.camera.w2c, points), view.camera.K)
        uv = uv + noise_px * torch.randn(uv.shape, generator=generator, dtype=torch.float64)
        seen = is_inside(uv, 96, 128).nonzero()[:, 0]
        numbers.append(seen)
        views.append(torch.full_like(seen, index))
        uvs.append(uv[seen])
    ids = tuple(view.id for view in scene.views)
    return scene, Tracks(points, torch.cat(numbers), torch.cat(views), torch.cat(uvs), ids)


def track_surface(scene, tracks, order=None):
    views = [scene.views[index] for index in order or range(len(scene.views))]
    return TrackSurface(tracks, views, [view.camera.resized(ImageSize(48, 64)) for view in views])


def test_tracks_are_scaled_to_the_scored_size_and_reproject_onto_themselves():
    scene, tracks = tracked()
    found = track_surface(scene, tracks).matches(0, 1, 10**6)
    assert len(found.uv_a) > 100
    assert is_inside(found.uv_a, 48, 64).all()
    assert torch.allclose(found.uv_b, found.uv_b_floor)
    # Side by side at the same depth: every point moves alike.
    shift = found.uv_b - found.uv_a
    assert torch.allclose(shift, shift[:1].expand_as(shift))


def test_the_floor_of_tracks_is_their_reprojection_error():
    scene, tracks = tracked(noise_px=0.5)
    found = track_surface(scene, tracks).matches(0, 1, 10**6)
    assert (found.uv_b - found.uv_b_floor).std() == pytest.approx(0.25, rel=0.15)


def test_the_order_of_targets_only_renames_them():
    scene, tracks = tracked(noise_px=0.5)
    straight, swapped = track_surface(scene, tracks), track_surface(scene, tracks, [2, 1, 0])
    assert torch.equal(straight.matches(0, 2, 10**6).uv_a, swapped.matches(2, 0, 10**6).uv_a)


def test_a_point_observed_twice_in_a_view_counts_once():
    scene, tracks = tracked()
    again = replace(
        tracks,
        point_index=torch.cat([tracks.point_index, tracks.point_index[:5]]),
        view_index=torch.cat([tracks.view_index, tracks.view_index[:5]]),
        uv=torch.cat([tracks.uv, tracks.uv[:5] + 3]),
    )
    assert torch.equal(
        track_surface(scene, tracks).observations(10**6).uv, track_surface(scene, again).observations(10**6).uv
    )


def test_track_observations_are_bounded_and_whole():
    scene, tracks = tracked()
    surface = track_surface(scene, tracks)
    everything, some = surface.observations(10**6), surface.observations(40)
    assert len(some.point.unique()) <= 40 < len(everything.point.unique())
    assert torch.bincount(some.point).min() >= 2
    assert len(correspond(surface).matches) >= 3


def test_as_many_cameras_as_views():
    scene, tracks = tracked()
    with pytest.raises(ShapeError, match="one camera per view"):
        TrackSurface(tracks, scene.views, [])
