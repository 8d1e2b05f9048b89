"""Surfaces of real captures as files: what was written from a sensor's depth is read as the same surface."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange
from lift3d.errors import NoOverlapError, SceneFormatError
from lift3d.geometry.rigid import nearest_rotation
from lift3d.scenes.catalog import read_scene
from lift3d.surface.catalog import build_geometry
from tests.support import surfaces

pytestmark = pytest.mark.real
HEIGHT = 96


def no_tracks():
    raise NoOverlapError("there are none")


def guides_of(test_data, name, step):
    """Six views with their sensor's depth, what a finer look at them is sure of, and the depth range."""
    scene = read_scene(str(test_data / "captures" / name))
    frames = {view.id: view.load(HEIGHT) for view in scene.views[: 6 * step : step]}
    fine = {view.id: view.load(2 * HEIGHT) for view in scene.views[: 6 * step : step]}
    guides, closer = (
        [SourceGuide(key, one.camera, one.image, one.is_valid, 1.0, one.z_depth) for key, one in look.items()]
        for look in (frames, fine)
    )
    found = build_geometry("sensor").estimate(closer, scene.depth_range, no_tracks).views
    sure = [
        dataclasses.replace(one, z_depth=torch.where(found[key].confidence > 0.5, found[key].z_depth, torch.nan))
        for key, one in fine.items()
    ]
    return guides, frames, sure, scene.depth_range


def errors_of(found, known):
    """Relative differences where one is known and the other is sure, and the share of these that is known."""
    parts, seen = [], []
    for name, view in found.views.items():
        is_sure = known.views[name].confidence > 0.5
        error = (view.z_depth / known.views[name].z_depth - 1).abs()[is_sure]
        parts.append(error[torch.isfinite(error)])
        seen.append(torch.isfinite(error))
    return torch.cat(parts), float(torch.cat(seen).float().mean())


@pytest.mark.parametrize(("name", "step", "meshed"), [("kitchen", 10, 0.95), ("shelf", 2, 0.9)])
def test_sensors_depth_is_the_same_surface_as_depth_maps_and_as_a_mesh(test_data, tmp_path, name, step, meshed):
    guides, frames, sure, depth_range = guides_of(test_data, name, step)
    sensor = build_geometry("sensor").estimate(guides, depth_range, no_tracks)
    root = surfaces.write_workspace(tmp_path / "dense", frames)
    error, share = errors_of(build_geometry(f"colmap?path={root}").estimate(guides, depth_range, no_tracks), sensor)
    assert share > 0.99
    assert float(error.median()) < 0.005
    assert float((error < 0.03).float().mean()) > 0.98
    vertices, triangles = surfaces.mesh_of(sure)
    path = surfaces.write_mesh(tmp_path / "mesh.ply", vertices, triangles)
    error, share = errors_of(build_geometry(f"mesh?path={path}").estimate(guides, depth_range, no_tracks), sensor)
    assert share > meshed
    assert float(error.median()) < 0.002
    assert float((error < 0.03).float().mean()) > 0.98
    surfaces.write_mesh(path, 1000 * vertices, triangles)
    with pytest.raises(SceneFormatError, match=r"Scaled by 0\.001 it would fit"):
        build_geometry(f"mesh?path={path}").estimate(guides, depth_range, no_tracks)


def test_a_garden_of_points_is_the_same_surface_as_its_splats(test_data, tmp_path):
    """The centres of 138,766 splats, and splats of a size that 3DGS begins with, from three cameras."""
    stored = np.load(test_data / "captures" / "garden_splat" / "test_garden.npz")
    size, xyz = ImageSize(int(stored["height"]), int(stored["width"])), stored["means3d"].astype(np.float64)
    guides = []
    for number, (K, w2c) in enumerate(zip(stored["Ks"], stored["viewmats"], strict=True)):
        rigid = torch.from_numpy(w2c.astype(np.float64))
        rigid[:3, :3] = nearest_rotation(rigid[:3, :3])
        camera = Camera(torch.from_numpy(K), rigid, size).resized(size.with_height(HEIGHT))
        shape = (camera.size.height, camera.size.width)
        guides.append(SourceGuide(str(number), camera, torch.zeros(3, *shape), torch.ones(shape, dtype=torch.bool)))
    spacing = cKDTree(xyz).query(xyz, 4)[0][:, 1:].mean(1)
    radius = np.clip(0.4 * spacing, 1e-6, np.percentile(spacing, 80))
    files = {
        "points": surfaces.write_points(tmp_path / "points.ply", xyz),
        "splats": surfaces.write_splats(tmp_path / "splats.ply", xyz, radius),
    }
    found = {
        kind: build_geometry(f"{kind}?path={path}").estimate(guides, DepthRange(0.1, 50.0), no_tracks)
        for kind, path in files.items()
    }
    sure = {
        name: dataclasses.replace(view, confidence=torch.isfinite(view.z_depth).float())
        for name, view in found["splats"].views.items()
    }
    error, share = errors_of(found["points"], dataclasses.replace(found["splats"], views=sure))
    assert share > 0.98
    assert float(error.median()) < 0.01
    assert float((error < 0.1).float().mean()) > 0.9
