"""Masks of things, without classes, that are the same from every view: ``lift3d.scene_masks``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from lift3d.domain.keys import ViewId
from lift3d.errors import Lift3dError, NoOverlapError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.operators.answers import pixel_grid
from lift3d.pipeline.inputs import Report, quiet
from lift3d.results.cloud import cells_at, depths_of, is_step, map_under, points_in_views, surface_of
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.masks.view_masks import GivenMasks, LabelMaps, checked_maps, label_maps_of, that_has_masks
from lift3d.results.opened import open_lifted
from lift3d.storage.location import Store
from lift3d.surface.cloud import SurfacePoints, surface_points
from lift3d.surface.masks.claims import UNCLAIMED, ViewMasks
from lift3d.surface.masks.graph import PointGraph
from lift3d.surface.masks.merge import NO_MASK, merged_masks
from lift3d.surface.scene_surface import SceneSurface
from lift3d.tables.schema import DataFrame

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

# Half a gigabyte while masks are merged, and a second or two per view.
MOST_POINTS = 200_000
# A pixel has the mask of a point that is at most so many spacings away.
_REACH = 2.0
# A view sees a mask if it sees so much of it.
_SEEN = 0.05


@dataclass(frozen=True, eq=False)
class SceneMasks:
    """Masks on the surface of a scene.

    Attributes:
        lifted: What they were made of.
        surface: Where they lie.
        points: Points of the surface, in the world of the scene's cameras.
        ids: The mask of each point, NO_MASK (−1) if it is in none; 0 is the mask of most points.
        confidence: Of each mask, in [0, 1]: how well single views' 2D masks match it where they see it.
        seen: Share of each mask that each of ``views`` sees.
        views: Ids of the views.
        given: Whether the 2D masks were given, and are none of the operator's.
    """

    lifted: LiftedScene
    surface: SceneSurface
    points: SurfacePoints
    ids: Int[Tensor, " point"]
    confidence: Float[Tensor, " mask"]
    seen: Float[Tensor, "mask view"]
    views: tuple[ViewId, ...]
    given: bool = False

    def __len__(self) -> int:
        """Return how many masks there are."""
        return len(self.confidence)

    def __repr__(self) -> str:
        """Return one line."""
        return f"SceneMasks('{self.lifted.name}', {self.source}: {len(self)} masks of {len(self.ids)} points)"

    @property
    def source(self) -> str:
        """Whose the 2D masks are: the operator, or ``given``."""
        return "given" if self.given else self.lifted.operator

    @property
    def xyz(self) -> Float[Tensor, "point 3"]:
        """Where the points are, in the world of the scene's cameras."""
        return self.points.xyz

    def labels(self, view: ViewId) -> Int[ndarray, "height width"]:
        """Return the mask at each pixel of a view, at the height of the run; −1 where there is none.

        Each pixel has the mask of the point of the surface nearest to what it sees.
        """
        return next(self._label_maps((view,)))

    def label_maps(self) -> Iterator[tuple[ViewId, Int[ndarray, "height width"]]]:
        """Yield ``labels`` of every view."""
        return zip(self.views, self._label_maps(self.views), strict=True)

    def ids_at(self, xyz: Float[ndarray, "place 3"]) -> Int[ndarray, " place"]:
        """Return the mask at places in the world of the scene's cameras: that of the nearest point; −1 beside them."""
        _, near = self._tree.query(xyz, distance_upper_bound=_REACH * self.points.spacing)
        ids: Int[ndarray, " place"] = np.append(self.ids.numpy(), NO_MASK)[near]
        return ids

    def to_pandas(self) -> DataFrame:
        """Return a line per mask: points, views that see it, extent and bounds in units of the world, confidence."""
        lines = []
        for number, sure in enumerate(self.confidence.tolist()):
            xyz = self.xyz[self.ids == number]
            low, high = xyz.amin(0), xyz.amax(0)
            sides = dict(zip(("x_min", "y_min", "z_min"), low.tolist(), strict=True))
            sides |= dict(zip(("x_max", "y_max", "z_max"), high.tolist(), strict=True))
            views = int((self.seen[number] > _SEEN).sum())
            extent = float((high - low).norm())
            lines.append(
                {"id": number, "points": len(xyz), "views": views, "extent": extent, "confidence": sure, **sides}
            )
        columns = ["id", "points", "views", "extent", "confidence"]
        columns += [f"{axis}_{end}" for end in ("min", "max") for axis in "xyz"]
        return DataFrame(lines, columns=columns)

    def _label_maps(self, views: tuple[ViewId, ...]) -> Iterator[Int[ndarray, "height width"]]:
        for camera, depth in depths_of(self.lifted, self.surface, views):
            uv = cell_centers(camera.size.height, camera.size.width)
            z_depth = depth.at(uv.reshape(-1, 2).float()).double()
            own = unproject(uv.reshape(-1, 2).double(), z_depth, camera.K)
            is_known = torch.isfinite(own).all(1).numpy()
            world = transform(camera.c2w, own).numpy()[is_known]
            labels = np.full(len(is_known), NO_MASK)
            labels[is_known] = self.ids_at(world)
            yield labels.reshape(camera.size.height, camera.size.width)

    @cached_property
    def _tree(self) -> "cKDTree":
        from scipy.spatial import cKDTree

        return cKDTree(self.xyz.numpy())


