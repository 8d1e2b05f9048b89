"""Which views own the surface: a few that see all of it well, in one order for the whole scene."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.geometry.rays import cell_centers
from lift3d.surface.scene_surface import Look, SceneSurface

# A view sees a point well if its quality is at least this share of the best view's.
WELL_SEEN = 0.15
# A view shows a point that lies on what it sees by at least so much.
SHOWN = 0.5
# Keyframes see this share of what is seen; what is left belongs to the view that weighs most there.
KEYFRAME_SHARE = 0.985
# Pixels between the points that are asked for.
POINT_PITCH_PX = 8.0
# Every point of every view has a flag of every view; numbers are made of those of so many points at a time.
_POINTS_AT_ONCE = 2**13
_POINTS_COUNTED = 2**10


def is_seen_well(look: Look) -> Bool[Tensor, "point view"]:
    """Whether a view shows a point, and nearly as well as the view that shows it best."""
    shows = look.shown >= SHOWN
    best = torch.where(shows, look.quality, 0.0).amax(1, keepdim=True)
    return shows & (look.quality >= WELL_SEEN * best)


def keyframes(surface: SceneSurface) -> tuple[int, ...]:
    """Return the views that own the surface, each the one that sees most of what those before it do not see well.

    Independent of the order of the views: ties go to the smaller id. Greedy set cover.
    """
    seen = torch.cat([_own_points_seen(surface, index) for index in range(len(surface.views))])
    names = surface.ids
    left = sorted(range(len(names)), key=lambda index: names[index])
    # Every view brings its own points: a place counts once, however many views bring it.
    counts = torch.empty(len(seen), dtype=torch.int32)
    for some, into in zip(torch.split(seen, _POINTS_COUNTED), torch.split(counts, _POINTS_COUNTED), strict=True):
        into.copy_(some.view(torch.uint8).sum(1, dtype=torch.int32))
    weight = 1 / counts.clamp(min=1).double()
    uncovered = seen.any(1)
    enough = (1 - KEYFRAME_SHARE) * int(uncovered.sum())
    chosen = []
    # One piece of memory for all rounds: of what is freed and taken again, pieces may come to lie beside one another.
    numbers = torch.empty(min(len(seen), _POINTS_AT_ONCE), len(names), dtype=torch.float64)
    while left and int(uncovered.sum()) > enough:
        gains = _seen_of(weight * uncovered, seen, numbers)[left].round(decimals=6)
        best = left[int(gains.argmax())]
        chosen.append(best)
        left.remove(best)
        uncovered &= ~seen[:, best]
    return tuple(chosen)


def _seen_of(
    weight: Float[Tensor, " point"], seen: Bool[Tensor, "point view"], numbers: Float[Tensor, "some view"]
) -> Float[Tensor, " view"]:
    """Return the weight of what each view sees; ``numbers`` is room for some points."""
    total = torch.zeros(seen.shape[1], dtype=torch.float64)
    for start in range(0, len(seen), max(1, len(numbers))):
        some = seen[start : start + len(numbers)]
        total += weight[start : start + len(some)] @ numbers[: len(some)].copy_(some)
    return total


def _own_points_seen(surface: SceneSurface, index: int) -> Bool[Tensor, "point view"]:
    """Return which views see a view's own points well."""
    view = surface.views[index]
    grid = FeatureGrid.covering(view.camera.size, POINT_PITCH_PX)
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    row = ((uv[:, 1] - view.grid.origin_v) / view.grid.stride_v).long().clamp(0, view.grid.rows - 1)
    col = ((uv[:, 0] - view.grid.origin_u) / view.grid.stride_u).long().clamp(0, view.grid.cols - 1)
    z = view.z_depth[row, col]
    is_known = torch.isfinite(z)
    return is_seen_well(surface.look(view.camera, uv[is_known], z[is_known]))
