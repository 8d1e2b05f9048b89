"""One cloud of points of a lifted scene: every covered cell of every view at its lifted depth, in the scene's world."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.lifted import LiftedFeatures, LiftedView
from lift3d.errors import Lift3dError, NoOverlapError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells
from lift3d.pipeline.decode import COVERED
from lift3d.results.colours import Picture
from lift3d.results.lifted_scene import LiftedScene
from lift3d.storage.products import open_product

# Cells that bridge a jump in depth look like surfaces seen from the side; at more than this from its normal a surface
# is hardly seen at all.
_STEEPEST_DEG = 80.0
# Of an embedding, so many features go into the file; tables of points with hundreds of columns open nowhere.
MOST_FEATURES = 8

Paint = Callable[[LiftedView], Picture]


@dataclass(frozen=True, slots=True, eq=False)
class PointCloud:
    """Points with what was predicted of them.

    Attributes:
        xyz: World coordinates of the scene.
        normals: Of unit length, world axes, towards the camera that saw the point.
        rgb: Colours, sRGB.
        values: Further columns by name: label, value, or feature_0 and on.
        left_out_count: Points that were left out, evenly, to keep the cloud within its bound.
    """

    xyz: Float[np.ndarray, "point 3"]
    normals: Float[np.ndarray, "point 3"]
    rgb: UInt8[np.ndarray, "point 3"]
    values: dict[str, Shaped[np.ndarray, " point"]]
    left_out_count: int


@dataclass(frozen=True, slots=True, eq=False)
class _Surface:
    """The cells of one view that stand on a surface."""

    uv: Float[Tensor, "point 2"]
    xyz: Float[Tensor, "point 3"]
    normals: Float[Tensor, "point 3"]


def fuse_points(lifted: LiftedScene, paint: Paint, most: int) -> PointCloud:
    """Return the cloud of all views, one stored part in memory beside it.

    Args:
        lifted: The scene.
        paint: Gives the picture whose colours a view's points have, of any size.
        most: Points at most; views are thinned alike.

    Raises:
        NoOverlapError: If no view has a surface.
    """
    share = min(1.0, most / max(1, _cell_count(lifted)))
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []
    left_out = 0
    for number, view in enumerate(lifted.views()):
        surface = _surface(view)
        count = len(surface.xyz)
        # Drawn at random with a fixed seed: every n-th cell would leave stripes.
        drawn = np.random.default_rng(number).permutation(count)[: math.floor(share * count)]
        kept = torch.from_numpy(np.sort(drawn) if share < 1 else np.arange(count))
        left_out += count - len(kept)
        uv = surface.uv[kept]
        colours = (paint(view).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        rgb = colours[_nearest(view, uv, colours.shape[:2])]
        parts.append((surface.xyz[kept].numpy(), surface.normals[kept].numpy(), rgb, _values(view, uv)))
    if not any(len(xyz) for xyz, *_ in parts):
        raise NoOverlapError(
            f"No view of '{lifted.name}' shows a surface: '{lifted.operator}' under '{lifted.lifter}' has no cell of "
            f"coverage {COVERED} or more with depth around it."
        )
    xyz, normals, rgb, values = zip(*parts, strict=True)
    columns = {name: np.concatenate([one[name] for one in values]) for name in values[0]}
    return PointCloud(np.concatenate(xyz), np.concatenate(normals), np.concatenate(rgb), columns, left_out)


def depth_on_image(view: LiftedView) -> Float[np.ndarray, "height width"]:
    """Return the lifted z-depth of every pixel, that of its cell; NaN where less than half is seen."""
    finest, size = _finest(view), view.camera.size
    z_depth = np.where(finest.coverage.numpy() >= COVERED, finest.z_depth.numpy(), np.nan)
    uv = cell_centers(size.height, size.width).double().reshape(-1, 2)
    read: Float[np.ndarray, "height width"] = z_depth[_nearest(view, uv, z_depth.shape)].reshape(
        size.height, size.width
    )
    return read


def world_words(lifted: LiftedScene) -> str:
    """Return in which coordinates the cameras of a lifted scene and what is made of them stand."""
    said = "coordinates: the world of the scene's cameras, in its units"
    try:
        similarity = lifted.scene.canonical_from_source
    except Lift3dError:
        return f"{said}, as stored; the capture itself is not where it was"
    if bool(torch.equal(similarity, torch.eye(4, dtype=similarity.dtype))):
        return f"{said}, as its files have it"
    rows = "; ".join(" ".join(f"{entry:.9g}" for entry in row) for row in similarity.tolist())
    return f"{said}; the world before it was taken there by [{rows}]"


def _cell_count(lifted: LiftedScene) -> int:
    """Return how many points there can be, without reading any array."""
    parts = lifted.record.parts(lifted.operator, lifted.lifter)
    views = (view for path in parts for view in open_product(lifted.store, path).attrs["views"])
    return sum(max(grid["rows"] * grid["cols"] for grid in view["grids"]) for view in views)


def _finest(view: LiftedView) -> LiftedFeatures:
    """Return the cut with the most cells: its depth is the sharpest."""
    return max(view.lifted, key=lambda one: one.features.grid.cell_count)


def _surface(view: LiftedView) -> _Surface:
    finest = _finest(view)
    grid, z_depth = finest.features.grid, finest.z_depth.double()
    u = grid.origin_u + grid.stride_u * (torch.arange(grid.cols, dtype=torch.float64) + 0.5)
    v = grid.origin_v + grid.stride_v * (torch.arange(grid.rows, dtype=torch.float64) + 0.5)
    uv = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
    if min(grid.rows, grid.cols) < 2:
        nothing = torch.zeros(0, 3, dtype=torch.float64)
        return _Surface(uv.reshape(-1, 2)[:0], nothing, nothing.clone())
    xyz_cam = unproject(uv, z_depth, view.camera.K)
    normals = _normals(xyz_cam)
    # Towards the camera, which is the origin here.
    cosine = -(normals * torch.nn.functional.normalize(xyz_cam, dim=-1)).sum(-1)
    kept = (finest.coverage >= COVERED) & (cosine >= math.cos(math.radians(_STEEPEST_DEG)))
    c2w = view.camera.c2w
    return _Surface(uv[kept], transform(c2w, xyz_cam[kept]), normals[kept] @ c2w[:3, :3].T)


def _normals(xyz_cam: Float[Tensor, "row col 3"]) -> Float[Tensor, "row col 3"]:
    """Return unit normals of the surface through neighbouring cells, towards the camera; NaN beside holes."""
    down, right = torch.gradient(xyz_cam, dim=(0, 1))
    # x right and y down make z forward, which is away from the camera.
    return torch.nn.functional.normalize(torch.linalg.cross(down, right, dim=-1), dim=-1)


def _nearest(
    view: LiftedView, uv: Float[Tensor, "point 2"], shape: tuple[int, ...]
) -> tuple[Int[np.ndarray, " point"], Int[np.ndarray, " point"]]:
    """Return the row and column that pixels fall on, of a map on a grid of cells or over the whole image."""
    rows, cols = shape
    grids = [one.features.grid for one in view.lifted if (one.features.grid.rows, one.features.grid.cols) == shape]
    whole = FeatureGrid(rows, cols, view.camera.size.width / cols, view.camera.size.height / rows)
    grid = (grids or [whole])[0]
    stride, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    # Pixels beside the grid have the cell at its border.
    u = uv[:, 0].clamp(origin[0], origin[0] + stride[0] * cols)
    v = uv[:, 1].clamp(origin[1], origin[1] + stride[1] * rows)
    index = nearest_cells(torch.stack([u, v], dim=-1), rows, cols, stride, origin).numpy()
    return np.divmod(index, cols)


def _values(view: LiftedView, uv: Float[Tensor, "point 2"]) -> dict[str, np.ndarray]:
    """Return what was predicted where the points are; of pictures that is their colour alone."""
    prediction, values = view.prediction, view.prediction.values
    at = _nearest(view, uv, tuple(values.shape[-2:]))
    if prediction.kind == "labels":
        return {"label": values[at].int().numpy()}
    if prediction.kind == "masks":
        return {"label": values.argmax(0)[at].int().numpy()}
    if prediction.kind == "scalar":
        return {"value": values[at].float().numpy()}
    if prediction.kind == "embedding":
        return {f"feature_{index}": one[at].float().numpy() for index, one in enumerate(values[:MOST_FEATURES])}
    return {}
