"""Depth of every view moved to what the other views say of the same places: sensors and stereo err independently.

Letters: v is the view whose cells are asked about, u a view that is asked; a vote is u's depth there as a multiple of
the depth that v's cell has in u.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import SceneFormatError
from lift3d.geometry.plane_sweep import Lookup, pencils
from lift3d.geometry.projection import MIN_Z
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import cells_at, nearest_cells
from lift3d.surface.held import held
from lift3d.surface.pose_check import misread_depth, what_views_would_fit

# Votes within this share of the depth are of the same surface.
AGREEMENT = 0.03
# Views asked per view: those that share most with it.
NEIGHBOUR_COUNT = 20

# What a view's neighbours say is itself moved by theirs.
ROUNDS = 2
# Pixels between the cells by which shared surface is counted.
PITCH_PX = 16.0
# Views with their own poses confirm three quarters of each other's places and more; with each other's, or depth in
# another unit, one in ten to a half. So few places tell nothing.
_LEAST_SUPPORT, _USUAL_SUPPORT, _FEWEST_PLACES = 0.4, 0.75, 20.0
# So many views that see nothing of each other may be of a capture whose depth is a thousand times too small.
_FEWEST_VIEWS = 5
# Depth is mixed between cells whose depths differ by less than this, relative; else the nearest one is read.
_SMOOTH = 0.02
# Views are asked together for so many points in all, and with so many cells.
_POINTS_AT_ONCE, _CELLS_AT_ONCE = 2**17, 2**20
# Coordinates beyond 1 are outside, and farther is not more so.
_FAR_OUTSIDE = 2.0


def agreed(geometry: SceneGeometry, tolerance: float = AGREEMENT) -> SceneGeometry:
    """Return each cell's depth as the mean of its own and of all votes within the tolerance, weighed by confidence.

    Confidence falls with the share of views that look through the place: ``c · support / (support + opposition)``.

    Raises:
        SceneFormatError: If most of what views know of the same places is contradicted, or would be much less so in
            another convention of poses or depth.
    """
    views = geometry.views
    neighbours, support, opposition = _neighbours(views, tolerance)
    _require_agreement(views, support, opposition)
    cell_count = sum(view.grid.cell_count for view in views.values())
    for _ in range(ROUNDS):
        before = views
        views = held(((name, _moved(name, before, neighbours[name], tolerance)) for name in before), cell_count)
    return SceneGeometry(geometry.method, views)


def _require_agreement(views: Mapping[ViewId, ViewGeometry], support: float, opposition: float) -> None:
    """Refuse depth that others contradict, and such that would agree if poses or depth were read otherwise."""
    total = support + opposition
    if total <= _FEWEST_PLACES and len(views) < _FEWEST_VIEWS:
        return
    remedy = what_views_would_fit(views) if support < _USUAL_SUPPORT * total or total <= _FEWEST_PLACES else ""
    if remedy or (total > _FEWEST_PLACES and support < _LEAST_SUPPORT * total):
        said = f"contradicted at {opposition / max(total, 1.0):.0%} of the places that others look at"
        # Of long messages the beginning is shown.
        raise SceneFormatError(
            f"{remedy} As they are, the depth of the views is {said}."
            if remedy
            else f"The depth of the views is {said}: their poses are wrong, or depth is in another unit than the "
            "cameras. Correct one of them."
        )
    if said := misread_depth(views):
        raise SceneFormatError(said)


def _neighbours(
    views: Mapping[ViewId, ViewGeometry], tolerance: float
) -> tuple[dict[ViewId, list[ViewId]], float, float]:
    """Return the views that see most of what each view sees, by a sparse lattice; ties go to the smaller id.

    And how many places of all views others confirm, and how many they see through, weighed by confidence.
    """
    places = {name: _sparse_places(view) for name, view in views.items()}
    best: dict[ViewId, list[tuple[float, ViewId]]] = {name: [] for name in views}
    support = opposition = 0.0
    for asked in _asked(sorted(views), views, max(len(uv) for uv, _, _ in places.values())):
        # Taken down from a device once for all views.
        said = torch.stack([_said(name, places[name], views[name], asked, tolerance) for name in places]).cpu()
        support += float(said[:, 1].double().sum())
        opposition += float(said[:, 2].double().sum())
        for name, counts in zip(places, said[:, 0], strict=True):
            most, at = (one[:NEIGHBOUR_COUNT].tolist() for one in counts.sort(descending=True, stable=True))
            found = [(-count, asked.names[place]) for count, place in zip(most, at, strict=True) if count > 0]
            best[name] = sorted(best[name] + found)[:NEIGHBOUR_COUNT]
    return {name: [other for _, other in found] for name, found in best.items()}, support, opposition


def _said(
    name: ViewId, places: tuple[Tensor, Tensor, Tensor], view: ViewGeometry, asked: "_Asked", tolerance: float
) -> Float[Tensor, "3 view"]:
    """Return how much of a view's sparse places others see, confirm, and see through; nothing of the view itself."""
    uv, z, own = places
    vote, confidence = _votes(uv, z, view, asked)
    if name in asked.names:
        confidence[asked.names.index(name)] = 0.0
    off, sure = (vote - 1).abs(), confidence * own
    said = (off < 2 * tolerance, confidence), (off < tolerance, sure), (vote > 1 + tolerance, sure)
    return torch.stack([(is_said.float() * by).sum(1) for is_said, by in said])