def scene_masks(
    store: Store | str | Path | LiftedScene,
    scene: str | None = None,
    operator: str | None = None,
    *,
    run_id: str | None = None,
    captures: bool = False,
    masks: GivenMasks | None = None,
    most_points: int = MOST_POINTS,
    report: Report = quiet,
) -> SceneMasks:
    """Merge the 2D masks of a scene's views on its surface, so that one thing has one id from everywhere.

    The ids of 2D masks mean nothing in another view, and views may be segmented more or less finely. They come from
    the plain 2D answers of the run: masks as they are, labels as connected pixels, features (an embedding) as regions
    of the photograph that are joined where features are alike.

    Args:
        store: The store of a run or its URL, or what ``lift3d.lift`` gave.
        scene: Name in the run's table; the first that was lifted if None.
        operator: The first of the recipe whose answers have masks if None.
        run_id: The run; the latest if None.
        captures: Whether photographs are read where the recipe says that they lie, though another began the run.
        masks: 2D masks of one's own in place of the operator's, by view id or as a function of it: a label map of
            integers (height, width), −1 for none; masks that may overlap, booleans (mask, height, width); or a list.
        most_points: Of the surface; time and memory grow with it.
        report: Called with "masks", how many views were looked at, and of how many.

    Raises:
        NoOverlapError: If there is no surface, or no view has a mask.
        ContractError: If the operator's answers, or ``masks``, are none.
        SceneError: If photographs are needed and may not be read.

    Example:
        >>> found = lift3d.scene_masks("desk-run", operator="tiny:encoder")
        >>> found.to_pandas()[["id", "points", "views", "confidence"]]
        >>> found.labels(found.views[0])  # ids at the pixels of a view
    """
    lifted = store if isinstance(store, LiftedScene) else open_lifted(store, scene, operator, None, run_id, captures)
    if operator is None and masks is None and not isinstance(store, LiftedScene):
        lifted = that_has_masks(lifted)
    maps_of = label_maps_of(lifted) if masks is None else checked_maps(masks)
    surface = surface_of(lifted)
    points = surface_points(surface, most_points)
    if not len(points.xyz):
        raise NoOverlapError(
            f"'{lifted.name}' has no surface that views agree on, so there is nothing for masks to lie on; expected "
            "views that overlap and agree on depth."
        )
    return replace(merged_on(lifted, surface, points, maps_of, report), given=masks is not None)


def merged_on(
    lifted: LiftedScene,
    surface: SceneSurface,
    points: SurfacePoints,
    maps_of: Callable[[ViewId], LabelMaps],
    report: Report = quiet,
) -> SceneMasks:
    """Merge 2D masks of views on points of a surface; views are looked at one after the other."""
    views = lifted.compared
    graph = point_graph(lifted, surface, points)
    has_any = []

    def said() -> Iterator[ViewMasks]:
        for one in masks_at_points(lifted, surface, points, maps_of):
            has_any.append(any(bool((labels != UNCLAIMED).any()) for labels in one.layers))
            report("masks", len(has_any), len(views))
            yield one

    found = merged_masks(graph, said())
    if not any(has_any):
        raise NoOverlapError(
            f"No 2D mask lies on the surface of '{lifted.name}': {len(views)} views were asked. Look at the masks, or, "
            f"where they are those of '{lifted.operator}', at its plain answers: lift3d report, column 2D."
        )
    seen = np.zeros((len(found.confidence), len(views)))
    seen[:, : found.seen.shape[1]] = found.seen
    return SceneMasks(
        lifted,
        surface,
        points,
        torch.from_numpy(found.ids),
        torch.from_numpy(found.confidence),
        torch.from_numpy(seen),
        views,
    )


def point_graph(lifted: LiftedScene, surface: SceneSurface, points: SurfacePoints) -> PointGraph:
    """Return points with their neighbours, and with their colours if photographs may be read."""
    xyz, normals = points.xyz.numpy(), points.normals.numpy()
    try:
        lab = _colours(lifted, surface, points)
    except Lift3dError:
        # A capture that has gone, or is a stranger's: bends and masks are what there is.
        lab = None
    return PointGraph.of(xyz, normals, points.spacing, lab)


def masks_at_points(
    lifted: LiftedScene, surface: SceneSurface, points: SurfacePoints, maps_of: Callable[[ViewId], LabelMaps]
) -> Iterator[ViewMasks]:
    """Yield what views' label maps say of the points that they see, but not at outlines, where masks are off."""
    views = lifted.compared
    for view, seen in zip(views, points_in_views(lifted, surface, points, views), strict=True):
        is_seen = (seen.quality > 0) & ~is_step(seen.depth, seen.uv, surface.tolerance)
        uv = seen.uv[is_seen]
        layers = [map_under(labels, seen.camera, (), uv) for labels in maps_of(view)]
        yield ViewMasks(torch.nonzero(is_seen)[:, 0].numpy(), layers)


def _colours(lifted: LiftedScene, surface: SceneSurface, points: SurfacePoints) -> Float[ndarray, "point 3"]:
    """Return CIELAB colours in units of 100, the mean over views by how well they see a point."""
    from skimage.color import rgb2lab

    total, weight = torch.zeros(len(points.xyz), 3, dtype=torch.float64), torch.zeros(len(points.xyz))
    for view, seen in zip(lifted.compared, points_in_views(lifted, surface, points, lifted.compared), strict=True):
        frame = lifted.scene.view(view).load(lifted.recipe.image_height)
        cell = cells_at(pixel_grid(frame.camera.size), seen.uv.nan_to_num(0.0))
        is_good = ~is_step(seen.depth, seen.uv, surface.tolerance) & frame.is_valid.flatten()[cell]
        weight_here = seen.quality * is_good
        total += frame.image.flatten(1).T.double()[cell] * weight_here[:, None]
        weight = weight + weight_here
    mean = total / weight.clamp(min=1e-12)[:, None]
    return np.asarray(rgb2lab(mean.numpy()[None])[0] / 100)
