"""Points followed through all views of a lifted scene, with visibility: ``lift3d.scene_tracks``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.errors import ConfigError, Lift3dError, NoOverlapError, ResourcePromiseError, UnknownNameError, brief
from lift3d.geometry.projection import project
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.results.cloud import depths_of, surface_of
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.opened import open_lifted
from lift3d.storage.location import Store
from lift3d.surface.depth_map import DepthMap
from lift3d.surface.point_tracks import seen_by, surface_at
from lift3d.surface.scene_surface import SceneSurface
from lift3d.tables.schema import DataFrame, stacked

# Points times views: 5 bytes each while they are held, 25 in a file.
MOST_PLACES = 20_000_000
# Rows of a table, each of some 200 bytes.
MOST_ROWS = 4_000_000
# Why a point has no track, or one of a single view.
NO_SURFACE, EMPTY, ALONE = "no-surface", "empty", "no-other-view"
REASONS = {
    NO_SURFACE: "no view knows how far the surface is at that pixel",
    EMPTY: "the view shows that there is nothing at that pixel",
    ALONE: "no other view sees the point",
}

Pixel = tuple[ViewId, float, float]
PixelGrid = tuple[ViewId, float]


@dataclass(frozen=True, eq=False)
class SceneTracks:
    """Points of a scene's surface in all its views.

    Pixels are of views at the height of the run, their origin at the outer corner of the first one. Where a point is in
    a view is computed when it is asked for; what is held are 5 bytes per point and view.

    Attributes:
        lifted: What they were made of.
        views: Ids of the views, in the order of the camera path.
        cameras: Of the views.
        query_view: Position among ``views`` of the view that each point was asked for in.
        query_uv: Its pixel there.
        xyz: The points in the world of the scene's cameras; NaN where there is no surface.
        is_visible: Whether a view sees a point: it is on its image, and nothing known lies before it.
        confidence: How likely the point is right (its depth within 3 %), times how clearly the view sees it or not.
        reasons: Of each point: empty, or which of REASONS.
    """

    lifted: LiftedScene
    views: tuple[ViewId, ...]
    cameras: tuple[Camera, ...]
    query_view: Int[ndarray, " point"]
    query_uv: Float[ndarray, "point 2"]
    xyz: Float[ndarray, "point 3"]
    is_visible: Bool[ndarray, "view point"]
    confidence: Float[ndarray, "view point"]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        """Return how many points there are."""
        return len(self.xyz)

    def __repr__(self) -> str:
        """Return one line."""
        return f"SceneTracks('{self.lifted.name}': {len(self)} points in {len(self.views)} views)"

    def xyz_in(self, view: ViewId) -> Float[ndarray, "point 3"]:
        """Return the points in the frame of a view's camera, world units; UnknownNameError if there is no such view."""
        camera = self.cameras[_place(view, self.views)]
        return np.asarray(transform(camera.w2c, torch.from_numpy(self.xyz)).numpy())

    def uv_in(self, view: ViewId) -> Float[ndarray, "point 2"]:
        """Return the pixels of the points in a view, on its image or beside it; NaN behind the camera."""
        own = torch.from_numpy(self.xyz_in(view))
        return np.asarray(project(own, self.cameras[_place(view, self.views)].K)[0].numpy())

    def to_pandas(self) -> DataFrame:
        """Return a row per point and view: pixel, visibility, confidence, in the camera's frame and in the world.

        ResourcePromiseError of more than MOST_ROWS rows.
        """
        if self.is_visible.size > MOST_ROWS:
            raise ResourcePromiseError(
                f"{len(self)} points in {len(self.views)} views are {self.is_visible.size} rows of a table; at most "
                f"{MOST_ROWS} are made. Write .npz, or follow fewer points or through fewer views."
            )
        tables = []
        for number, view in enumerate(self.views):
            uv, own = self.uv_in(view), self.xyz_in(view)
            columns = {"point": np.arange(len(self)), "view": view, "u": uv[:, 0], "v": uv[:, 1]}
            columns |= {"is_visible": self.is_visible[number], "confidence": self.confidence[number]}
            columns |= {f"{axis}_camera": own[:, place] for place, axis in enumerate("xyz")}
            columns |= {axis: self.xyz[:, place] for place, axis in enumerate("xyz")}
            tables.append(DataFrame({**columns, "is_query": self.query_view == number, "reason": list(self.reasons)}))
        return stacked(tables).sort_values(["point"], kind="stable", ignore_index=True)


