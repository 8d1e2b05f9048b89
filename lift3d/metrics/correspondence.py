"""Where target views see the same surface, under the scene's scoring geometry: depth, or sparse tracks.

Everything is chosen on bounded lattices by fixed rules: the same scene gives the same points on every run.
Letters: a is the view whose points are asked about, b the view they are looked up in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.metrics.figures import LONG_RANGE_DEG, SHORT_RANGE_DEG
from lift3d.metrics.protocol import Matches, Observations

# Fewer shared points than this say nothing about a pair: the median angle and the error would be noise.
MIN_SHARED_POINTS = 16
# Bounds of time and memory whatever the size of the scene: points of view a per pair, the nearest others that each view
# is paired with in each range of angles, surface points of figures over all views.
POINTS_PER_PAIR, PAIRS_PER_VIEW, SURFACE_POINTS = 4096, 2, 2048


@dataclass(frozen=True, slots=True, eq=False)
class Correspondence:
    """What pairs of target views (a before b) both see, and the surface points, numbered without gaps, of all views."""

    matches: dict[tuple[int, int], Matches]
    observations: Observations


@runtime_checkable
class ScoringSurface(Protocol):
    """The scene's scoring geometry at its target views: see depth_surface and track_surface."""

    @property
    def view_count(self) -> int:
        """How many target views there are."""
        ...

    def angle_deg(self, a: int, b: int) -> float:
        """Return the median baseline angle of what a and b both see, NaN if that is too little."""
        ...

    def matches(self, a: int, b: int, limit: int) -> Matches:
        """Return at most ``limit`` points that both see."""
        ...

    def observations(self, limit: int) -> Observations:
        """Return about ``limit`` surface points with every view that sees them."""
        ...


def correspond(surface: ScoringSurface, pairs_per_view: int = PAIRS_PER_VIEW) -> Correspondence:
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


def collect_observations(
    points: Sequence[Int[Tensor, " _"]], views: Sequence[int], uvs: Sequence[Float[Tensor, "_ 2"]]
) -> Observations:
    """Join observations found view by view, drop points that one view alone sees, and number the rest from 0."""
    if not points:
        none = torch.zeros(0, dtype=torch.long)
        return Observations(none, none.clone(), torch.zeros(0, 2, dtype=torch.float64))
    point = torch.cat(list(points))
    view = torch.cat([torch.full_like(found, index) for found, index in zip(points, views, strict=True)])
    uv = torch.cat(list(uvs))
    order = torch.argsort(view, stable=True)
    order = order[torch.argsort(point[order], stable=True)]
    point, view, uv = point[order], view[order], uv[order]
    _, inverse, count = torch.unique(point, return_inverse=True, return_counts=True)
    is_shared = count[inverse] >= 2
    _, renumbered = torch.unique(point[is_shared], return_inverse=True)
    return Observations(renumbered, view[is_shared], uv[is_shared])


def median_degrees(angle_rad: Float[Tensor, " point"]) -> float:
    """Return the median in degrees, NaN of too few points."""
    return math.degrees(float(angle_rad.median())) if len(angle_rad) >= MIN_SHARED_POINTS else math.nan