def _sparse_places(
    view: ViewGeometry,
) -> tuple[Float[Tensor, "point 2"], Float[Tensor, " point"], Float[Tensor, " point"]]:
    """Return the pixels of a sparse lattice of a view, their depth and its confidence."""
    uv = cell_centers(*FeatureGrid.covering(view.camera.size, PITCH_PX).lattice).reshape(-1, 2)
    at = nearest_cells(uv, *view.grid.lattice)
    return uv, view.z_depth.reshape(-1)[at], view.confidence.reshape(-1)[at]


def _moved(
    name: ViewId, views: Mapping[ViewId, ViewGeometry], neighbours: Sequence[ViewId], tolerance: float
) -> ViewGeometry:
    view = views[name]
    uv, z = cell_centers(*view.grid.lattice).reshape(-1, 2), view.z_depth.reshape(-1)
    own = view.confidence.reshape(-1)
    support, drift, opposition = own.clone(), torch.zeros_like(z), torch.zeros_like(z)
    # In an order of their own, so that sums do not depend on that of the views.
    for asked in _asked(sorted(neighbours), views, len(uv)):
        for vote, confidence in zip(*_votes(uv, z, view, asked), strict=True):
            agrees = (vote - 1).abs() < tolerance
            weight = torch.where(agrees, confidence, 0.0)
            support += weight
            drift += weight * torch.where(agrees, vote - 1, 0.0)
            opposition += torch.where(vote > 1 + tolerance, confidence, 0.0)
    is_known = support > 0
    z_depth = torch.where(is_known, z * (1 + drift / torch.where(is_known, support, 1.0)), torch.nan)
    kept = torch.where(is_known, own * support / (support + opposition).clamp(min=1e-12), 0.0)
    is_left = torch.isfinite(z_depth) & (kept > 0)
    return ViewGeometry(
        view.camera,
        view.grid,
        torch.where(is_left, z_depth, torch.nan).reshape(view.grid.shape),
        torch.where(is_left, kept, 0.0).reshape(view.grid.shape),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Views of one lattice that are asked together."""

    names: Sequence[ViewId]
    cameras: Lookup
    z_depth: Float[Tensor, "view row col"]
    confidence: Float[Tensor, "view row col"]

    @classmethod
    def of(cls, names: Sequence[ViewId], views: Sequence[ViewGeometry]) -> "_Asked":
        z_depth, confidence = (torch.stack([getattr(one, what) for one in views]) for what in ("z_depth", "confidence"))
        return cls(names, Lookup.of([one.camera for one in views]), z_depth, confidence)


def _asked(names: Sequence[ViewId], views: Mapping[ViewId, ViewGeometry], point_count: int) -> Iterator[_Asked]:
    """Yield views in their order, as many together as have one lattice and are bounded with so many points."""
    for shape, group in groupby(names, key=lambda name: views[name].grid.shape):
        alike = list(group)
        step = max(1, min(_POINTS_AT_ONCE // point_count, _CELLS_AT_ONCE // math.prod(shape)))
        for start in range(0, len(alike), step):
            some = alike[start : start + step]
            yield _Asked.of(some, [views[name] for name in some])


def _votes(
    uv: Float[Tensor, "point 2"], z_depth: Float[Tensor, " point"], view: ViewGeometry, asked: _Asked
) -> tuple[Float[Tensor, "view point"], Float[Tensor, "view point"]]:
    """Return other views' depth at points of a view as a multiple of theirs, NaN without one, and its confidence."""
    is_known = torch.isfinite(z_depth)
    known = torch.where(is_known, z_depth, 1.0)
    at, ratio = _followed(uv, 1 / known, view, asked)
    cell = cells_at(at, *asked.z_depth.shape[1:])
    is_on_image = is_known & (cell >= 0)
    nearest, confidence = (one.flatten(1).gather(1, cell.clamp(min=0)) for one in (asked.z_depth, asked.confidence))
    read = F.grid_sample(1 / asked.z_depth[:, None], at[:, None], padding_mode="border", align_corners=False)
    between = 1 / read[:, 0, 0]
    seen = torch.where((between / nearest - 1).abs() < _SMOOTH, between, nearest)
    vote = torch.where(is_on_image, seen / (ratio * known), torch.nan)
    return vote, torch.where(torch.isnan(vote), 0.0, confidence)


def _followed(
    uv: Float[Tensor, "point 2"], disparity: Float[Tensor, " point"], view: ViewGeometry, asked: _Asked
) -> tuple[Float[Tensor, "view point 2"], Float[Tensor, "view point"]]:
    """Return where points of a view lie in others, and their depth there as a multiple of their own (as ``Sweep``)."""
    both = torch.from_numpy(pencils(view.camera, asked.cameras)).float().to(uv.device)
    start = torch.baddbmm(both[:, :, 2:3], both[:, :, :2], uv.float().T.expand(len(both), -1, -1))
    x, y, z = (start + both[:, :, 3:] * disparity).unbind(1)
    is_behind = z <= MIN_Z
    at = torch.stack([x, y], dim=-1) / z.clamp(min=MIN_Z)[..., None]
    return at.clamp_(-_FAR_OUTSIDE, _FAR_OUTSIDE).masked_fill(is_behind[..., None], _FAR_OUTSIDE), z
