"""``docs/results-geometry.md``: how far the surface that a method finds is from sensors, tracks or computed scenes."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Frame, Scene, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.depth_range import depth_range_of_cameras
from lift3d.scenes.tracks import find_tracks
from lift3d.surface.protocol import GeometryMethod

# Errors are counted on cells of this many pixels, whatever the method's own grid is.
_STRIDE_PX = 2.0
# A track that is seen from places less far apart is no measure of depth.
_LEAST_TRACK_ANGLE_DEG = 5.0
_GROUPS = 8
# What is not claimed counts as a miss at every threshold.
_UNCLAIMED = float("inf")


@dataclass(frozen=True, slots=True)
class GeometryRow:
    """How one method does on one scene. Shares and medians are over all cells that have a reference, claimed or not.

    Attributes:
        scene: Its id.
        method: Name of the method.
        views: How many it was given.
        reference: ``depth`` or ``tracks``.
        median: Relative error of depth.
        within: Share of cells within 1, 3 and 10 % of the reference.
        claimed: Share of cells with a depth.
        groups: Mean confidence and median error of cells in eight groups of equal size by confidence, least sure first.
        cpu_s: CPU seconds per view, one thread.
    """

    scene: str
    method: str
    views: int
    reference: str
    median: float
    within: tuple[float, float, float]
    claimed: float
    groups: tuple[tuple[float, float], ...]
    cpu_s: float


def measure(
    location: str, methods: Sequence[GeometryMethod], image_height: int, holdout: int | None
) -> list[GeometryRow]:
    """Return a row per method.

    Sensors' depth is hidden from methods that do not need it, and so is the range of depth that comes from it: that
    is guessed from the cameras alone.

    Args:
        location: Of the scene.
        methods: What to measure.
        image_height: Pixels.
        holdout: Every N-th view is left out; None for no view.
    """
    scene = read_scene(location)
    if holdout is not None:
        scene = replace(scene, views=tuple(view for place, view in enumerate(scene.views) if place % holdout))
    frames = [view.load(image_height) for view in scene.views]
    truth = _of_depth(frames) if scene.has_depth else _of_tracks(scene, frames)
    return [_row(scene, frames, method, truth) for method in methods]


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """Depth that is known, by view: pixels and z-depth there."""

    kind: str
    uv: Sequence[Float[Tensor, "_ 2"]]
    z_depth: Sequence[Float[Tensor, " _"]]


def _row(scene: Scene, frames: Sequence[Frame], method: GeometryMethod, truth: _Reference) -> GeometryRow:
    needs_depth = method.spec.needs_depth
    guides = [
        SourceGuide(view.id, frame.camera, frame.image, frame.is_valid, z_depth=frame.z_depth if needs_depth else None)
        for view, frame in zip(scene.views, frames, strict=True)
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        found = method.estimate(guides, _depth_range(scene, needs_depth), _finder(scene, frames))
        cpu_s = (time.process_time() - start) / len(frames)
    finally:
        torch.set_num_threads(threads)
    error, confidence = _errors(found, truth)
    order = confidence.argsort(stable=True)
    groups = tuple((float(confidence[one].mean()), float(error[one].median())) for one in order.chunk(_GROUPS))
    one, three, ten = (float((error < limit).float().mean()) for limit in (0.01, 0.03, 0.1))
    return GeometryRow(
        scene=scene.id,
        method=method.spec.name,
        views=len(frames),
        reference=truth.kind,
        median=float(error.median()),
        within=(one, three, ten),
        claimed=float(torch.isfinite(error).float().mean()),
        groups=groups,
        cpu_s=cpu_s,
    )


def _depth_range(scene: Scene, knows_depth: bool) -> DepthRange:
    if knows_depth or not scene.has_depth:
        return scene.depth_range
    return depth_range_of_cameras([view.camera for view in scene.views])[0]


def _finder(scene: Scene, frames: Sequence[Frame]) -> Callable[[], Tracks]:
    """Return what finds the scene's tracks, with pixels of the loaded size."""

    @functools.cache
    def found() -> Tracks:
        tracks = find_tracks(scene)
        sizes = [(view.camera.size, frame.camera.size) for view, frame in zip(scene.views, frames, strict=True)]
        scale = torch.tensor([[to.width / of.width, to.height / of.height] for of, to in sizes])
        return replace(tracks, uv=tracks.uv * scale[tracks.view_index])

    return found