def scene_tracks(
    store: Store | str | Path | LiftedScene,
    points: Sequence[Pixel] = (),
    grids: Sequence[PixelGrid] = (),
    *,
    views: Sequence[ViewId] | None = None,
    scene: str | None = None,
    run_id: str | None = None,
    captures: bool = False,
) -> SceneTracks:
    """Follow pixels through all views of a scene: where their points are in each, and which views see them.

    The scene stands still and has one surface: a point is where the ray of its pixel meets it, and a view sees it
    unless the view's own depth lies before it. Views are looked at one after the other, all points together.

    Args:
        store: The store of a run or its URL, or what ``lift3d.lift`` gave.
        points: ``(view, u, v)`` each, in pixels of the view at the height of the run.
        grids: ``(view, step)`` each: a point in the middle of each square of ``step`` pixels of the view.
        views: Those that points are followed through, in this order; all if None.
        scene: Name in the run's table; the first that was lifted if None.
        run_id: The run; the latest if None.
        captures: Whether photographs may be read where the recipe says that they lie, though another began the run.

    Raises:
        ConfigError: If nothing is asked, a pixel is not on its view's image, or views are none or given twice.
        UnknownNameError: If there is no such view.
        ResourcePromiseError: If points times views are more than MOST_PLACES.
        NoOverlapError: If the run has no surface.

    Example:
        >>> tracks = lift3d.scene_tracks("desk-run", [("0003", 80.0, 60.0)], grids=[("0000", 16)])
        >>> tracks.to_pandas()[["point", "view", "u", "v", "is_visible", "confidence"]]
    """
    lifted = store if isinstance(store, LiftedScene) else open_lifted(store, scene, None, None, run_id, captures)
    surface = surface_of(lifted)
    if not surface.views:
        raise NoOverlapError(f"'{lifted.name}' has no surface that views agree on, so there is nothing to follow.")
    known = _ordered(lifted, surface.ids)
    chosen = known if views is None else tuple(views)
    if not chosen or len(set(chosen)) != len(chosen):
        raise ConfigError(f"Of {len(chosen)} views to follow points through {len(set(chosen))} differ; name each once.")
    for name in chosen:
        _place(name, known)
    shown = tuple(depths_of(lifted, surface, chosen))
    cameras = tuple(camera for camera, _ in shown)
    number, uv = _queries(points, grids, chosen, cameras)
    if len(uv) * len(chosen) > MOST_PLACES:
        raise ResourcePromiseError(
            f"{len(uv)} points in {len(chosen)} views are {len(uv) * len(chosen)} places; at most {MOST_PLACES} are "
            "followed at once. Take fewer points, a wider grid, or fewer views."
        )
    return _followed(lifted, surface, chosen, shown, number, uv)


