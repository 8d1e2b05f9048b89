"""The surface of a lifted scene, and which view's pixel answers for each of its points."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells
from lift3d.pipeline.decode import COVERED
from lift3d.pipeline.surface import read_surface, surface_views
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.picture_rows import spread
from lift3d.storage.commit import committed
from lift3d.surface.catalog import SWEEP
from lift3d.surface.cloud import SurfacePoints, surface_points
from lift3d.surface.depth_map import DepthMap
from lift3d.surface.scene_surface import SceneSurface

# What a view says at an outline counts so much of what it says elsewhere.
_OUTLINE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Points of the surface in the scene's world, with unit normals towards free space, each read from one view.

    ``view`` is a position among the views that were asked for, −1 if none sees the point, and ``uv`` its pixel there,
    in the size that the view was lifted at; ``found`` counts the points before thinning.
    """

    xyz: Float[Tensor, "point 3"]
    normals: Float[Tensor, "point 3"]
    view: Int[Tensor, " point"]
    uv: Float[Tensor, "point 2"]
    found: int

    def __len__(self) -> int:
        return len(self.xyz)

    def only(self, is_kept: Bool[Tensor, " point"]) -> "Cloud":
        """Return some of the points; as large a share of those before thinning counts as found."""
        found = round(self.found * float(is_kept.double().mean())) if len(self) else 0
        return Cloud(self.xyz[is_kept], self.normals[is_kept], self.view[is_kept], self.uv[is_kept], found)


def scene_cloud(lifted: LiftedScene, most: int, targets: Sequence[ViewId] | None = None) -> Cloud:
    """Return points of the scene's surface that lifted views see, ``most`` at most; none if no view shows any.

    They are read from the targets, from all views if None.
    """
    surface = surface_of(lifted)
    cloud = read_points(lifted, surface, surface_points(surface, most), targets)
    return cloud.only(cloud.view >= 0)


def surface_of(lifted: LiftedScene) -> SceneSurface:
    """Return the scene's surface as the run stored it, else as lifted views show it."""
    path = lifted.record.surface_path
    if path and committed(lifted.store, path) is not None:
        return read_surface(lifted.store, path, _views_for(lifted, path) if lifted.is_part else None)
    views = {}
    for one in lifted.depths():
        is_known = torch.isfinite(one.z_depth) & (one.z_depth > 0) & (one.coverage >= COVERED)
        z_depth = torch.where(is_known, one.z_depth, torch.nan)
        views[one.target] = ViewGeometry(one.camera, one.grid, z_depth, torch.where(is_known, one.coverage, 0.0))
    # Depth that was searched per target errs about as much as that of a sweep.
    return SceneSurface.of(SceneGeometry(SWEEP.name, views))


def surface_view_count(lifted: LiftedScene) -> int:
    """Return how many views ``surface_of`` reads."""
    path = lifted.record.surface_path
    is_stored = path and committed(lifted.store, path) is not None
    return len(surface_views(lifted.store, path)) if is_stored else len(lifted.targets)


def _views_for(lifted: LiftedScene, path: str) -> list[ViewId]:
    """Return the views of a stored surface by which a part of a scene is shown: its own, else as many, evenly."""
    names = surface_views(lifted.store, path)
    own = [name for name in names if name in lifted.targets]
    return own if 2 * len(own) > len(lifted.targets) else spread(names, len(lifted.targets))


def read_points(
    lifted: LiftedScene,
    surface: SceneSurface,
    points: SurfacePoints,
    targets: Sequence[ViewId] | None = None,
    heed: Callable[["SeenPoints"], None] | None = None,
) -> Cloud:
    """Choose for each point the view that shows it best, by pixels per unit of surface; ties go to the earlier one.

    ``heed`` is called with what each view sees, one after the other.
    """
    count = len(points.xyz)
    best, view = torch.zeros(count, dtype=torch.float64), torch.full((count,), -1)
    uv = torch.zeros(count, 2, dtype=torch.float64)
    asked = depths_of(lifted, surface, targets or lifted.targets)
    near_views = _NearViews.of(points)
    for number, (camera, depth) in enumerate(asked):
        seen = _seen_by(camera, depth, points, near_views.may_see(camera), surface.tolerance)
        quality = seen.quality * torch.where(seen.is_outline, _OUTLINE, 1.0)
        is_better = quality > best[seen.index]
        at = seen.index[is_better]
        best[at], view[at], uv[at] = quality[is_better], number, seen.uv[is_better]
        if heed is not None:
            heed(seen)
    return Cloud(points.xyz, points.normals, view, uv, points.found)


