"""A procedural world in the making: what stands where, in paints of palettes that a small network can learn."""

import colorsys
from typing import NamedTuple

import numpy as np

from lift3d.synthetic.world import Paint, Pattern, Shape, Solid, Surface

# Class: hue, saturation, value (each with a spread), patterns to choose from, gloss.
_Look = tuple[float, float, float, tuple[Pattern, ...], float]
LOOKS: dict[str, _Look] = {
    "floor": (0.08, 0.45, 0.55, (Pattern.BRICKS, Pattern.CHECKS, Pattern.STRIPES), 0.08),
    "wall": (0.13, 0.2, 0.78, (Pattern.BRICKS, Pattern.STRIPES), 0.02),
    "ceiling": (0.6, 0.06, 0.85, (Pattern.PLAIN, Pattern.CHECKS), 0.0),
    "ground": (0.24, 0.35, 0.5, (Pattern.PLAIN,), 0.0),
    "backdrop": (0.55, 0.3, 0.72, (Pattern.PLAIN,), 0.0),
    "rug": (0.93, 0.5, 0.55, (Pattern.STRIPES, Pattern.CHECKS), 0.0),
    "table": (0.07, 0.6, 0.6, (Pattern.PLAIN, Pattern.STRIPES), 0.2),
    "seat": (0.5, 0.45, 0.5, (Pattern.STRIPES, Pattern.CHECKS), 0.03),
    "cabinet": (0.1, 0.35, 0.7, (Pattern.WINDOWS, Pattern.CHECKS), 0.12),
    "board": (0.06, 0.5, 0.45, (Pattern.PLAIN,), 0.1),
    "book": (0.0, 0.65, 0.6, (Pattern.STRIPES, Pattern.PLAIN), 0.08),
    "box": (0.12, 0.6, 0.75, (Pattern.CHECKS, Pattern.BRICKS, Pattern.STRIPES), 0.05),
    "ball": (0.98, 0.75, 0.8, (Pattern.CHECKS, Pattern.STRIPES), 0.35),
    "cylinder": (0.66, 0.6, 0.7, (Pattern.CHECKS, Pattern.STRIPES, Pattern.BRICKS), 0.25),
    "road": (0.62, 0.06, 0.42, (Pattern.PLAIN,), 0.03),
    "pavement": (0.11, 0.12, 0.65, (Pattern.CHECKS,), 0.02),
    "facade": (0.04, 0.4, 0.68, (Pattern.WINDOWS, Pattern.BRICKS), 0.03),
    "car": (0.58, 0.65, 0.65, (Pattern.WINDOWS,), 0.4),
    "pole": (0.45, 0.15, 0.45, (Pattern.STRIPES,), 0.3),
    "trunk": (0.07, 0.45, 0.42, (Pattern.STRIPES, Pattern.PLAIN), 0.0),
    "crown": (0.3, 0.6, 0.48, (Pattern.PLAIN,), 0.0),
    "rock": (0.1, 0.1, 0.55, (Pattern.PLAIN,), 0.04),
}
# Books and boxes come in every colour; other classes stay near their own hue.
FREE_HUES = ("book", "box")
LABELS: dict[str, int] = {name: number for number, name in enumerate(LOOKS)}

_Vector = tuple[float, float, float]


class Pose(NamedTuple):
    """Where a camera stands and what it looks at."""

    center: _Vector
    look_at: _Vector


class Stage:
    """A world in the making: solids and the generator that they are drawn from; instances are numbered in order."""

    def __init__(self, rng: np.random.Generator, seed: int, grain_size: float, period: float) -> None:
        """Take the longest wavelength of the noise and the usual length of a pattern, world units."""
        self.rng, self.seed = rng, seed
        self.solids: list[Solid] = []
        self._grain_size, self._period = grain_size, period
        self._instance_count = 0

    def shell(self, center: _Vector, half_size: _Vector, labels: tuple[str, str, str], size: float = 1.0) -> None:
        """Enclose the world: labels of walls, ground and top; each wall is an instance of its own."""
        walls, ground, top = labels
        faces = [self.surface(label, size) for label in (walls, walls, walls, walls, ground, top)]
        self.solids.append(Solid(Shape.SHELL, center, half_size, tuple(faces)))

    def put(self, shape: Shape, where: _Vector, half_size: _Vector, of: str | Surface, yaw: float = 0.0) -> Surface:
        """Stand a solid with its foot at ``where``; a name makes a new instance, a surface continues one."""
        surface = self.surface(of, max(0.3, min(1.0, 2 * half_size[2]))) if isinstance(of, str) else of
        center = (where[0], where[1], where[2] + half_size[2])
        self.solids.append(Solid(shape, center, half_size, (surface,), yaw))
        return surface

    def between(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self.rng.uniform(low, high))

    def trinket(self, where: tuple[float, float, float], radius: float) -> None:
        """Stand a box, ball or cylinder of about a radius."""
        kind = int(self.rng.integers(3))
        wide, high = radius * self.between(0.6, 1.0), radius * self.between(0.7, 1.5)
        if kind == 0:
            self.put(Shape.BOX, where, (wide * 0.9, wide * self.between(0.5, 0.9), high), "box", self.between(0.0, 3.0))
        elif kind == 1:
            self.put(Shape.BALL, where, (wide, wide, wide), "ball", self.between(0.0, 3.0))
        else:
            self.put(Shape.TUBE, where, (wide * 0.8, wide * 0.8, high), "cylinder", self.between(0.0, 3.0))

    def table(self, where: tuple[float, float], half_size: tuple[float, float], height: float) -> None:
        """Stand a table on the floor."""
        x, y = where
        wide, deep = half_size
        surface = self.put(Shape.BOX, (x, y, height - 0.05), (wide, deep, 0.025), "table")
        for side in (-1, 1):
            for end in (-1, 1):
                foot = (x + side * (wide - 0.06), y + end * (deep - 0.06), 0.0)
                self.put(Shape.BOX, foot, (0.03, 0.03, (height - 0.05) / 2), surface)

    def surface(self, label: str, size: float = 1.0) -> Surface:
        """Return the surface of a new instance; ``size`` scales its pattern."""
        self._instance_count += 1
        return Surface(LABELS[label], self._instance_count - 1, self._paint(label, size))

    def _paint(self, label: str, size: float) -> Paint:
        rng = self.rng
        hue, saturation, value, patterns, gloss = LOOKS[label]
        hue = rng.uniform() if label in FREE_HUES else hue + rng.uniform(-0.04, 0.04)
        saturation = float(np.clip(saturation * rng.uniform(0.7, 1.3), 0, 1))
        value = float(np.clip(value * rng.uniform(0.8, 1.2), 0, 1))
        accent = (hue + rng.uniform(-0.06, 0.06), saturation * 0.7, value * rng.uniform(0.45, 0.7))
        return Paint(
            color=colorsys.hsv_to_rgb(hue % 1, saturation, value),
            accent=colorsys.hsv_to_rgb(accent[0] % 1, accent[1], accent[2]),
            pattern=patterns[int(rng.integers(len(patterns)))],
            period=self._period * size * rng.uniform(0.75, 1.3),
            grain=rng.uniform(0.12, 0.2),
            grain_size=self._grain_size * rng.uniform(0.8, 1.25),
            shift=tuple(rng.uniform(-50, 50, 3).tolist()),
            gloss=gloss,
        )
