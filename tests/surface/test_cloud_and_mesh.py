"""Points and triangles of the surface: where the thing is, whatever the order of views, the frame and the unit."""

import functools

import pytest
import torch

from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.geometry.rigid import transform
from lift3d.surface.catalog import build_geometry
from lift3d.surface.cloud import surface_points
from lift3d.surface.scene_surface import SceneSurface
from lift3d.surface.triangles import surface_mesh
from tests.support.lifting import pixels, situation
from tests.support.scenes import ball_scene, moved_camera, some_motion, two_planes_scene
from tests.support.surfaces import errors_of, unasked_tracks, write_mesh

FAR = 10**6


@functools.cache
def geometry_of(name="ball"):
    """True depth of every pixel."""
    views = {}
    for view in (ball_scene() if name == "ball" else two_planes_scene()).views:
        frame = view.load()
        views[view.id] = ViewGeometry(
            frame.camera, pixels(frame.camera), frame.z_depth, torch.isfinite(frame.z_depth).float()
        )
    return SceneGeometry("sensor", views)


def changed(geometry, change):
    return SceneGeometry(geometry.method, {name: change(name, view) for name, view in geometry.views.items()})


def off_the_ball(xyz):
    return (xyz.norm(dim=1) - 1).abs()


def test_points_lie_on_the_ball_one_per_spot_all_around():
    points = surface_points(SceneSurface.of(geometry_of()), FAR)
    assert float(off_the_ball(points.xyz).quantile(0.95)) < 0.01
    assert float((points.xyz * points.normals).sum(1).quantile(0.1)) > 0.97
    apart = torch.cdist(points.xyz, points.xyz).fill_diagonal_(9).amin(1)
    assert float(apart.median()) > 0.5 * points.spacing
    # From every side, as many as a sphere has spots.
    assert 0.5 < len(points.xyz) * points.spacing**2 / (4 * torch.pi) < 2
    assert all(int((points.xyz[:, axis] * sign > 0.5).sum()) > 20 for axis in range(3) for sign in (-1, 1))


def test_order_frame_and_unit_of_the_world_change_nothing_else():
    geometry = geometry_of()
    points = surface_points(SceneSurface.of(geometry), FAR)
    turned = SceneGeometry(geometry.method, dict(reversed(geometry.views.items())))
    assert torch.equal(surface_points(SceneSurface.of(turned), FAR).xyz, points.xyz)
    motion, factor = some_motion(), 7.0
    moved = changed(
        geometry,
        lambda _, view: ViewGeometry(
            moved_camera(view.camera, motion, factor), view.grid, factor * view.z_depth, view.confidence
        ),
    )
    found = surface_points(SceneSurface.of(moved), FAR)
    back = transform(torch.linalg.inv(motion), found.xyz / factor)
    assert found.spacing == pytest.approx(factor * points.spacing, rel=1e-5)
    assert abs(len(back) - len(points.xyz)) < 0.01 * len(back)
    assert float(torch.cdist(back, points.xyz).amin(1).quantile(0.98)) < 1e-3 * points.spacing


def test_fewer_points_are_evenly_fewer():
    surface = SceneSurface.of(geometry_of())
    some = surface_points(surface, 300)
    assert 100 < len(some.xyz) <= 300
    assert some.found == pytest.approx(len(surface_points(surface, FAR).xyz), rel=0.01)
    eighths = torch.bincount(((some.xyz > 0).long() * torch.tensor([1, 2, 4])).sum(1), minlength=8)
    assert int(eighths.min()) > 0.4 * len(some.xyz) / 8


def test_what_one_view_alone_shows_and_others_see_through_is_no_point():
    def floats(name, view):
        z_depth = view.z_depth.clone()
        if name == "0002":
            z_depth[16:28, 20:40] *= 0.6
        return ViewGeometry(view.camera, view.grid, z_depth, view.confidence)

    clean, floating = (SceneSurface.of(one) for one in (geometry_of("planes"), changed(geometry_of("planes"), floats)))
    before, after = (surface_points(one, FAR).xyz for one in (clean, floating))
    assert float(after[:, 2].min()) > 0.98 * float(before[:, 2].min())
    assert len(after) > 0.9 * len(before)


def test_a_mesh_of_a_ball_is_the_ball():
    mesh = surface_mesh(SceneSurface.of(geometry_of()), FAR)
    spacing = surface_points(SceneSurface.of(geometry_of()), FAR).spacing
    a, b, c = (mesh.xyz[mesh.faces[:, corner]] for corner in range(3))
    outwards = torch.linalg.cross(b - a, c - a, dim=-1)
    assert float(off_the_ball(mesh.xyz).quantile(0.95)) < 0.5 * spacing
    assert float(((outwards * (a + b + c)).sum(1) > 0).double().mean()) > 0.99
    assert float((mesh.normals * mesh.xyz).sum(1).median()) > 0.99
    # The poles, which no camera sees, are open.
    assert float(outwards.norm(dim=1).sum() / 2) == pytest.approx(4 * torch.pi, rel=0.1)
    ends = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]).sort(1).values
    _, shared = torch.unique(ends, dim=0, return_counts=True)
    assert int(shared.max()) <= 2, "no edge has three faces"
    assert float((shared == 2).double().mean()) > 0.9


def test_a_mesh_that_is_brought_back_gives_its_views_their_depth_again(tmp_path):
    mesh = surface_mesh(SceneSurface.of(geometry_of()), FAR)
    path = write_mesh(tmp_path / "ball.ply", mesh.xyz.numpy(), mesh.faces.numpy())
    scene = ball_scene()
    _, guides, depth_range = situation(scene, None, scene.views[0].camera.size.height)
    errors = errors_of(build_geometry(f"mesh?path={path}").estimate(guides, depth_range, unasked_tracks), guides)
    assert float(errors.nanmedian()) < 0.01
    assert float(torch.isfinite(errors).sum()) > 0.9 * sum(
        int(torch.isfinite(one.z_depth[1::2, 1::2]).sum()) for one in guides
    )


def test_a_scene_without_agreement_has_no_mesh():
    nothing = changed(
        geometry_of(),
        lambda _, view: ViewGeometry(
            view.camera, view.grid, torch.full_like(view.z_depth, torch.nan), torch.zeros_like(view.confidence)
        ),
    )
    assert not len(surface_mesh(SceneSurface.of(nothing), FAR).faces)