@dataclass(frozen=True, slots=True, eq=False)
class SeenPoints:
    """Points that one view sees, of many.

    Attributes:
        camera: Of the view, at the size that it was lifted at.
        depth: What it sees.
        index: Which of the points.
        uv: Where they are on its image.
        quality: Its pixels per unit of surface there.
        is_outline: Whether the cells around show different surfaces, or nothing: answers there are a little of both.
    """

    camera: Camera
    depth: DepthMap
    index: Int[Tensor, " own"]
    uv: Float[Tensor, "own 2"]
    quality: Float[Tensor, " own"]
    is_outline: Bool[Tensor, " own"]


@dataclass(frozen=True, slots=True, eq=False)
class PointsInView:
    """How one view sees points, as ``SeenPoints``, of all of them.

    ``uv`` is on its image, or beside it; ``quality`` is 0 where it does not see the point.
    """

    camera: Camera
    depth: DepthMap
    uv: Float[Tensor, "point 2"]
    quality: Float[Tensor, " point"]
    is_outline: Bool[Tensor, " point"]


def points_in_views(
    lifted: LiftedScene, surface: SceneSurface, points: SurfacePoints, targets: Sequence[ViewId]
) -> Iterator[PointsInView]:
    """Yield how views see points of the surface, one view after the other."""
    near_views = _NearViews.of(points)
    for camera, depth in depths_of(lifted, surface, targets):
        uv, _ = project(transform(camera.w2c, points.xyz), camera.K)
        seen = _seen_by(camera, depth, points, near_views.may_see(camera), surface.tolerance)
        quality, is_outline = torch.zeros(len(uv), dtype=torch.float64), torch.zeros(len(uv), dtype=torch.bool)
        quality[seen.index], is_outline[seen.index] = seen.quality, seen.is_outline
        yield PointsInView(camera, depth, uv, quality, is_outline)


def _seen_by(
    camera: Camera, depth: DepthMap, points: SurfacePoints, asked: Int[Tensor, " asked"], tolerance: float
) -> SeenPoints:
    """Return which of the points that are asked for a view sees, and how."""
    own = transform(camera.w2c, points.xyz[asked])
    at, is_in_front = project(own, camera.K)
    inside = torch.nonzero(is_in_front & is_inside(at, camera.size.height, camera.size.width))[:, 0]
    z_depth = depth.at(at[inside].float())
    inside = inside[(z_depth / own[inside, 2] - 1).abs() < tolerance]
    index, uv, rays = asked[inside], at[inside], own[inside]
    normals = points.normals[index] @ camera.w2c[:3, :3].T
    cosine = -(normals * F.normalize(rays, dim=-1)).sum(-1)
    quality = cosine.clamp(min=0.01) * camera.K[0, 0] * camera.K[1, 1] / rays[:, 2].square()
    return SeenPoints(camera, depth, index, uv, quality, _is_outline(depth, uv, tolerance))


