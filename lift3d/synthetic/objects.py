"""The family ``objects``: a room with a low table and 8 to 14 things, each a colour, a shape and a material.

Things are vivid, surfaces around them muted. Some pairs of colour and shape stand in worlds for evaluation alone
(seeds from ``FIRST_EVALUATION_SEED``), so that what was trained on the other seeds has never seen them.
"""

import colorsys
import math
from typing import NamedTuple

import numpy as np

from lift3d.synthetic.stage import Pose, Stage
from lift3d.synthetic.world import Paint, Pattern, Shape, Solid, Surface

# Hue, saturation and value. All hues are equally vivid: only the hue itself tells them apart.
_Hsv = tuple[float, float, float]
_COLORS: dict[str, _Hsv] = {
    "red": (0.995, 0.88, 0.85),
    "green": (0.345, 0.88, 0.85),
    "blue": (0.61, 0.88, 0.85),
    "yellow": (0.155, 0.88, 0.85),
    "purple": (0.79, 0.88, 0.85),
    "orange": (0.07, 0.88, 0.85),
    "white": (0.0, 0.0, 0.97),
    "black": (0.6, 0.1, 0.09),
}
_SHAPES = {"box": Shape.BOX, "ball": Shape.BALL, "cylinder": Shape.TUBE}
_MATERIALS = {
    "plain": Pattern.PLAIN,
    "striped": Pattern.STRIPES,
    "checkered": Pattern.CHECKS,
    "bricked": Pattern.BRICKS,
}
# Surfaces: hue, saturation, value and pattern. Tinted, so that none of them passes for white or black in any light.
_SURROUNDINGS: dict[str, tuple[float, float, float, tuple[Pattern, ...]]] = {
    "floor": (0.09, 0.26, 0.5, (Pattern.BRICKS, Pattern.CHECKS, Pattern.STRIPES)),
    "wall": (0.5, 0.2, 0.62, (Pattern.PLAIN, Pattern.BRICKS, Pattern.STRIPES)),
    "ceiling": (0.62, 0.16, 0.7, (Pattern.PLAIN, Pattern.CHECKS)),
    "table": (0.07, 0.36, 0.4, (Pattern.PLAIN, Pattern.STRIPES)),
}
COLORS = tuple(_COLORS)
SHAPES = tuple(_SHAPES)
MATERIALS = tuple(_MATERIALS)
SURROUNDINGS = tuple(_SURROUNDINGS)
PAIRS = tuple((color, shape) for color in COLORS for shape in SHAPES)
WITHHELD_PAIRS = (("red", "ball"), ("blue", "box"), ("green", "cylinder"), ("yellow", "ball"), ("purple", "box"))
# Worlds that only evaluation sees, from here on, and those that it does see.
FIRST_EVALUATION_SEED = 9000
EVALUATION_SEEDS = tuple(range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + 8))
OBJECT_LABELS: dict[str, int] = {
    name: number for number, name in enumerate((*SURROUNDINGS, *(f"{color} {shape}" for color, shape in PAIRS)))
}

_GRAIN_SIZE_M, _PERIOD_M = 0.6, 0.16
_FEWEST, _MOST = 8, 14
_ON_TABLE = 4
# How many withheld pairs a world for evaluation shows, of five.
_WITHHELD_SHOWN = 4
_TABLE_HALF_M, _TABLE_HEIGHT_M = (0.85, 0.6), 0.45
_ROOM_HALF_M = (3.4, 3.4, 1.2)


class Thing(NamedTuple):
    """What an object is, in words."""

    color: str
    shape: str
    material: str


def things_of(rng: np.random.Generator, seed: int) -> list[Thing]:
    """Draw the things of a world: no pair of colour and shape twice, withheld ones in evaluation alone."""
    count = int(rng.integers(_FEWEST, _MOST + 1))
    open_pairs = [pair for pair in PAIRS if pair not in WITHHELD_PAIRS]
    shown = _WITHHELD_SHOWN if seed >= FIRST_EVALUATION_SEED else 0
    pairs = [WITHHELD_PAIRS[index] for index in rng.permutation(len(WITHHELD_PAIRS))[:shown]]
    pairs += [open_pairs[index] for index in rng.permutation(len(open_pairs))[: count - shown]]
    order = rng.permutation(count)
    return [Thing(pairs[index][0], pairs[index][1], MATERIALS[int(rng.integers(len(MATERIALS)))]) for index in order]