def _errors(found: SceneGeometry, truth: _Reference) -> tuple[Float[Tensor, " place"], Float[Tensor, " place"]]:
    """Return relative errors of depth, infinite where none is claimed, and confidences."""
    errors, confidences = [], []
    for view, uv, z in zip(found.views.values(), truth.uv, truth.z_depth, strict=True):
        z_depth, confidence = _read(view, uv)
        errors.append(((z_depth - z).abs() / z).nan_to_num(_UNCLAIMED))
        confidences.append(confidence)
    return torch.cat(errors), torch.cat(confidences)


def _read(view: ViewGeometry, uv: Float[Tensor, "place 2"]) -> tuple[Float[Tensor, " place"], Float[Tensor, " place"]]:
    """Return depth and confidence of the cells that pixels lie in."""
    cell = nearest_cells(uv, *view.grid.lattice)
    is_inside = cell >= 0
    at = cell.clamp(min=0)
    z_depth = torch.where(is_inside, view.z_depth.flatten()[at], torch.nan)
    return z_depth, torch.where(is_inside, view.confidence.flatten()[at], 0.0)


def _of_depth(frames: Sequence[Frame]) -> _Reference:
    """Return the depth of the pixels at the centres of cells, where it is known."""
    uvs, depths = [], []
    for frame in frames:
        size = frame.camera.size
        uv = cell_centers(*FeatureGrid.covering(size, _STRIDE_PX).lattice).reshape(-1, 2)
        own = torch.full((size.height, size.width), torch.nan) if frame.z_depth is None else frame.z_depth
        z = own.flatten()[nearest_cells(uv, size.height, size.width)]
        is_known = torch.isfinite(z)
        uvs.append(uv[is_known])
        depths.append(z[is_known])
    return _Reference("depth", uvs, depths)


def _of_tracks(scene: Scene, frames: Sequence[Frame]) -> _Reference:
    """Return the depth of triangulated points where they are observed, if from places far enough apart."""
    tracks = _finder(scene, frames)()
    is_wide = _widest_angles(tracks, frames) > math.radians(_LEAST_TRACK_ANGLE_DEG)
    uvs, depths = [], []
    for place, frame in enumerate(frames):
        is_here = (tracks.view_index == place) & is_wide[tracks.point_index]
        xyz = transform(frame.camera.w2c, tracks.points[tracks.point_index[is_here]])
        uvs.append(tracks.uv[is_here].float())
        depths.append(xyz[:, 2].float())
    return _Reference("tracks", uvs, depths)


def _widest_angles(tracks: Tracks, frames: Sequence[Frame]) -> Float[Tensor, " point"]:
    """Return, per point, the largest angle between the rays of the first view that sees it and of another, radians."""
    centers = torch.stack([frame.camera.center for frame in frames])
    to_view = F.normalize(centers[tracks.view_index] - tracks.points[tracks.point_index], dim=-1)
    count = len(tracks.points)
    first = torch.full((count,), len(frames)).scatter_reduce_(0, tracks.point_index, tracks.view_index, "amin")
    to_first = F.normalize(centers[first] - tracks.points, dim=-1)[tracks.point_index]
    angle = torch.acos((to_view * to_first).sum(-1).clamp(-1, 1))
    return torch.zeros(count, dtype=angle.dtype).scatter_reduce_(0, tracks.point_index, angle, "amax")
