"""Where target views see the same surface, under the scene's scoring geometry: depth, or sparse tracks.

Everything is chosen on bounded lattices by fixed rules: the same scene gives the same points on every run.
Letters: a is the view whose points are asked about, b the view they are looked up in.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from lift3d.metrics.counting import MIN_SHARED_POINTS, evenly, median_angles
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.metrics.figures import LONG_RANGE_DEG, SHORT_RANGE_DEG
from lift3d.metrics.protocol import Matches, Observations
from lift3d.metrics.track_surface import TrackSurface

# Bounds of time and memory whatever the size of the scene: points of view a per pair, the nearest others that each view
# is paired with in each range of angles, surface points of figures over all views.
POINTS_PER_PAIR, PAIRS_PER_VIEW, SURFACE_POINTS = 4096, 2, 2048
# Of more others than twice as many, those whose angles are looked at closely in each range: half of them the nearest.
LIKELY = 24
# Who is likely is found by a few points of a view, in as many of the views nearest to it, and of the rest, evenly.
PROBES, ASKED = 32, 512
# Pairs whose points are kept; those of others are found again. Each is 200 kB at most.
KEPT_PAIRS = 2048

Pair = tuple[int, int]
Report = Callable[[str, int, int], None]


class PairMatches(Mapping[Pair, Matches]):
    """What pairs of views (a before b) both see, found when it is asked for.

    Args:
        pairs: By the numbers that a pair is asked for by, those that it is found by.
        find: What finds it.
    """

    def __init__(self, pairs: Mapping[Pair, Pair], find: Callable[[Pair], Matches]) -> None:
        self._pairs, self._find = dict(pairs), find

    @classmethod
    def none(cls) -> "PairMatches":
        """Return that no two views see the same."""

        def find(pair: Pair) -> Matches:
            raise KeyError(pair)

        return cls({}, find)

    def __getitem__(self, pair: Pair) -> Matches:
        return self._find(self._pairs[pair])

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def renumbered(self, position: Mapping[int, int]) -> "PairMatches":
        """Return those of some views alone, under other numbers."""
        kept = {
            (position[a], position[b]): found
            for (a, b), found in self._pairs.items()
            if a in position and b in position
        }
        return PairMatches(kept, self._find)

    def to(self, device: torch.device) -> "PairMatches":
        """Return the same on a device; pairs used last are taken there once."""

        @lru_cache(KEPT_PAIRS)
        def taken(pair: Pair) -> Matches:
            return _on(device, self._find(pair))

        return PairMatches(self._pairs, taken)


@dataclass(frozen=True, slots=True, eq=False)
class Correspondence:
    """What pairs of target views both see, and the surface points, numbered without gaps, of all views."""

    matches: PairMatches
    observations: Observations

    def to(self, device: torch.device) -> "Correspondence":
        """Return the same on a device."""
        one = self.observations
        return Correspondence(
            self.matches.to(device), Observations(*(part.to(device) for part in (one.point, one.view, one.uv)))
        )


def correspond(
    surface: DepthSurface | TrackSurface,
    report: Report = lambda stage, done, total: None,
) -> Correspondence:
    """Choose pairs by baseline angle and find what they, and all views together, see. Work grows as views do."""
    pairs = pairs_by_angle(_angles(surface, report), PAIRS_PER_VIEW)
    home = torch.get_default_device()

    @lru_cache(KEPT_PAIRS)
    def matches(pair: Pair) -> Matches:
        with home:
            return surface.matches(*pair, POINTS_PER_PAIR)

    shared = {}
    for done, pair in enumerate(pairs):
        report("match pairs of views", done, len(pairs))
        if len(matches(pair).uv_a) >= MIN_SHARED_POINTS:
            shared[pair] = pair
    report("find shared points", 0, 1)
    return Correspondence(PairMatches(shared, matches), surface.observations(SURFACE_POINTS))


def _on(device: torch.device, found: Matches) -> Matches:
    return replace(found, **{name: getattr(found, name).to(device) for name in ("uv_a", "uv_b", "uv_b_floor")})


def pairs_by_angle(angles_deg: Mapping[tuple[int, int], float], pairs_per_view: int) -> list[tuple[int, int]]:
    """Choose pairs (a, b), a < b, sorted: for each view its nearest others at short and at long range.

    ``angles_deg`` are median baseline angles of such pairs; NaN where two views share too little.
    """
    chosen: set[tuple[int, int]] = set()
    for low, high in (SHORT_RANGE_DEG, LONG_RANGE_DEG):
        left: Counter[int] = Counter()
        in_range = {pair: angle for pair, angle in angles_deg.items() if low <= angle < high}
        # Each view takes its own nearest, whether or not the other has enough already; ties go to the smaller number.
        for view, _, pair in sorted((view, angle, both) for both, angle in in_range.items() for view in both):
            if left[view] < pairs_per_view:
                left[view] += 1
                chosen.add(pair)
    return sorted(chosen)


def _angles(surface: DepthSurface | TrackSurface, report: Report) -> dict[tuple[int, int], float]:
    """Return the median baseline angles of pairs (a, b), a < b: of all, or of those that are likely to be chosen."""
    count = surface.view_count
    partners: list[set[int]] = [set() for _ in range(count)]
    for a in range(count):
        report("look for neighbours", a, count)
        for b in _likely(surface, a) if count > 2 * LIKELY else range(count):
            partners[min(a, b)].add(max(a, b))
    angles: dict[tuple[int, int], float] = {}
    for a, beside in enumerate(partners):
        report("compare neighbours", a, count)
        others = torch.tensor(sorted(beside - {a}), dtype=torch.long)
        if len(others) > 0:
            xyz, is_seen = surface.sights(a, others)
            found = median_angles(xyz, surface.centers[a], surface.centers[others], is_seen)
            angles |= {(a, b): angle for b, angle in zip(others.tolist(), found.tolist(), strict=True)}
    return angles


def _likely(surface: DepthSurface | TrackSurface, a: int) -> list[int]:
    """Return the views that are likely to be near to a view, in each range of angles, and to see what it sees."""
    distance = (surface.centers - surface.centers[a]).norm(dim=1)
    distance[a] = -1.0
    by_distance = torch.argsort(distance, stable=True)[1:]
    asked = torch.cat([by_distance[:ASKED], evenly(by_distance[ASKED:], ASKED)])
    xyz, is_seen = surface.sights(a, asked, PROBES)
    angles = median_angles(xyz, surface.centers[a], surface.centers[asked], is_seen, least=1)
    likely: list[int] = []
    for low, high in (SHORT_RANGE_DEG, LONG_RANGE_DEG):
        in_range = ((angles >= low) & (angles < high)).nonzero()[:, 0]
        nearest = asked[in_range[torch.argsort(angles[in_range], stable=True)]]
        likely += torch.cat([nearest[: LIKELY // 2], evenly(nearest[LIKELY // 2 :], LIKELY // 2)]).tolist()
    return likely
