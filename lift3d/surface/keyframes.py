"""Which views own the surface: a few that see all of it well, in one order for the whole scene."""

import heapq
import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int32, UInt8
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.geometry.rays import cell_centers
from lift3d.surface.look import Look
from lift3d.surface.scene_surface import SceneSurface

# A view sees a point well if its quality is at least this share of the best view's.
WELL_SEEN = 0.15
# A view shows a point that lies on what it sees by at least so much.
SHOWN = 0.5
# Keyframes see this share of what is seen; what is left belongs to the view that weighs most there.
KEYFRAME_SHARE = 0.985
# Pixels between the points that are asked for.
POINT_PITCH_PX = 8.0
# Points of all views together; of very many views, they lie farther apart. Which view sees which is a bit each.
MOST_POINTS = 2**20


def is_seen_well(look: Look) -> Bool[Tensor, "point view"]:
    """Whether a view shows a point, and nearly as well as the view that shows it best."""
    shows = look.shown >= SHOWN
    best = torch.where(shows, look.quality, 0.0).amax(1, keepdim=True)
    return shows & (look.quality >= WELL_SEEN * best)


def keyframes(surface: SceneSurface) -> tuple[int, ...]:
    """Return the views that own the surface, each the one that sees most of what those before it do not see well.

    Independent of the order of the views: ties go to the smaller id. Greedy set cover; what a view adds only falls, so
    it is counted anew for those alone that may be next.
    """
    seen, counts = _seen(surface)
    # Every view brings its own points: a place counts once, however many views bring it.
    weight = 1 / counts.clamp(min=1).double()
    uncovered = counts > 0
    enough = (1 - KEYFRAME_SHARE) * int(uncovered.sum())

    def gain(view: int) -> float:
        return round(float((weight * (uncovered & _seen_by(view, seen))).sum()), 6)

    names = surface.ids
    left = [(-gain(view), names[view], view) for view in range(len(names))]
    heapq.heapify(left)
    chosen: list[int] = []
    while left and int(uncovered.sum()) > enough:
        _, name, view = heapq.heappop(left)
        counted = (-gain(view), name, view)
        if left and counted > left[0]:
            heapq.heappush(left, counted)
            continue
        chosen.append(view)
        uncovered &= ~_seen_by(view, seen)
    return tuple(chosen)


def _seen(surface: SceneSurface) -> tuple[UInt8[Tensor, "view byte"], Int32[Tensor, " point"]]:
    """Return which views see all views' own points well, eight points a byte, and how many see each.

    A view's points fill up their last byte with some that nobody sees. A row per view: one is read many times.
    """
    # Written into one tensor that doubles: small ones that stay between larger ones that go would split up the heap.
    seen, filled = torch.empty(len(surface.views), 0, dtype=torch.uint8), 0
    for index in range(len(surface.views)):
        own = _own_points_seen(surface, index).byte()
        own = F.pad(own, (0, 0, 0, -len(own) % 8))
        eights = own.reshape(-1, 8, own.shape[1]) << torch.arange(8, dtype=torch.uint8)[:, None]
        bits = eights.sum(1, dtype=torch.uint8)
        if filled + len(bits) > seen.shape[1]:
            seen = F.pad(seen, (0, max(seen.shape[1], len(bits))))
        seen[:, filled : filled + len(bits)] = bits.T
        filled += len(bits)
    seen, counts = seen[:, :filled], torch.zeros(8 * filled, dtype=torch.int32)
    for view in range(len(surface.views)):
        counts += _seen_by(view, seen)
    return seen, counts


def _seen_by(view: int, seen: UInt8[Tensor, "view byte"]) -> Bool[Tensor, " point"]:
    return ((seen[view][:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten().bool()


def _own_points_seen(surface: SceneSurface, index: int) -> Bool[Tensor, "point view"]:
    """Return which views see a view's own points well."""
    view = surface.views[index]
    size = view.camera.size
    pitch = math.sqrt(size.height * size.width * len(surface.views) / MOST_POINTS)
    grid = FeatureGrid.covering(size, max(POINT_PITCH_PX, pitch))
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    row = ((uv[:, 1] - view.grid.origin_v) / view.grid.stride_v).long().clamp(0, view.grid.rows - 1)
    col = ((uv[:, 0] - view.grid.origin_u) / view.grid.stride_u).long().clamp(0, view.grid.cols - 1)
    z = view.z_depth[row, col]
    is_known = torch.isfinite(z)
    asked = surface.asked(view.camera, uv, z)
    return asked.among_all(is_seen_well(surface.look(view.camera, uv[is_known], z[is_known], asked)))
