"""Scene geometry from a dense cloud of points: every point is a disc as wide as its distance to others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.errors import SceneFormatError
from lift3d.geometry.projection import project
from lift3d.geometry.rasterization import cells_in_boxes
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.scenes.ply import read_ply_points
from lift3d.surface.catalog import POINTS
from lift3d.surface.depth_map import given_grid
from lift3d.surface.file_geometry import FileGeometry
from lift3d.surface.frame_check import ReadSurface
from lift3d.surface.render import nearest_layer
from lift3d.surface.sensor import where_valid

# Neighbours by whose mean distance a disc has its radius: discs of a random cloud then leave 3 % uncovered.
_NEIGHBOURS = 6
# A point so many times as lonely as its neighbours, or as far from all as that, is none of a surface.
_LONELY = 2.0
# More are thinned evenly: cells of two pixels show no more.
_MOST_POINTS = 2_000_000
# No disc is wider on the image: one point is no wall.
_LARGEST_RADIUS_PX = 16.0
# Weight of discs at which a depth is half sure, and that a layer has that hides others. Inside a surface it is 1 to 2.
_HALF_SURE, _ENOUGH = 0.25, 0.8
_MOST_LAYERS = 3
# So many of a cell's eight neighbours close it: where it is empty, or shows what lies behind all of them.
_CLOSING, _CLOSED_CONFIDENCE = 6, 0.5


class PointsGeometry(FileGeometry):
    """Depth of the vertices of a ``.ply`` file, in the world of the scene."""

    spec = POINTS

    def _read(self, views: Sequence[SourceGuide], near: float) -> ReadSurface:
        """Return the nearest layer of discs that every view sees, the surer the more of them lie there."""
        discs = _discs(read_ply_points(self._path), self._path)
        return ReadSurface({view.id: _seen(view, discs, near, self.spec.tolerance) for view in views}, discs.xyz)


@dataclass(frozen=True, slots=True, eq=False)
class _Discs:
    """Points and their radii, world units."""

    xyz: Float[Tensor, "point 3"]
    radius: Float[Tensor, " point"]


def _discs(xyz: Float[Tensor, "point 3"], path: Path) -> _Discs:
    """Measure how far points are from their neighbours; those that are alone are left out."""
    if len(xyz) > _MOST_POINTS:
        order = torch.randperm(len(xyz), generator=torch.Generator().manual_seed(0), device="cpu")
        xyz = xyz[order[:_MOST_POINTS].to(xyz.device)]
    if len(xyz) <= _NEIGHBOURS:
        raise SceneFormatError(f"'{path.name}' holds {len(xyz)} points, too few to show any surface.")
    places = xyz.numpy(force=True)
    distance, neighbour = (torch.as_tensor(one) for one in cKDTree(places).query(places, _NEIGHBOURS + 1))
    radius = distance[:, 1:].mean(1)
    is_kept = radius <= _LONELY * radius[neighbour[:, 1:]].median(1).values
    return _Discs(xyz[is_kept], radius[is_kept])


def _seen(view: SourceGuide, discs: _Discs, near: float, tolerance: float) -> ViewGeometry:
    grid = given_grid(view.camera.size)
    z, cell, weight = _drawn(view.camera, grid, discs, near)
    depth, support = torch.full((grid.cell_count,), torch.nan), torch.zeros(grid.cell_count)
    for _ in range(_MOST_LAYERS):
        # A layer that hardly covers a cell, a stray point or the rim of discs, gives way to a heavier one behind it.
        found = nearest_layer(cell, z, weight, grid.cell_count, tolerance)
        is_layer = (z / found[cell] - 1).abs() < tolerance
        total = torch.zeros(grid.cell_count).index_add_(0, cell[is_layer], weight[is_layer])
        is_better = (total > support) & (support < _ENOUGH)
        depth, support = torch.where(is_better, found, depth), torch.where(is_better, total, support)
        is_behind = z > found[cell] * (1 + tolerance)
        z, cell, weight = z[is_behind], cell[is_behind], weight[is_behind]
    depth, support = depth.reshape(grid.shape), support.reshape(grid.shape)
    closed = _closed(depth, tolerance)
    is_own = (closed / depth - 1).abs() < tolerance
    return where_valid(view, grid, closed, torch.where(is_own, support / (support + _HALF_SURE), _CLOSED_CONFIDENCE))


def _drawn(camera: Camera, grid: FeatureGrid, discs: _Discs, near: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return depth, cell and weight of every disc in every cell whose centre it covers, from 1 down to 0 at its rim."""
    xyz = transform(camera.w2c, discs.xyz)
    is_ahead = xyz[:, 2] > near
    z = xyz[is_ahead, 2]
    uv, _ = project(xyz[is_ahead], camera.K)
    # A cell's centre is never farther from a point in it than this.
    least = 0.71 * max(grid.stride_u, grid.stride_v)
    focal = float(camera.K.diagonal()[:2].mean())
    radius = (focal * discs.radius[is_ahead] / z).clamp(least, max(least, _LARGEST_RADIUS_PX))[:, None]
    centers = cell_centers(*grid.lattice).double().reshape(-1, 2)
    parts = [(z[:0], torch.zeros(0, dtype=torch.long), z[:0])]
    for at, cell in cells_in_boxes(uv - radius, uv + radius, grid.lattice):
        share = (centers[cell] - uv[at]).square().sum(1) / radius[at, 0].square()
        is_under = share < 1
        parts.append((z[at[is_under]], cell[is_under], 1 - share[is_under]))
    depth, cells, weight = (torch.cat(one) for one in zip(*parts, strict=True))
    return depth.float(), cells, weight.float()


def _closed(z_depth: Float[Tensor, "row col"], tolerance: float) -> Float[Tensor, "row col"]:
    """Close gaps of one cell between discs, through which nothing or what is behind them shows."""
    around = torch.nn.functional.pad(z_depth[None, None], (1, 1, 1, 1), value=torch.nan)
    around = torch.nn.functional.unfold(around, 3).reshape(9, -1)[[0, 1, 2, 3, 5, 6, 7, 8]]
    own = z_depth.reshape(-1)
    nearer = torch.where((around < own * (1 - tolerance)) | torch.isnan(own), around, torch.nan)
    is_gap = torch.isfinite(nearer).sum(0) >= _CLOSING
    return torch.where(is_gap, nearer.nanmedian(0).values, own).reshape(z_depth.shape)
