"""Points that are followed through the views of a scene: what must come of any of them, and files that others read."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import lift3d
from lift3d.domain.features import FeatureGrid
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import ConfigError, ContractError, ResourcePromiseError, UnknownNameError
from lift3d.results import tracks as results_tracks
from lift3d.results.exports.tracks import read_points, read_tracks, write_tracks
from lift3d.surface.depth_map import DepthMap
from lift3d.surface.point_tracks import seen_by, surface_at
from lift3d.surface.scene_surface import SceneSurface

SCENE = "procedural:room?seed=1&views=8&height=48&width=64&spacing=3"
A, B, LAST = "0001", "0004", "0007"


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    """A room on its true depth, whose last views do not see all that the first ones do."""
    store = str(tmp_path_factory.mktemp("tracks") / "store")
    return lift3d.lift(SCENE, "rgb", store=store, image_height=48, metrics=("coverage",))


@pytest.fixture(scope="module")
def tracks(lifted):
    """Points of a grid over two views."""
    return lift3d.scene_tracks(lifted, grids=[(A, 5.0), (LAST, 5.0)])


def test_the_own_view_has_the_pixel_that_was_asked_for(tracks):
    for number, view in enumerate(tracks.views):
        own = tracks.query_view == number
        assert np.allclose(tracks.uv_in(view)[own], tracks.query_uv[own], atol=1e-6)
        assert tracks.is_visible[number, own].all()


def test_points_are_where_the_true_depth_is(lifted, tracks):
    true = lifted.scene.view(A).load(48).z_depth.numpy()
    own = tracks.query_view == tracks.views.index(A)
    u, v = tracks.query_uv[own].astype(int).T
    off = np.abs(tracks.xyz_in(A)[own, 2] / true[v, u] - 1)
    assert np.median(off) < 1e-3
    assert (off < 0.01).mean() > 0.95


def test_who_is_seen_agrees_with_the_true_depth(lifted, tracks):
    right, counted = 0, 0
    for number, view in enumerate(tracks.views):
        true = lifted.scene.view(view).load(48).z_depth.numpy()
        uv, z = tracks.uv_in(view), tracks.xyz_in(view)[:, 2]
        on = np.isfinite(uv).all(1) & (uv >= 0).all(1) & (uv < [64, 48]).all(1)
        assert not tracks.is_visible[number, ~on].any()
        u, v = uv[on].astype(int).T
        right += ((true[v, u] > 0.97 * z[on]) == tracks.is_visible[number, on]).sum()
        counted += on.sum()
    assert right > 0.97 * counted


def test_there_and_back(lifted, tracks):
    seen = tracks.is_visible[[tracks.views.index(A), tracks.views.index(B)]].all(0)
    seen &= tracks.query_view == tracks.views.index(A)
    assert seen.sum() > 30
    back = lift3d.scene_tracks(lifted, [(B, *pixel) for pixel in tracks.uv_in(B)[seen].tolist()])
    apart = np.linalg.norm(back.uv_in(A) - tracks.uv_in(A)[seen], axis=1)
    assert np.median(apart) < 0.1
    assert np.quantile(apart, 0.9) < 1
    assert back.is_visible[back.views.index(A)].mean() > 0.9


def test_another_order_of_views_changes_nothing_else(lifted, tracks):
    order = tracks.views[::-1]
    turned = lift3d.scene_tracks(lifted, grids=[(A, 5.0), (LAST, 5.0)], views=order)
    assert turned.views == order
    assert (turned.xyz == tracks.xyz).all()
    assert (turned.is_visible == tracks.is_visible[::-1]).all()
    assert (turned.confidence == tracks.confidence[::-1]).all()


def test_confidence_is_of_the_point_and_the_view(tracks):
    assert ((tracks.confidence >= 0) & (tracks.confidence <= 1)).all()
    own = tracks.query_view == tracks.views.index(A)
    # No view is surer of a point than the one that it was asked for in.
    assert (tracks.confidence[:, own] <= tracks.confidence[tracks.views.index(A), own] + 1e-6).all()


def test_a_point_that_no_other_view_sees_says_so(lifted):
    found = lift3d.scene_tracks(lifted, grids=[(A, 5.0)], views=(A, LAST))
    is_alone = ~found.is_visible[1]
    assert 0 < is_alone.sum() < len(found)
    assert [reason == "no-other-view" for reason in found.reasons] == is_alone.tolist()
    table = found.to_pandas()
    assert len(table) == 2 * len(found)
    assert (table[~table["is_query"]]["is_visible"].to_numpy() == found.is_visible[1]).all()


def test_where_nothing_is_known_there_is_no_point(lifted):
    """The left of one view shows that nothing is there, its right is unknown; others know what lies on the right."""
    cameras = [lifted.view(view).camera for view in (A, "0002")]
    grid = FeatureGrid.covering(cameras[0].size, 1.0)
    flat = torch.full(grid.shape, 2.0)
    holed = flat.clone()
    holed[:, :20], holed[:, 40:] = torch.inf, torch.nan
    views = {
        name: ViewGeometry(camera, grid, z_depth, (~torch.isnan(z_depth)).float())
        for name, camera, z_depth in zip("ab", cameras, (holed, flat), strict=True)
    }
    uv = torch.tensor([[10.0, 24.0], [30.0, 24.0], [50.0, 24.0]], dtype=torch.float64)
    alone = SceneSurface.of(SceneGeometry("sensor", {"a": views["a"]}))
    found = surface_at(alone, cameras[0], DepthMap(grid, holed), uv)
    assert found.is_empty.tolist() == [True, False, False]
    assert torch.isnan(found.xyz).all(1).tolist() == [True, False, True]
    assert (found.confidence > 0).tolist() == [False, True, False]
    seen, clear = seen_by(alone, cameras[0], DepthMap(grid, holed), found.xyz)
    assert (seen.tolist(), (clear > 0).tolist()) == ([False, True, False], [False, True, False])
    both = SceneSurface.of(SceneGeometry("sensor", views))
    assert torch.isfinite(surface_at(both, cameras[0], DepthMap(grid, holed), uv).xyz).all(1).tolist() == [
        False, True, True,
    ]  # fmt: skip


def test_what_reaches_beyond_its_outline_is_not_followed(lifted):
    """A thing that others see through is as wide as its view shows it; its searched depth is a cell or two wider."""
    first = lifted.view(A).camera
    grid, wall = FeatureGrid.covering(first.size, 1.0), torch.full((48, 64), 4.0)
    fat = wall.clone()
    fat[:, :22] = 2.0
    views = {}
    for number, z_depth in enumerate((fat, wall, wall)):
        w2c = torch.eye(4, dtype=torch.float64)
        w2c[0, 3] = -0.2 * number
        views[str(number)] = ViewGeometry(replace(first, w2c=w2c), grid, z_depth, torch.ones(48, 64))
    uv = torch.tensor([[10.5, 24.5], [20.5, 24.5], [21.5, 24.5], [40.5, 24.5]], dtype=torch.float64)
    for method, expected in (("sweep", [2.0, 4.0, 4.0, 4.0]), ("sensor", [2.0, 2.0, 2.0, 4.0])):
        surface = SceneSurface.of(SceneGeometry(method, views))
        found = surface_at(surface, views["0"].camera, DepthMap(grid, fat), uv)
        assert found.xyz[:, 2].tolist() == expected


def test_a_query_without_surface_is_a_row_with_its_reason(lifted, monkeypatch):
    def holed(lifted, surface, views):
        for camera, depth in depths_of(lifted, surface, views):
            yield camera, DepthMap(depth.grid, torch.full_like(depth.z_depth, torch.inf))

    depths_of = results_tracks.depths_of
    monkeypatch.setattr(results_tracks, "depths_of", holed)
    found = lift3d.scene_tracks(lifted, [(A, 10.0, 10.0)])
    assert found.reasons == ("empty",)
    assert not found.is_visible.any()
    assert not found.confidence.any()
    assert np.isnan(found.uv_in(B)).all()


def test_a_file_of_tapvid_3d_comes_back(tracks, tmp_path):
    said = write_tracks(tracks, tmp_path / "tracks.npz")
    assert f"{len(tracks)} points in 8 views" in said
    read = read_tracks(tmp_path / "tracks.npz")
    assert read.xyz.shape == (8, len(tracks), 3)
    assert np.allclose(read.xyz[3], tracks.xyz_in(tracks.views[3]), atol=1e-5)
    assert (read.is_visible == tracks.is_visible).all()
    assert (read.queries_xyt[:, :2] == tracks.query_uv).all()
    fx, fy, cx, cy = read.fx_fy_cx_cy
    # What the camera's frame and the lens say together is the pixel, as the format has it.
    x, y, z = read.xyz[5].T
    assert np.allclose(
        np.stack([fx * x / z + cx, fy * y / z + cy], 1)[z > 0], read.extra["tracks_uv"][5][z > 0], atol=1e-3
    )
    world = np.c_[tracks.xyz, np.ones(len(tracks))] @ read.w2c[5].T
    assert np.allclose(world[:, :3], read.xyz[5], atol=1e-5)
    assert len(read.images) == 8
    assert all(image.startswith(b"\xff\xd8") and image.endswith(b"\xff\xd9") for image in read.images)
    points = read_points(tmp_path / "tracks.npz")
    assert points[-1] == (LAST, *tracks.query_uv[-1])
    with pytest.raises(ConfigError, match="is there already"):
        write_tracks(tracks, tmp_path / "tracks.npz")
    write_tracks(tracks, tmp_path / "tracks.csv")
    assert len((tmp_path / "tracks.csv").read_text().splitlines()) == 1 + 8 * len(tracks)


def test_points_of_files(tmp_path):
    (tmp_path / "a.csv").write_text("view,u,v\n0001,10,20.5\n")
    (tmp_path / "a.json").write_text(json.dumps([["0001", 10, 20.5], {"view": "0002", "u": 1, "v": 2}]))
    assert read_points(tmp_path / "a.csv") == [("0001", 10.0, 20.5)]
    assert read_points(tmp_path / "a.json") == [("0001", 10.0, 20.5), ("0002", 1.0, 2.0)]
    (tmp_path / "b.csv").write_text("0001,10,20.5\n1,2,3\n")
    (tmp_path / "b.json").write_text("[1, 2]")
    np.savez(tmp_path / "b.npz", tracks_XYZ=np.zeros((2, 3, 3)))
    for name in ("b.csv", "b.json", "b.npz", "missing.csv", "b.txt"):
        with pytest.raises(ConfigError, match="points"):
            read_points(tmp_path / name)
    with pytest.raises(ContractError, match="visibility"):
        read_tracks(tmp_path / "b.npz")
    with pytest.raises(ContractError, match="plain arrays"):
        read_tracks(tmp_path / "a.csv")


def test_what_cannot_be_followed_is_told(lifted, monkeypatch):
    with pytest.raises(ConfigError, match="No points"):
        lift3d.scene_tracks(lifted)
    with pytest.raises(UnknownNameError, match="view 'nowhere'"):
        lift3d.scene_tracks(lifted, [("nowhere", 1.0, 1.0)])
    with pytest.raises(ConfigError, match="64 columns and 48 rows"):
        lift3d.scene_tracks(lifted, [(A, 64.5, 1.0)])
    with pytest.raises(ConfigError, match="step of 0"):
        lift3d.scene_tracks(lifted, grids=[(A, 0.0)])
    with pytest.raises(ConfigError, match="each once"):
        lift3d.scene_tracks(lifted, [(A, 1.0, 1.0)], views=(A, A))
    with pytest.raises(UnknownNameError, match=f"view '{A}'"):
        lift3d.scene_tracks(lifted, [(A, 1.0, 1.0)], views=(B,))
    monkeypatch.setattr(results_tracks, "MOST_ROWS", 7)
    with pytest.raises(ResourcePromiseError, match="8 rows"):
        lift3d.scene_tracks(lifted, [(A, 1.0, 1.0)]).to_pandas()
    monkeypatch.setattr(results_tracks, "MOST_PLACES", 10)
    with pytest.raises(ResourcePromiseError, match="at most 10"):
        lift3d.scene_tracks(lifted, grids=[(A, 8.0)])