def fill_objects(stage: Stage) -> None:
    """Put a room, a table and things into a world."""
    rng = stage.rng
    faces = [_surrounding(rng, name, number) for number, name in enumerate(["wall"] * 4 + ["floor", "ceiling"])]
    stage.solids.append(Solid(Shape.SHELL, (0.0, 0.0, _ROOM_HALF_M[2]), _ROOM_HALF_M, tuple(faces)))
    _stand_table(stage, _surrounding(rng, "table", len(faces)))
    things = things_of(rng, stage.seed)
    turn = rng.uniform(0, 2 * math.pi)
    for number, thing in enumerate(things):
        is_on_table = number < _ON_TABLE
        among, index = (_ON_TABLE, number) if is_on_table else (len(things) - _ON_TABLE, number - _ON_TABLE)
        angle = turn + 2 * math.pi * (index + rng.uniform(-0.12, 0.12)) / among
        radius = rng.uniform(0.17, 0.21) if is_on_table else rng.uniform(0.22, 0.3)
        out = (0.54, 0.38) if is_on_table else (rng.uniform(1.4, 1.55),) * 2
        foot = (out[0] * math.cos(angle), out[1] * math.sin(angle), _TABLE_HEIGHT_M if is_on_table else 0.0)
        surface = Surface(
            OBJECT_LABELS[f"{thing.color} {thing.shape}"], len(faces) + 1 + number, _thing_paint(rng, thing)
        )
        stage.solids.append(_thing_solid(rng, thing.shape, foot, radius, surface))


def objects_pose(step: float) -> Pose:
    """Return the camera of a step: an orbit around the table that rises and falls."""
    angle = math.radians(4.0 * step)
    return Pose((2.9 * math.sin(angle), -2.9 * math.cos(angle), 1.5 + 0.35 * math.sin(2.3 * angle)), (0.0, 0.0, 0.55))


def _stand_table(stage: Stage, surface: Surface) -> None:
    wide, deep = _TABLE_HALF_M
    stage.solids.append(Solid(Shape.BOX, (0.0, 0.0, _TABLE_HEIGHT_M - 0.03), (wide, deep, 0.03), (surface,)))
    half_leg = (_TABLE_HEIGHT_M - 0.06) / 2
    for x in (-wide + 0.07, wide - 0.07):
        for y in (-deep + 0.07, deep - 0.07):
            stage.solids.append(Solid(Shape.BOX, (x, y, half_leg), (0.05, 0.05, half_leg), (surface,)))


def _thing_solid(
    rng: np.random.Generator, shape: str, foot: tuple[float, float, float], radius: float, surface: Surface
) -> Solid:
    """A solid that a circle of ``radius`` holds, whatever its turn."""
    if shape == "ball":
        half_size = (radius, radius, radius)
    elif shape == "cylinder":
        half_size = (radius * 0.8, radius * 0.8, radius * rng.uniform(0.9, 1.35))
    else:
        half_size = (
            radius * rng.uniform(0.68, 0.76),
            radius * rng.uniform(0.58, 0.76),
            radius * rng.uniform(0.75, 1.2),
        )
    center = (foot[0], foot[1], foot[2] + half_size[2])
    return Solid(_SHAPES[shape], center, half_size, (surface,), rng.uniform(0, math.pi))


def _surrounding(rng: np.random.Generator, name: str, instance: int) -> Surface:
    hue, saturation, value, patterns = _SURROUNDINGS[name]
    hue, saturation = hue + rng.uniform(-0.05, 0.05), saturation * rng.uniform(0.8, 1.2)
    value = value * rng.uniform(0.88, 1.12)
    pattern = patterns[int(rng.integers(len(patterns)))]
    accent = (hue, saturation, value * rng.uniform(0.65, 0.8))
    paint = _paint(rng, (hue, saturation, value), accent, pattern, 1.0 if name == "table" else 3.0)
    return Surface(OBJECT_LABELS[name], instance, paint)


def _thing_paint(rng: np.random.Generator, thing: Thing) -> Paint:
    hue, saturation, value = _COLORS[thing.color]
    hue, value = hue + rng.uniform(-0.015, 0.015), value * rng.uniform(0.94, 1.03)
    # Black has lighter patterns, everything else darker ones.
    accent = value * 3.5 if thing.color == "black" else value * rng.uniform(0.55, 0.65)
    return _paint(rng, (hue, saturation, value), (hue, saturation, accent), _MATERIALS[thing.material], 1.0)


def _paint(rng: np.random.Generator, color: _Hsv, accent: _Hsv, pattern: Pattern, size: float) -> Paint:
    shift = tuple(rng.uniform(-50, 50, 3).tolist())
    return Paint(
        color=colorsys.hsv_to_rgb(color[0] % 1, color[1], min(1.0, color[2])),
        accent=colorsys.hsv_to_rgb(accent[0] % 1, accent[1], min(1.0, accent[2])),
        pattern=pattern,
        period=_PERIOD_M * size * rng.uniform(0.8, 1.2),
        grain=rng.uniform(0.07, 0.12),
        grain_size=_GRAIN_SIZE_M * rng.uniform(0.8, 1.25),
        shift=shift,
        gloss=0.12,
    )
