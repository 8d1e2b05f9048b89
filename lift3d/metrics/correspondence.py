"""Where target views see the same surface, under the scene's scoring geometry: depth, or sparse tracks.

Everything is chosen on bounded lattices by fixed rules: the same scene gives the same points on every run.
Letters: a is the view whose points are asked about, b the view they are looked up in.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.metrics.counting import MIN_SHARED_POINTS
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.metrics.figures import LONG_RANGE_DEG, SHORT_RANGE_DEG
from lift3d.metrics.protocol import Matches, Observations
from lift3d.metrics.track_surface import TrackSurface

# Bounds of time and memory whatever the size of the scene: points of view a per pair, the nearest others that each view
# is paired with in each range of angles, surface points of figures over all views.
POINTS_PER_PAIR, PAIRS_PER_VIEW, SURFACE_POINTS = 4096, 2, 2048


@dataclass(frozen=True, slots=True, eq=False)
class Correspondence:
    """What pairs of target views (a before b) both see, and the surface points, numbered without gaps, of all views."""

    matches: dict[tuple[int, int], Matches]
    observations: Observations


def correspond(surface: DepthSurface | TrackSurface, pairs_per_view: int = PAIRS_PER_VIEW) -> Correspondence:
    """Choose pairs by baseline angle and find what they, and all views together, see."""
    count = surface.view_count
    angles = torch.full((count, count), torch.nan, dtype=torch.float64)
    for a in range(count):
        for b in range(a + 1, count):
            angles[a, b] = angles[b, a] = surface.angle_deg(a, b)
    matches = {pair: surface.matches(*pair, POINTS_PER_PAIR) for pair in pairs_by_angle(angles, pairs_per_view)}
    enough = {pair: found for pair, found in matches.items() if len(found.uv_a) >= MIN_SHARED_POINTS}
    return Correspondence(enough, surface.observations(SURFACE_POINTS))


def pairs_by_angle(angles_deg: Float[Tensor, "view view"], pairs_per_view: int) -> list[tuple[int, int]]:
    """Choose pairs (a, b), a < b, sorted: for each view its nearest others at short and at long range.

    ``angles_deg`` are median baseline angles, NaN where two views share too little; symmetric.
    """
    chosen: set[tuple[int, int]] = set()
    for a, row in enumerate(angles_deg.tolist()):
        for low, high in (SHORT_RANGE_DEG, LONG_RANGE_DEG):
            in_range = sorted((angle, b) for b, angle in enumerate(row) if b != a and low <= angle < high)
            chosen.update((min(a, b), max(a, b)) for _, b in in_range[:pairs_per_view])
    return sorted(chosen)
