import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.scene import Tracks
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import sample
from lift3d.metrics.correspondence import (
    LONG_RANGE_DEG,
    PAIRS_PER_VIEW,
    SHORT_RANGE_DEG,
    correspond,
    pairs_by_angle,
)
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.metrics.track_surface import TrackSurface
from lift3d.scenes.catalog import read_scene
from tests.metrics.evidence_builders import frames_of
from tests.support.scenes import textured_plane_scene, two_planes_scene
from tests.support.warping import correspondences

NAN = math.nan


def test_depth_matches_are_the_dense_correspondences_on_a_lattice_and_bounded():
    a, b = (view.load() for view in two_planes_scene(2, baseline=0.3).views)
    dense, is_seen = correspondences(a.z_depth, b.z_depth, *((one.camera.K, one.camera.w2c) for one in (a, b)))
    found = DepthSurface([a, b]).matches(0, 1, limit=10**6)
    rows, cols = (found.uv_a[:, 1] - 0.5).long(), (found.uv_a[:, 0] - 0.5).long()
    listed = torch.zeros_like(is_seen)
    listed[rows, cols] = True
    # The dense ones are float32: on the edge of a pixel the two may look at different neighbours.
    assert (listed != is_seen).float().mean() < 1e-3
    assert torch.allclose(found.uv_b, dense[rows, cols].double(), atol=1e-3)
    assert all(len(DepthSurface([a, b]).matches(0, 1, limit).uv_a) <= limit for limit in (1, 50, 500))
    # The wall behind the card is seen by one view only: no match of it lands on the card.
    landed = found.uv_b.long().clamp(max=torch.tensor([63, 47]))
    assert torch.equal(a.labels[rows, cols], b.labels[landed[:, 1], landed[:, 0]])


def test_the_floor_measures_how_far_the_depth_maps_disagree_and_the_angle_the_baseline():
    for slant in (0.0, 0.3):
        found = DepthSurface(frames_of(2, slant=slant)).matches(0, 1, 2000)
        inner = is_inside(found.uv_b - 1, 46, 62)
        assert (found.uv_b_floor - found.uv_b)[inner].abs().max() < 1e-3
    a, b = frames_of(2)
    found = DepthSurface([a, replace(b, z_depth=b.z_depth * 1.01)]).matches(0, 1, 2000)
    # Both cameras look along +z, 0.12 apart and 0.036 up: disparity is f·t/z, and 1 % of depth is 1 % of it.
    fx, fy = float(a.camera.K[0, 0]), float(a.camera.K[1, 1])
    expected = math.hypot(fx * 0.12, fy * 0.036) / 2 * (1 - 1 / 1.01)
    assert (found.uv_b_floor - found.uv_b).norm(dim=-1).median() == pytest.approx(expected, rel=0.02)
    found = DepthSurface(frames_of(2, baseline=0.5)).matches(0, 1, 2000)
    assert found.angle_deg == pytest.approx(math.degrees(2 * math.atan(0.5 * 1.044 / 2 / 2)), rel=0.1)


def test_invalid_pixels_are_nobodys_correspondence():
    a, b = frames_of(2)
    half = b.is_valid.clone()
    half[:, :32] = False
    found = DepthSurface([a, replace(b, is_valid=half)]).matches(0, 1, 2000)
    assert len(found.uv_b)
    assert (found.uv_b[:, 0] >= 32).all()


def test_pairs_are_the_nearest_in_each_range_and_a_row_of_cameras_has_both_and_each_once():
    angles = {(0, 1): 3.0, (0, 2): 9.0, (0, 3): 20.0, (1, 2): 8.0, (1, 3): 60.0, (2, 3): NAN}
    assert pairs_by_angle(angles, 1) == [(0, 1), (0, 3), (1, 2)]
    assert pairs_by_angle(angles, 9) == [(0, 1), (0, 2), (0, 3), (1, 2)]
    found = correspond(DepthSurface(frames_of(6, baseline=0.3)))
    assert all(a < b for a, b in found.matches)
    assert any(one.angle_deg < 15 for one in found.matches.values())
    assert any(one.angle_deg >= 15 for one in found.matches.values())
    assert len(found.matches) <= 6 * 2 * PAIRS_PER_VIEW
    apart = correspond(DepthSurface(frames_of(2, baseline=30.0)))
    assert (len(apart.matches), len(apart.observations.point)) == (0, 0)


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


def test_the_floor_of_tracks_is_their_reprojection_error_and_the_order_of_targets_only_renames_them():
    scene, tracks = tracked(noise_px=0.5)
    surface, swapped = track_surface(scene, tracks), track_surface(scene, tracks, [2, 1, 0])
    found = surface.matches(0, 1, 10**6)
    assert (found.uv_b - found.uv_b_floor).std() == pytest.approx(0.25, rel=0.15)
    assert torch.equal(surface.matches(0, 2, 10**6).uv_a, swapped.matches(2, 0, 10**6).uv_a)


def test_track_observations_are_bounded_and_whole_and_count_once():
    scene, tracks = tracked()
    surface = track_surface(scene, tracks)
    everything, some = surface.observations(10**6), surface.observations(40)
    assert len(some.point.unique()) <= 40 < len(everything.point.unique())
    assert torch.bincount(some.point).min() >= 2
    assert len(correspond(surface).matches) >= 3
    twice = [torch.cat([one, one[:5]]) for one in (tracks.point_index, tracks.view_index, tracks.uv)]
    again = replace(tracks, point_index=twice[0], view_index=twice[1], uv=twice[2])
    again.uv[-5:] += 3
    assert torch.equal(track_surface(scene, again).observations(10**6).uv, everything.uv)


@pytest.mark.real
def test_photographs_of_a_real_room_agree_best_exactly_where_the_geometry_says(test_data):
    """A half-pixel slip anywhere (cameras, depth registration, matching) would move the minimum."""
    frames = [view.load(192) for view in read_scene(str(test_data / "captures" / "kitchen")).views[::8]]
    found = correspond(DepthSurface(frames))
    short = {pair: one for pair, one in found.matches.items() if one.angle_deg < SHORT_RANGE_DEG[1]}
    assert len(short) >= 5
    assert any(one.angle_deg >= LONG_RANGE_DEG[0] for one in found.matches.values())

    def error(du, dv):
        shift = torch.tensor([du, dv])
        losses = [
            (sample(frames[a].image, one.uv_a.float()) - sample(frames[b].image, one.uv_b.float() + shift)).square()
            for (a, b), one in short.items()
        ]
        return float(torch.stack([loss.mean().sqrt() for loss in losses]).mean())

    here = error(0.0, 0.0)
    assert all(error(*aside) > here for aside in ((2.0, 0.0), (-2.0, 0.0), (0.0, 2.0), (0.0, -2.0)))
    floor = torch.cat([(one.uv_b - one.uv_b_floor).norm(dim=-1) for one in short.values()])
    assert floor.median() < 0.5
