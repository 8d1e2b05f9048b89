"""Meshes of stereo that a network of depth and planes complete: precision, recall and F-score, for walls alone, too.

Letters: the reference is what the views see of the true surface; of a predicted mesh that counts which any view sees,
at pixels where the reference is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import Frame, Scene, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import NoOverlapError
from lift3d.geometry.projection import project, unproject
from lift3d.geometry.rasterization import mesh_depth
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells
from lift3d.metrics.mesh_fscore import VOXEL, SurfaceScore, nearest, points_on_triangles, thinned
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.depth_range import depth_range_of_cameras
from lift3d.surface.planar import PlanarGeometry
from lift3d.surface.prior import aligned_alone
from lift3d.surface.priors import completed_planar, prior_operator
from lift3d.surface.scene_surface import SceneSurface
from lift3d.surface.sensor import SensorGeometry
from lift3d.surface.sweep import SweepGeometry
from lift3d.surface.triangles import Mesh, surface_mesh

_ROOM = "procedural:room?seed={}&views=24&height=120&width=160&plain=1&spacing=1.15"
# Seeds from 9000 on are those that no training saw.
SCENES = tuple(_ROOM.format(seed) for seed in (9000, 9001))
_NETWORK = "tiny:depth"
_HEIGHT, _MOST_VIEWS, _MOST_POINTS = 120, 50, 200_000
# Computed depth is drawn so many times finer, so that its points lie as close as those of meshes.
_FINER = 3
_WALLS = ("wall", "ceiling")
# A point of a mesh is seen if nothing in its cell of pixels is nearer by more than this.
_CELL_PX, _SEEN = 2.0, 1.05
_NEAR = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """Points of the true surface that views see, which of them are walls, and the pixels at which it is known."""

    points: Float[ndarray, "point 3"]
    is_wall: Bool[ndarray, " point"]
    known: Sequence[Bool[Tensor, "height width"]]


def measure(asked: Asked) -> list[SystemRow]:
    """Return F-scores of a scene: completed stereo beside stereo, the network alone, and true depth in such a mesh."""
    scene = read_scene(asked.scene)
    step = -(-len(scene.views) // _MOST_VIEWS)
    scene = replace(scene, views=scene.views[::step])
    name = asked.operators[0] if asked.operators else _NETWORK
    frames = [view.load(min(_HEIGHT, view.camera.size.height)) for view in scene.views]
    guides = [
        SourceGuide(view.id, frame.camera, frame.image, frame.is_valid)
        for view, frame in zip(scene.views, frames, strict=True)
    ]
    depth_range = depth_range_of_cameras([view.camera for view in scene.views])[0]
    measured = [replace(one, z_depth=frame.z_depth) for one, frame in zip(guides, frames, strict=True)]
    sensor = SensorGeometry().estimate(measured, scene.depth_range, _no_tracks)
    reference = _reference(scene, frames, sensor)
    stereo = SweepGeometry().estimate(guides, depth_range, _no_tracks)
    alone = aligned_alone(prior_operator(name, asked.plugins), guides, stereo)
    fused = completed_planar(name, asked.plugins).estimate(guides, depth_range, _no_tracks)
    planar = PlanarGeometry().estimate(guides, depth_range, _no_tracks)
    found = {"fused": fused, "planar": planar, "stereo": stereo, "alone": alone, "true": sensor}
    scores = {way: _scores(one, frames, reference) for way, one in found.items()}
    error = _median_error(fused, frames)
    what = {"all": "", "walls": ", walls and ceiling"}
    return [
        SystemRow(
            part="meshes",
            scene=scene.id,
            metric=f"F-score at 5 cm{what[part]}: stereo completed by {name} and planes",
            higher_is_better=True,
            figure=scores["fused"][part]["F"],
            floors={"stereo": scores["stereo"][part]["F"], "network alone": scores["alone"][part]["F"]},
            ceilings={"true depth": scores["true"][part]["F"]},
            details={
                **scores["fused"][part],
                "depth error %": error if part == "all" else float("nan"),
                "F of planes without a network": scores["planar"][part]["F"],
            },
        )
        for part in scores["fused"]
    ]


def _no_tracks() -> Tracks:
    raise NoOverlapError("The bench of meshes asks for no tracks.")


def _reference(scene: Scene, frames: Sequence[Frame], sensor: SceneGeometry) -> _Reference:
    """Return what views see of the surface: of computed scenes the exact one, else the mesh of the sensor's depth."""
    is_exact = scene.location.startswith("procedural:")
    mesh = None if is_exact else mesh_of(sensor)
    points, walls, known = [], [], []
    wall_labels = torch.tensor([label for label, name in scene.label_names.items() if name in _WALLS])
    for view, frame in zip(scene.views, frames, strict=True):
        size = frame.camera.size
        if mesh is None:
            fine = view.load(_FINER * size.height)
            camera, z = fine.camera, fine.z_depth if fine.z_depth is not None else torch.full((1, 1), torch.nan)
            labels = fine.labels if fine.labels is not None else torch.full_like(z, -1)
            known.append(torch.ones(size.height, size.width, dtype=torch.bool))
        else:
            camera, z = frame.camera, _drawn(mesh, frame.camera)
            labels = torch.full_like(z, -1)
            known.append(torch.isfinite(z))
        is_known = torch.isfinite(z)
        own = unproject(cell_centers(*z.shape)[is_known].double(), z[is_known].double(), camera.K)
        points.append(transform(camera.c2w, own).numpy())
        walls.append(torch.isin(labels[is_known], wall_labels).numpy())
    every, is_wall = np.concatenate(points), np.concatenate(walls)
    # Each side is thinned for itself, so that a voxel at a corner holds both.
    parts = [thinned(every[is_wall == one], VOXEL) for one in (False, True)]
    sides = np.repeat([False, True], [len(one) for one in parts])
    return _Reference(np.concatenate(parts), sides, known)


