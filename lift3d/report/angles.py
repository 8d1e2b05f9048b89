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
    """The pairs of a range of angles: its name, mean angle, mean of their figures, and how many they are."""

    angles: str
    angle_deg: float
    value: float
    pair_count: int


@dataclass(frozen=True, slots=True)
class AngleLine:
    """One lifter: what there is, by rising angle, and where each bin is drawn."""

    lifter: str
    bins: tuple[Bin, ...]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class AngleChart:
    """A drawing of agreement over angle; ticks are a place and a text.

    Attributes:
        family: What is drawn: a metric without its range.
        frame: Left, top, right and bottom of the plot.
    """

    family: str
    lines: tuple[AngleLine, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    frame: tuple[float, float, float, float] = (_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM)
    size: tuple[float, float] = (_WIDTH, _HEIGHT)

    @property
    def numbers(self) -> Table:
        """What is drawn, as text."""
        rows = []
        for line in self.lines:
            for one in line.bins:
                cells = (Cell(str(one.pair_count)), Cell(f"{one.value:.3f}", one.value))
                rows.append(Row((line.lifter, one.angles), cells))
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
    """Return the drawing of the first family of figures that pairs of an operator have; None if no angle is known."""
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
    wide, high = _WIDTH - _RIGHT - _LEFT, _HEIGHT - _BOTTOM - _TOP

    def x_of(angle: float) -> float:
        return _LEFT + wide * min(angle / most_deg, 1.0)

    def y_of(value: float) -> float:
        return _TOP + high * (1 - value / most)

    lines = [
        AngleLine(lifter, own, tuple((x_of(one.angle_deg), y_of(one.value)) for one in own))
        for lifter, own in sorted(bins.items(), key=lambda item: (item[0] != RAW2D, item[0]))
    ]
    step = 5.0 if most_deg <= 20 else 15.0
    x_ticks = tuple((x_of(angle), f"{angle:g}°") for angle in np.arange(0.0, most_deg + 0.1, step).tolist())
    y_ticks = tuple((y_of(value), f"{value:.3g}") for value in (0.0, most / 2, most))
    return AngleChart(family, tuple(lines), x_ticks, y_ticks)


def _binned(pairs: Sequence[tuple[float, float]]) -> tuple[Bin, ...]:
    """Return the means of the ranges that have pairs."""
    found = []
    for low, high in itertools.pairwise(_BORDERS_DEG):
        held = [(angle, value) for angle, value in pairs if low <= angle < high]
        if held:
            angle, value = (float(np.mean(column)) for column in zip(*held, strict=True))
            found.append(Bin(f"{low:g}–{high:g}°", angle, value, len(held)))
    return tuple(found)


def _rounded_up(value: float) -> float:
    """Return the next round number; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if factor * power >= value * (1 - 1e-9))
