"""Depth of every view moved to what the other views say of the same places: sensors and stereo err independently.

Letters: v is the view whose cells are asked about, u a view that is asked; a vote is u's depth there as a multiple of
the depth that v's cell has in u.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import SceneFormatError
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import cells_at, nearest_cells, read_planes

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
_LEAST_SUPPORT, _FEWEST_PLACES = 0.4, 20.0
# Depth is mixed between cells whose depths differ by less than this, relative; else the nearest one is read.
_SMOOTH = 0.02


def agreed(geometry: SceneGeometry, tolerance: float = AGREEMENT) -> SceneGeometry:
    """Return each cell's depth as the mean of its own and of all votes within the tolerance, weighed by confidence.

    Confidence falls with the share of views that look through the place: ``c · support / (support + opposition)``.

    Raises:
        SceneFormatError: If most of what views know of the same places is contradicted.
    """
    views = geometry.views
    found = {name: _neighbours(name, views, tolerance) for name in views}
    support, opposition = (sum(one[side] for one in found.values()) for side in (1, 2))
    if support + opposition > _FEWEST_PLACES and support < _LEAST_SUPPORT * (support + opposition):
        raise SceneFormatError(
            f"The depth of the views is contradicted at {opposition / (support + opposition):.0%} of the places that "
            "others look at: their poses are wrong, or depth is in another unit than the cameras. Correct one of them."
        )
    neighbours = {name: chosen for name, (chosen, _, _) in found.items()}
    for _ in range(ROUNDS):
        views = {name: _moved(name, views, neighbours[name], tolerance) for name in views}
    return SceneGeometry(geometry.method, views)


def _neighbours(
    name: ViewId, views: Mapping[ViewId, ViewGeometry], tolerance: float
) -> tuple[Sequence[ViewId], float, float]:
    """Return the views that see most of what a view sees, by a sparse lattice; ties go to the smaller id.

    And how many of its places all others together confirm, and how many they see through, weighed by confidence.
    """
    view = views[name]
    grid = FeatureGrid.covering(view.camera.size, PITCH_PX)
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    at = nearest_cells(uv, *view.grid.lattice)
    z, own = view.z_depth.reshape(-1)[at], view.confidence.reshape(-1)[at]
    counts, support, opposition = [], 0.0, 0.0
    for other in sorted(views):
        if other != name:
            vote, confidence = _votes(uv, z, view, views[other])
            counts.append((-float(((vote - 1).abs() < 2 * tolerance).float().mul(confidence).sum()), other))
            support += float(((vote - 1).abs() < tolerance).float().mul(confidence * own).sum())
            opposition += float((vote > 1 + tolerance).float().mul(confidence * own).sum())
    return [other for count, other in sorted(counts)[:NEIGHBOUR_COUNT] if count < 0], support, opposition


def _moved(
    name: ViewId, views: Mapping[ViewId, ViewGeometry], neighbours: Sequence[ViewId], tolerance: float
) -> ViewGeometry:
    view = views[name]
    uv, z = cell_centers(*view.grid.lattice).reshape(-1, 2), view.z_depth.reshape(-1)
    own = view.confidence.reshape(-1)
    support, drift, opposition = own.clone(), torch.zeros_like(z), torch.zeros_like(z)
    # In an order of their own, so that sums do not depend on that of the views.
    for other in sorted(neighbours):
        vote, confidence = _votes(uv, z, view, views[other])
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


def _votes(
    uv: Float[Tensor, "point 2"], z_depth: Float[Tensor, " point"], view: ViewGeometry, other: ViewGeometry
) -> tuple[Float[Tensor, " point"], Float[Tensor, " point"]]:
    """Return another view's depth at points of a view as a multiple of theirs, NaN without one, and its confidence."""
    is_known = torch.isfinite(z_depth)
    known = torch.where(is_known, z_depth, 1.0)
    size = (other.camera.size.height, other.camera.size.width)
    cameras = ((view.camera.K, view.camera.w2c), (other.camera.K, other.camera.w2c))
    at, ratio = Sweep.between(uv[None], *cameras, size).at(1 / known[None, None])
    cell = cells_at(at[0, 0], *other.grid.shape)
    is_on_image = is_known & (cell >= 0)
    nearest, confidence = (one.reshape(-1)[cell.clamp(min=0)] for one in (other.z_depth, other.confidence))
    between = 1 / read_planes(1 / other.z_depth[None], at)[0, 0, 0]
    seen = torch.where((between / nearest - 1).abs() < _SMOOTH, between, nearest)
    vote = torch.where(is_on_image, seen / (ratio[0, 0] * known), torch.nan)
    return vote, torch.where(torch.isnan(vote), 0.0, confidence)