@dataclass(frozen=True, slots=True, eq=False)
class _NearViews:
    """Tells in single precision which points may be on an image: most points of most scenes are beside it."""

    middle: Float[Tensor, "3"]
    xyz: Float[Tensor, "3 point"]

    @classmethod
    def of(cls, points: SurfacePoints) -> "_NearViews":
        # Relative to their middle: the world may lie far from its origin.
        middle = points.xyz[points.xyz.isfinite().all(1)].mean(0).nan_to_num(0.0)
        return cls(middle, (points.xyz - middle).float().T.contiguous())

    def may_see(self, camera: Camera) -> Int[Tensor, " asked"]:
        """Return the points on a camera's image or a pixel beside it."""
        rotation, center = camera.w2c[:3, :3], camera.w2c[:3, :3] @ self.middle + camera.w2c[:3, 3]
        slope, offset = (camera.K @ rotation).float(), (camera.K @ center).float()
        u, v, z = torch.addmm(offset[:, None], slope, self.xyz)
        is_near = (u >= -z) & (u <= (camera.size.width + 1) * z) & (v >= -z) & (v <= (camera.size.height + 1) * z)
        return torch.nonzero(is_near)[:, 0]


def _is_outline(depth: DepthMap, uv: Float[Tensor, "point 2"], tolerance: float) -> Bool[Tensor, " point"]:
    """Whether the cells around a pixel show different surfaces, or nothing: answers there are a little of both."""
    z_depth = depth.z_depth.nan_to_num(torch.inf)[None]
    far, near = F.max_pool2d(z_depth, 3, 1, 1), -F.max_pool2d(-z_depth, 3, 1, 1)
    return (far > near * (1 + 2 * tolerance)).flatten()[cells_at(depth.grid, uv.nan_to_num(0.0))]


def is_step(depth: DepthMap, uv: Float[Tensor, "point 2"], tolerance: float) -> Bool[Tensor, " point"]:
    """Whether the surface ends in the cells around a pixel, however steep it is: disparity is linear on a plane."""
    disparity = (1 / depth.z_depth).nan_to_num(0.0, posinf=0.0)[None, None]
    around = F.unfold(F.pad(disparity, (1, 1, 1, 1), mode="replicate"), 3)[0]
    # Opposite cells, and the one between them twice.
    bent = (around + around.flip(0) - 2 * around[4]).abs().amax(0) > 2 * tolerance * around[4]
    return bent[cells_at(depth.grid, uv.nan_to_num(0.0))]


def depths_of(
    lifted: LiftedScene, surface: SceneSurface, targets: Sequence[ViewId]
) -> Iterator[tuple[Camera, DepthMap]]:
    """Yield camera and depth of views: those of the surface where they are among its own, else the lifted ones."""
    known: Mapping[ViewId, tuple[Camera, DepthMap]] = {
        one.id: (one.camera, DepthMap(one.grid, one.z_depth)) for one in surface.views
    }
    if not {*targets} <= {*known}:
        found = {
            one.target: (one.camera, DepthMap(one.grid, one.z_depth.where(one.coverage >= COVERED, torch.nan)))
            for one in lifted.depths()
        }
        known = {**found, **known}
    return (known[target] for target in targets)


def cells_at(grid: FeatureGrid, uv: Float[Tensor, "*batch 2"]) -> Int[Tensor, "*batch"]:
    """Return the row-major index of the cell under each pixel; beside the grid, that at its border."""
    stride, low = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    inside = [
        uv[..., axis].clamp(low[axis], low[axis] + stride[axis] * count)
        for axis, count in ((0, grid.cols), (1, grid.rows))
    ]
    return nearest_cells(torch.stack(inside, dim=-1), grid.rows, grid.cols, stride, low).clamp(min=0)


def whole_grid(size: ImageSize, rows: int, cols: int) -> FeatureGrid:
    """Return the grid of so many cells that covers an image."""
    return FeatureGrid(rows, cols, size.width / cols, size.height / rows)


def map_under(
    values: Shaped[np.ndarray, "row col *rest"],
    camera: Camera,
    grids: Sequence[FeatureGrid],
    uv: Float[Tensor, "point 2"],
) -> Shaped[np.ndarray, " point *rest"]:
    """Return what a map holds under pixels; its shape tells which of the view's grids it lies on, else the image."""
    shape = (values.shape[0], values.shape[1])
    grid = next((one for one in grids if (one.rows, one.cols) == shape), whole_grid(camera.size, *shape))
    return np.asarray(values.reshape(-1, *values.shape[2:])[cells_at(grid, uv).numpy()])
