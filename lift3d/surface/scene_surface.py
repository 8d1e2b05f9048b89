"""The surface of a scene as all its views show it: what is asked of it is where it is, and who sees it how well.

Letters: t is the camera that asks, v a view of the geometry, q the quality of a view at a point: image pixels per
unit of surface, up to one constant of the scene.
"""

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import inverse
from lift3d.geometry.sampling import nearest_cells, taken
from lift3d.surface.catalog import geometry_spec
from lift3d.surface.culling import Asked, corners_of, may_lie_inside
from lift3d.surface.held import table
from lift3d.surface.look import SEEN_WITHIN, Look

# A surface seen at a lower cosine than this counts as seen at it: normals of noisy depth are no better.
_LEAST_COSINE = 0.1
# Cells within which a view's quality rises from its border: what is cut off there is not seen well.
_BORDER_PX = 4.0
# Views asked together: their points stay in the caches.
VIEWS_AT_ONCE = 16
# Places of a view, along either side of its image, by which is told what it shows of others.
_SPARSE = 24


@dataclass(frozen=True, slots=True, eq=False)
class SeenSurface:
    """What one view shows of the surface.

    Attributes:
        id: The view.
        camera: Its camera.
        grid: Of the cells.
        z_depth: Camera z; NaN where unknown, infinite where there is nothing.
        confidence: How sure it is, 0 where unknown.
        quality: Image pixels per unit of surface, 0 without one.
    """

    id: ViewId
    camera: Camera
    grid: FeatureGrid
    z_depth: Float[Tensor, "row col"]
    confidence: Float[Tensor, "row col"]
    quality: Float[Tensor, "row col"]

    @classmethod
    def of(cls, name: ViewId, view: ViewGeometry) -> "SeenSurface":
        """Measure how well a view sees each of its cells: cos(angle to the normal) · f² / z², less at its border."""
        uv = cell_centers(*view.grid.lattice)
        points = unproject(uv, view.z_depth, view.camera.K.float())
        cosine = _cosine_to_normal(points)
        focal2 = float(view.camera.K[0, 0] * view.camera.K[1, 1])
        size = view.camera.size
        edge = torch.minimum(
            torch.minimum(uv[..., 0], size.width - uv[..., 0]), torch.minimum(uv[..., 1], size.height - uv[..., 1])
        )
        quality = cosine * focal2 / view.z_depth.square() * (edge / _BORDER_PX).clamp(max=1)
        known = ~torch.isnan(view.z_depth) & (view.confidence > 0)
        return cls(
            name,
            view.camera,
            view.grid,
            torch.where(known, view.z_depth, torch.nan),
            torch.where(known, view.confidence, 0.0),
            torch.where(known & torch.isfinite(view.z_depth), quality, 0.0),
        )


