"""Agreement of two views over the angle between them, as lines of a small drawing.

Letters: p is a point that a view looks at, on its optical axis at the median depth of what was lifted there.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from lift3d.domain.lifted import LiftedDepth
from lift3d.domain.records import RAW2D
from lift3d.errors import DamagedProductError, ProductMissingError
from lift3d.report.failures import ScoredPair
from lift3d.results.lifted_scene import LiftedScene
from lift3d.tables.rendering import Cell, Column, Row, Table

# Degrees. Fine where most pairs lie; the last one is open. The 15 and 45 are borders of the score table's ranges.
_BORDERS_DEG = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 180.0)
_WIDTH, _HEIGHT = 320.0, 170.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 10.0, 34.0
_MOST_DEG = 60.0
# Families of figures of two views, by what their names start with; the first that there is is drawn.
PAIR_FAMILIES = ("warp_error", "depth_cross", "direction_cross")


@dataclass(frozen=True, slots=True)
class Bin:
    """The pairs of one range of angles.

    Attributes:
        low_deg: From here.
        high_deg: Below here.
        angle_deg: Mean over the pairs.
        value: Mean of their figures.
        pair_count: How many there are.
    """

    low_deg: float
    high_deg: float
    angle_deg: float
    value: float
    pair_count: int


@dataclass(frozen=True, slots=True)
class AngleLine:
    """One lifter.

    Attributes:
        lifter: Its name.
        bins: What there is, by rising angle.
        points: Where each bin is drawn.
    """

    lifter: str
    bins: tuple[Bin, ...]
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """The points as a polyline has them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True, slots=True)
class AngleChart:
    """A drawing of agreement over angle.

    Attributes:
        family: What is drawn: a metric without its range.
        lines: One per lifter.
        x_ticks: Place and text.
        y_ticks: Place and text.
        frame: Left, top, right and bottom of the plot.
        size: Width and height of the whole.
    """

    family: str
    lines: tuple[AngleLine, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    frame: tuple[float, float, float, float]
    size: tuple[float, float]

    @property
    def numbers(self) -> Table:
        """What is drawn, as text."""
        rows = [
            Row(
                (line.lifter, f"{one.low_deg:g}–{one.high_deg:g}°"),
                (Cell(str(one.pair_count)), Cell(f"{one.value:.3f}", one.value)),
            )
            for line in self.lines
            for one in line.bins
        ]
        return Table(("lifter", "angles"), (Column("pairs"), Column("mean", self.family)), tuple(rows))


class TargetCameras:
    """Where the target cameras of a scene stand, and how far away is what they look at."""

    def __init__(self, lifted: Iterable[LiftedScene]) -> None:
        """Read what the operators and lifters of a scene know; one that knows a depth is as good as another."""
        self._w2c: dict[str, Float[np.ndarray, "4 4"]] = {}
        self._depth: dict[str, float] = {}
        for one in lifted:
            # What one product cannot tell, the next one does.
            with suppress(ProductMissingError, DamagedProductError):
                if not {*one.targets} <= self._depth.keys():
                    self._read(one.depths())

    def _read(self, depths: Iterable[LiftedDepth]) -> None:
        for depth in depths:
            self._w2c[depth.target] = depth.camera.w2c.numpy()
            known = depth.z_depth[torch.isfinite(depth.z_depth)].numpy()
            if known.size:
                self._depth.setdefault(depth.target, float(np.median(known)))

    def angle_deg(self, a: str, b: str) -> float:
        """Return the angle between the rays to both cameras, mean over what either looks at; NaN if unknown."""
        if not {a, b} <= self._w2c.keys() or not {a, b} <= self._depth.keys():
            return math.nan
        centers = [-self._w2c[name][:3, :3].T @ self._w2c[name][:3, 3] for name in (a, b)]
        angles = []
        for name, center in zip((a, b), centers, strict=True):
            p = center + self._depth[name] * self._w2c[name][2, :3]
            rays = [one - p for one in centers]
            lengths = math.prod(float(np.linalg.norm(ray)) for ray in rays)
            if lengths == 0:
                return math.nan
            angles.append(math.degrees(math.acos(max(-1.0, min(1.0, float(rays[0] @ rays[1]) / lengths)))))
        return sum(angles) / len(angles)


def angle_chart(pairs: Sequence[ScoredPair], cameras: TargetCameras) -> AngleChart | None:
    """Return the drawing of the first family of figures that some pairs have; None if no angle is known.

    Args:
        pairs: Figures of two views, of one operator in one scene.
        cameras: Of the scene.
    """
    family = next((one for one in PAIR_FAMILIES if any(pair.metric.startswith(one) for pair in pairs)), "")
    by_lifter: dict[str, list[tuple[float, float]]] = {}
    for pair in pairs:
        angle = cameras.angle_deg(pair.target, pair.other) if pair.metric.startswith(family) else math.nan
        if math.isfinite(angle):
            by_lifter.setdefault(pair.lifter, []).append((angle, pair.value))
    bins = {lifter: _binned(pairs) for lifter, pairs in by_lifter.items()}
    drawn = [one for found in bins.values() for one in found]
    if not drawn:
        return None
    most_deg = min(_MOST_DEG, max(15.0, 5.0 * math.ceil(max(one.angle_deg for one in drawn) / 5)))
    most = _rounded_up(max(one.value for one in drawn))
    frame = (_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM)

    def x_of(angle: float) -> float:
        return _LEFT + (frame[2] - _LEFT) * min(angle / most_deg, 1.0)

    def y_of(value: float) -> float:
        return frame[3] - (frame[3] - _TOP) * value / most

    order = sorted(bins, key=lambda lifter: (lifter != RAW2D, lifter))
    lines = tuple(
        AngleLine(lifter, bins[lifter], tuple((x_of(one.angle_deg), y_of(one.value)) for one in bins[lifter]))
        for lifter in order
    )
    step = 5.0 if most_deg <= 20 else 15.0
    x_ticks = tuple((x_of(angle), f"{angle:g}°") for angle in np.arange(0.0, most_deg + 0.1, step).tolist())
    y_ticks = tuple((y_of(value), f"{value:.3g}") for value in (0.0, most / 2, most))
    return AngleChart(family, lines, x_ticks, y_ticks, frame, (_WIDTH, _HEIGHT))


def _binned(pairs: Sequence[tuple[float, float]]) -> tuple[Bin, ...]:
    """Return the means of the ranges that have pairs."""
    found = []
    for low, high in itertools.pairwise(_BORDERS_DEG):
        held = [(angle, value) for angle, value in pairs if low <= angle < high]
        if held:
            angle, value = (float(np.mean(column)) for column in zip(*held, strict=True))
            found.append(Bin(low, high, angle, value, len(held)))
    return tuple(found)


def _rounded_up(value: float) -> float:
    """Return the next round number; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if factor * power >= value * (1 - 1e-9))