def mesh_of(geometry: SceneGeometry) -> Mesh:
    """Return the triangles of a surface, as they are exported."""
    return surface_mesh(SceneSurface.of(geometry), _MOST_POINTS)


def _drawn(mesh: Mesh, camera: Camera) -> Float[Tensor, "height width"]:
    size = (camera.size.height, camera.size.width)
    lattice = FeatureGrid.covering(camera.size, 1.0).lattice
    return mesh_depth(transform(camera.w2c, mesh.xyz), mesh.faces, camera.K, size, lattice, _NEAR)


def _scores(found: SceneGeometry, frames: Sequence[Frame], reference: _Reference) -> Mapping[str, dict[str, float]]:
    """Return the figures of a surface, of all that is seen and of its walls, if there are any."""
    mesh = mesh_of(found)
    points = thinned(_seen(mesh, frames, reference.known), VOXEL)
    if not len(points):
        return {part: _figures(np.zeros(0), np.zeros(0)) for part in ("all", "walls")}
    off, place = nearest(points, reference.points)
    missed, _ = nearest(reference.points, points)
    scores = {"all": _figures(off, missed)}
    if reference.is_wall.any():
        scores["walls"] = _figures(off[reference.is_wall[place]], missed[reference.is_wall])
    return scores


def _figures(off: Float[ndarray, " point"], missed: Float[ndarray, " place"]) -> dict[str, float]:
    score = SurfaceScore.of(off, missed)
    return {
        "F": score.fscore,
        "precision": score.precision,
        "recall": score.recall,
        "accuracy cm": 100 * score.accuracy,
        "completeness cm": 100 * score.completeness,
    }


def _seen(
    mesh: Mesh, frames: Sequence[Frame], known: Sequence[Bool[Tensor, "height width"]]
) -> Float[ndarray, "point 3"]:
    """Return points of a mesh that any view sees, at a pixel where the reference is known."""
    points = torch.from_numpy(points_on_triangles(mesh.xyz.numpy(), mesh.faces.numpy(), VOXEL))
    is_seen = torch.zeros(len(points), dtype=torch.bool)
    for frame, is_known in zip(frames, known, strict=True):
        size, grid = frame.camera.size, FeatureGrid.covering(frame.camera.size, _CELL_PX)
        own = transform(frame.camera.w2c, points)
        uv, _ = project(own, frame.camera.K)
        ahead = torch.nonzero(own[:, 2] > _NEAR)[:, 0]
        pixel, cell = (nearest_cells(uv[ahead], *one) for one in ((size.height, size.width), grid.lattice))
        at = ahead[pixel >= 0]
        pixel, cell, z = pixel[pixel >= 0], cell[pixel >= 0], own[at, 2]
        front = torch.full((grid.cell_count,), torch.inf, dtype=z.dtype).scatter_reduce_(0, cell, z, "amin")
        is_seen[at[is_known.flatten()[pixel] & (z < _SEEN * front[cell])]] = True
    return points[is_seen].numpy()


def _median_error(found: SceneGeometry, frames: Sequence[Frame]) -> float:
    """Return the median relative error of depth, percent; what is not claimed is wrong."""
    errors = [_errors(view, frame) for view, frame in zip(found.views.values(), frames, strict=True)]
    return 100 * float(torch.cat(errors).median())


def _errors(view: ViewGeometry, frame: Frame) -> Float[Tensor, " cell"]:
    size = frame.camera.size
    at = nearest_cells(cell_centers(*view.grid.lattice), size.height, size.width)
    true = frame.z_depth.flatten()[at.clamp(min=0)] if frame.z_depth is not None else torch.full(at.shape, torch.nan)
    is_known = torch.isfinite(true) & (true > 0)
    return (view.z_depth / true - 1).abs().nan_to_num(torch.inf)[is_known]