class SceneSurface:
    """The surface, looked up by points.

    Args:
        method: What found it.
        views: What each view shows of it, by id, so that no sum and no tie depends on the order in which views come.
        keyframes: Indices of the views that own it, in order (``keyframes.keyframes``); empty until they are chosen.
        cell_count: Cells of all views; to be told if views are made one after the other, so that none is held twice.
    """

    def __init__(
        self,
        method: str,
        views: Iterable[SeenSurface],
        keyframes: tuple[int, ...] = (),
        *,
        cell_count: int | None = None,
    ) -> None:
        self.method, self.keyframes = method, keyframes
        # A point lies on what a view sees if their depths differ by less than this share; twice as far it does not.
        self.tolerance = geometry_spec(method).tolerance
        self.painters = geometry_spec(method).painters
        if cell_count is None:
            views = tuple(views)
            cell_count = sum(one.grid.cell_count for one in views)
        # A row of depth, confidence and quality per cell of all views, one view after the other; their maps are columns
        # of these.
        self._cells = table(cell_count, 3)
        self.views = tuple(_laid_into(self._cells, views))
        self._has_empty = bool(torch.isinf(self._cells[:, 0]).any())
        self._offsets = torch.tensor([[0, *(one.grid.cell_count for one in self.views[:-1])]]).cumsum(1).T
        lattices = [one.grid.lattice for one in self.views]
        # Rows, columns, strides and origins, a column per view.
        self._lattices = torch.tensor([(rows, cols, *at, *of) for rows, cols, at, of in lattices]).T[..., None]
        self._K = torch.stack([one.camera.K for one in self.views])
        self._w2c = torch.stack([one.camera.w2c for one in self.views])
        # Farther away than this a view says nothing: all that it knows lies before it. Infinite where it sees nothing.
        farthest = [one.z_depth.nan_to_num(0.0, posinf=torch.inf).amax() for one in self.views]
        self._farthest = torch.stack(farthest) / (1 - SEEN_WITHIN * self.tolerance)
        # One camera asks many times before the next one does.
        self._asking: tuple[Camera, Tensor, Tensor] | None = None

    def part(self, places: Iterable[int]) -> "SceneSurface":
        """Return what some of the views alone show; nobody owns it."""
        chosen = sorted(places)
        part = copy(self)
        part.views, part.keyframes, part._asking = tuple(self.views[place] for place in chosen), (), None
        part._offsets, part._lattices = self._offsets[chosen], self._lattices[:, chosen]
        part._K, part._w2c, part._farthest = self._K[chosen], self._w2c[chosen], self._farthest[chosen]
        for kept in ("ids", "sparse", "_corners"):
            part.__dict__.pop(kept, None)
        if "sparse" in self.__dict__:
            part.__dict__["sparse"] = self.sparse[chosen]
        return part

    @classmethod
    def of(cls, geometry: SceneGeometry, keyframes: tuple[int, ...] = ()) -> "SceneSurface":
        """Return the surface that a scene's views show."""
        views = (SeenSurface.of(name, view) for name, view in sorted(geometry.views.items()))
        cell_count = sum(view.grid.cell_count for view in geometry.views.values())
        return cls(geometry.method, views, keyframes, cell_count=cell_count)

    @cached_property
    def ids(self) -> tuple[ViewId, ...]:
        """Ids of the views."""
        return tuple(view.id for view in self.views)

    def view_of(self, camera: Camera) -> SeenSurface | None:
        """Return the view that a camera is, if it is one that knows anything of the surface."""
        is_there = (self._K == camera.K).all(2).all(1) & (self._w2c == camera.w2c).all(2).all(1)
        alike = (self.views[place] for place in torch.nonzero(is_there)[:, 0].tolist())
        known = (view for view in alike if view.camera.size == camera.size and bool((view.confidence > 0).any()))
        return next(known, None)

    @cached_property
    def sparse(self) -> Float[Tensor, "view 3 point"]:
        """A few places of each view, homogeneous pixels times depth; NaN where unknown."""
        return torch.stack([_sparse_places(view) for view in self.views])

    def maps_of(self, camera: Camera) -> tuple[Float[Tensor, "view 3 3"], Float[Tensor, "view 3"]]:
        """Return what takes pixels of a camera to those of views: ``z · slope @ (u, v, 1) + offset``."""
        if self._asking is None or self._asking[0] is not camera:
            to_view = self._w2c @ camera.c2w
            # Composed in double precision: the world may lie far from its origin.
            slope = self._K @ to_view[:, :3, :3] @ torch.linalg.inv(camera.K)
            offset = (self._K @ to_view[:, :3, 3:])[..., 0]
            self._asking = camera, slope.to(self._cells), offset.to(self._cells)
        return self._asking[1:]

    def maps_to(self, camera: Camera) -> tuple[Float[Tensor, "view 3 3"], Float[Tensor, "view 3"]]:
        """Return what takes pixels of views to those of a camera, as ``maps_of``."""
        to_camera = camera.w2c @ inverse(self._w2c)
        slope = camera.K @ to_camera[:, :3, :3] @ torch.linalg.inv(self._K)
        return slope.to(self._cells), (to_camera[:, :3, 3] @ camera.K.T).to(self._cells)

    def centers_in(self, camera: Camera) -> Float[Tensor, "view 3"]:
        """Return where the views stand, in a camera's frame."""
        centers = -(self._w2c[:, :3, :3].transpose(1, 2) @ self._w2c[:, :3, 3:])[..., 0]
        return (centers @ camera.w2c[:3, :3].T + camera.w2c[:3, 3]).to(self._cells)

    def asked(
        self,
        camera: Camera,
        uv: Float[Tensor, "point 2"],
        z_depth: Float[Tensor, " point"],
        *,
        is_allowed: Bool[Tensor, " view"] | None = None,
        may_be_hidden: bool = False,
    ) -> Asked:
        """Return the views that may say anything of points on the rays of a camera; of those that are allowed.

        Others neither show one nor see through one. What lies behind all that a view knows is its to say only if points
        ``may_be_hidden``: where nothing is known on its image, the view is open to them (``Look.is_open``).
        """
        if self._is_one_block or not len(z_depth):
            return Asked.everyone(len(self.views), VIEWS_AT_ONCE)
        # Without any depth both are infinite, and no place is told to be outside.
        is_point = torch.isfinite(z_depth)
        near = torch.where(is_point, z_depth, torch.inf).amin()
        far = torch.where(is_point, z_depth, 0.0).amax()
        corners = corners_of(uv.amin(0), uv.amax(0), near, far)
        rows, cols, stride_u, stride_v, origin_u, origin_v = self._lattices[..., 0]
        low = torch.stack([origin_u, origin_v], dim=-1)
        high = low + torch.stack([cols * stride_u, rows * stride_v], dim=-1)
        farthest = torch.full_like(self._farthest, torch.inf) if may_be_hidden else self._farthest
        may_say = may_lie_inside(corners[None], *self.maps_of(camera), low, high, farthest)
        return Asked.of(may_say if is_allowed is None else may_say & is_allowed, VIEWS_AT_ONCE)

    def falling_on(self, camera: Camera) -> list[int]:
        """Return the views of which any sparse place may be on a camera's image."""
        if self._is_one_block:
            return [*range(len(self.views))]
        extent = torch.tensor([[float(camera.size.width), float(camera.size.height)]])
        beyond_all = torch.tensor([torch.inf])
        may_fall = may_lie_inside(self._corners, *self.maps_to(camera), torch.zeros(1, 2), extent, beyond_all)
        places: list[int] = torch.nonzero(may_fall & ~torch.isnan(self._corners).any(2).any(1))[:, 0].tolist()
        return places

    @property
    def _is_one_block(self) -> bool:
        """Whether there are so few views that telling which to ask is no less work than asking them."""
        return len(self.views) <= VIEWS_AT_ONCE

    @cached_property
    def _corners(self) -> Float[Tensor, "view 3 8"]:
        """Of what lies between the nearest and the farthest of each view's sparse places; NaN without one."""
        z_depth = self.sparse[:, 2]
        near, far = z_depth.nan_to_num(torch.inf).amin(1), z_depth.nan_to_num(-torch.inf).amax(1)
        size = torch.tensor([[float(one.camera.size.width), float(one.camera.size.height)] for one in self.views])
        return corners_of(torch.zeros_like(size), size, near, torch.where(far > 0, far, torch.nan))

    def look(
        self,
        camera: Camera,
        uv: Float[Tensor, "point 2"],
        z_depth: Float[Tensor, " point"],
        asked: Asked | None = None,
    ) -> Look:
        """Ask views, all unless it is said which, for points on the rays of a camera."""
        if asked is None:
            asked = Asked.everyone(len(self.views), VIEWS_AT_ONCE)
        shape = (len(asked.views), len(z_depth))
        beyond, confidence, quality = (torch.empty(shape) for _ in range(3))
        inside = torch.zeros(shape, dtype=torch.bool)
        emptied = torch.zeros(shape if self._has_empty else (len(asked.views), 0), dtype=torch.bool)
        slope, offset = self.maps_of(camera)
        pixel = torch.cat([uv.T, torch.ones_like(uv[:, 0])[None]])
        for number, block in enumerate(asked.blocks):
            at = slice(number * VIEWS_AT_ONCE, (number + 1) * VIEWS_AT_ONCE)
            rays = slope[block] @ pixel
            x, y, z = (torch.addcmul(offset[block, axis, None], rays[:, axis], z_depth) for axis in range(3))
            rows, cols, stride_u, stride_v, origin_u, origin_v = self._lattices[:, block]
            row = ((y / z - origin_v) / stride_v).floor()
            col = ((x / z - origin_u) / stride_u).floor()
            is_on_image = (z > 0) & (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
            cell = torch.where(is_on_image, row * cols + col, 0.0).long()
            seen_z, sure, good = taken(self._cells, cell + self._offsets[block]).unbind(-1)
            inside[at] = is_on_image
            beyond[at] = torch.where(is_on_image, seen_z / z - 1, torch.nan) / self.tolerance
            confidence[at] = sure
            quality[at] = torch.where(beyond[at].abs() < SEEN_WITHIN, good, 0.0)
            if self._has_empty:
                emptied[at] = torch.isinf(seen_z) & is_on_image
        return Look(beyond.T, confidence.T, quality.T, inside.T, emptied.T if self._has_empty else None)


def _laid_into(cells: Float[Tensor, "cell 3"], views: Iterable[SeenSurface]) -> Iterator[SeenSurface]:
    """Yield the views with their maps in these rows, one view after the other."""
    start = 0
    for one in views:
        rows = cells[start : start + one.grid.cell_count].view(*one.grid.shape, 3)
        rows.copy_(torch.stack([one.z_depth, one.confidence, one.quality], dim=-1))
        z_depth, confidence, quality = rows.unbind(-1)
        yield replace(one, z_depth=z_depth, confidence=confidence, quality=quality)
        start += one.grid.cell_count


def _sparse_places(view: SeenSurface) -> Float[Tensor, "3 point"]:
    uv = cell_centers(_SPARSE, _SPARSE, (view.camera.size.width / _SPARSE, view.camera.size.height / _SPARSE))
    uv = uv.reshape(-1, 2)
    z_depth = view.z_depth.reshape(-1)[nearest_cells(uv, *view.grid.lattice)]
    return torch.cat([uv.T, torch.ones(1, len(uv))]) * torch.where(torch.isfinite(z_depth), z_depth, torch.nan)


def _cosine_to_normal(points: Float[Tensor, "row col 3"]) -> Float[Tensor, "row col"]:
    """Return the cosine between each cell's ray and the normal of the surface through its neighbours."""
    padded = torch.nn.functional.pad(points.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")[0]
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    normal = torch.linalg.cross(across, down, dim=0)
    ray = points.permute(2, 0, 1)
    # PyTorch's norm takes twenty times as long along the first axis.
    lengths = [torch.linalg.vecdot(one, one, dim=0).sqrt() for one in (normal, ray)]
    cosine = (normal * ray).sum(0).abs() / (lengths[0] * lengths[1]).clamp(min=1e-30)
    known: Tensor = cosine.nan_to_num(0.5).clamp(min=_LEAST_COSINE)
    return known