def _followed(
    lifted: LiftedScene,
    surface: SceneSurface,
    chosen: tuple[ViewId, ...],
    shown: Sequence[tuple[Camera, DepthMap]],
    number: Int[Tensor, " point"],
    uv: Float[Tensor, "point 2"],
) -> SceneTracks:
    """Return where the points of pixels are in all chosen views, and which see them; ``number`` says whose they are."""
    cameras = tuple(camera for camera, _ in shown)
    xyz = torch.full((len(uv), 3), torch.nan, dtype=torch.float64)
    sure, is_empty = torch.zeros(len(uv)), torch.zeros(len(uv), dtype=torch.bool)
    for place in sorted({*number.tolist()}):
        camera, depth = shown[place]
        own = torch.nonzero(number == place)[:, 0]
        found = surface_at(surface, camera, depth, uv[own])
        xyz[own], sure[own], is_empty[own] = found.xyz, found.confidence, found.is_empty
    is_visible = np.zeros((len(chosen), len(uv)), dtype=bool)
    confidence = np.zeros((len(chosen), len(uv)), dtype=np.float32)
    is_known = torch.isfinite(xyz).all(1)
    for place, (camera, depth) in enumerate(shown):
        seen, clear = seen_by(surface, camera, depth, xyz)
        # A view sees what it was asked for, however its pixel is rounded.
        is_own = (number == place) & is_known
        is_visible[place] = (seen | is_own).numpy()
        confidence[place] = (sure * torch.where(is_own, 1.0, clear)).numpy()
    reasons = _reasons(is_known.numpy(), is_empty.numpy(), is_visible.sum(0))
    return SceneTracks(
        lifted, chosen, cameras, number.numpy(), uv.numpy(), xyz.numpy(), is_visible, confidence, reasons
    )


def _ordered(lifted: LiftedScene, of_surface: Sequence[ViewId]) -> tuple[ViewId, ...]:
    """Return all views that have depth, in the order of the camera path where it is known."""
    known = dict.fromkeys((*lifted.targets, *of_surface))
    try:
        path = [view.id for view in lifted.scene.views if view.id in known]
    except Lift3dError:
        path = []
    return tuple(dict.fromkeys((*path, *known)))


def _place(view: ViewId, views: Sequence[ViewId]) -> int:
    if view not in views:
        raise UnknownNameError.of("view", view, views)
    return views.index(view)


def _checked(point: Pixel) -> Pixel:
    try:
        view, u, v = point
        return str(view), float(u), float(v)
    except (TypeError, ValueError):
        raise ConfigError(f"A point is (view, u, v), e.g. ('0003', 80, 60); got {brief(point)}.") from None


def _queries(
    points: Sequence[Pixel], grids: Sequence[PixelGrid], views: Sequence[ViewId], cameras: Sequence[Camera]
) -> tuple[Int[Tensor, " point"], Float[Tensor, "point 2"]]:
    """Return the position of the view and the pixel of each query: points first, then grids, row by row."""
    asked = [(_place(view, views), u, v) for view, u, v in map(_checked, points)]
    for at, u, v in asked:
        size = cameras[at].size
        if not (0 <= u <= size.width and 0 <= v <= size.height):
            raise ConfigError(
                f"Pixel ({u:g}, {v:g}) is not on the image of view '{views[at]}', which has {size.width} columns and "
                f"{size.height} rows at the height of the run; expected 0 ≤ u ≤ {size.width}, 0 ≤ v ≤ {size.height}."
            )
    numbers = [torch.tensor([at for at, _, _ in asked], dtype=torch.long)]
    pixels = [torch.tensor([[u, v] for _, u, v in asked], dtype=torch.float64).reshape(-1, 2)]
    for view, step in grids:
        size = cameras[_place(view, views)].size
        widest = min(size.height, size.width)
        if not 1 <= step <= widest:
            raise ConfigError(f"A grid over '{view}' has a step of {step:g} pixels; expected 1 to {widest}.")
        uv = cell_centers(int(size.height // step), int(size.width // step), (step, step)).reshape(-1, 2).double()
        pixels.append(uv)
        numbers.append(torch.full((len(uv),), _place(view, views)))
    number = torch.cat(numbers)
    if not len(number):
        raise ConfigError("No points are asked for. Give pixels (view, u, v), or a grid (view, step) over a view.")
    return number, torch.cat(pixels)


def _reasons(
    is_known: Bool[ndarray, " point"], is_empty: Bool[ndarray, " point"], seen_by_count: Int[ndarray, " point"]
) -> tuple[str, ...]:
    without = np.where(is_empty, EMPTY, NO_SURFACE)
    return tuple(np.where(~is_known, without, np.where(seen_by_count < 2, ALONE, "")).tolist())
