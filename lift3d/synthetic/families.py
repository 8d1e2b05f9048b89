"""Families of procedural worlds: what stands where, and the camera's path. World z is up, units metres."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.geometry.rigid import look_at
from lift3d.synthetic.objects import OBJECT_LABELS, fill_objects, objects_pose
from lift3d.synthetic.stage import LABELS, Pose, Stage
from lift3d.synthetic.world import Pattern, Shape, Solid, World


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of world: fills a stage, the shell first, with noise and patterns of usual lengths in metres.

    ``pose`` gives the camera at a step of the path; 0 is its middle, one step is a few degrees of parallax, and more
    views than ``max_steps`` are spaced more closely. ``grain_size`` is the longest wavelength of the noise.
    """

    fill: Callable[[Stage], None]
    pose: Callable[[float], Pose]
    max_steps: float
    grain_size: float
    period: float
    label_names: tuple[str, ...] = tuple(LABELS)


def _fill_room(stage: Stage) -> None:
    stage.shell((0.0, 0.0, 1.35), (3.2, 2.7, 1.35), ("wall", "floor", "ceiling"))
    stage.put(Shape.BOX, (0.0, 0.3, 0.0), (1.5, 1.0, 0.006), "rug")
    table = (stage.between(-0.5, 0.4), stage.between(0.1, 0.4))
    stage.table(table, (0.6, 0.4), 0.72)
    for offset in (-0.4, 0.0, 0.4):
        place = (table[0] + offset, table[1] + stage.between(-0.2, 0.2), 0.72)
        stage.trinket(place, stage.between(0.09, 0.15))
    sofa = stage.between(-1.0, 0.2)
    seat = stage.put(Shape.BOX, (sofa, 2.15, 0.0), (0.95, 0.42, 0.22), "seat")
    stage.put(Shape.BOX, (sofa, 2.5, 0.44), (0.95, 0.12, 0.22), seat)
    stage.put(Shape.BOX, (2.3, 2.25, 0.0), (0.5, 0.3, stage.between(0.5, 0.95)), "cabinet")
    stage.put(Shape.BOX, (-2.75, stage.between(0.2, 1.4), 0.0), (0.3, 0.5, stage.between(0.4, 0.8)), "cabinet")
    lamp = (stage.between(-2.6, -2.2), 2.2)
    stage.put(Shape.TUBE, (*lamp, 0.0), (0.04, 0.04, 0.7), "pole")
    stage.put(Shape.BALL, (*lamp, 1.4), (0.2, 0.2, 0.2), "ball")
    for x in (-1.7, 1.3, 1.9):
        stage.trinket((x, stage.between(0.3, 1.3), 0.0), stage.between(0.14, 0.3))


def _room_pose(step: float) -> Pose:
    angle = math.radians(4.5 * step)
    center = (2.4 * math.sin(angle), 0.3 - 2.5 * math.cos(angle), 1.5 + 0.12 * math.sin(2 * angle))
    return Pose(center, (0.3 * math.sin(angle), 0.9, 0.75))


def _fill_tabletop(stage: Stage) -> None:
    stage.shell((0.0, 0.0, 1.2), (2.2, 2.2, 1.2), ("wall", "floor", "ceiling"), 3.0)
    stage.table((0.0, 0.0), (0.55, 0.55), 0.75)
    count = 9
    for number in range(count):
        angle = 2 * math.pi * (number + stage.between(-0.25, 0.25)) / (count - 1)
        distance = 0.0 if number == count - 1 else stage.between(0.25, 0.42)
        place = (distance * math.cos(angle), distance * math.sin(angle), 0.75)
        stage.trinket(place, stage.between(0.06, 0.1) * (1.5 if distance == 0 else 1.0))
    for corner in range(4):
        place = (1.7 * (-1.0) ** corner, 1.7 * (-1.0) ** (corner // 2), 0.0)
        stage.put(Shape.BOX, place, (0.3, 0.3, stage.between(0.3, 0.8)), "cabinet", stage.between(0.0, 1.5))


def _tabletop_pose(step: float) -> Pose:
    angle = math.radians(4.0 * step)
    radius, height = 1.15, 1.35 + 0.1 * math.sin(1.5 * angle)
    return Pose((radius * math.sin(angle), -radius * math.cos(angle), height), (0.0, 0.0, 0.82))


def _fill_shelf(stage: Stage) -> None:
    stage.shell((0.0, 0.0, 1.3), (2.2, 1.8, 1.3), ("wall", "floor", "ceiling"), 1.5)
    wood, depth, back = stage.surface("board"), 0.17, 1.55
    for x in (-1.25, 0.0, 1.25):
        stage.put(Shape.BOX, (x, back, 0.0), (0.02, depth, 1.0), wood)
    for height in (0.08, 0.55, 1.02, 1.49, 1.96):
        stage.put(Shape.BOX, (0.0, back, height), (1.25, depth, 0.015), wood)
        for left in (-1.21, 0.04):
            _fill_board(stage, left, back, height + 0.03)


def _fill_board(stage: Stage, left: float, back: float, height: float) -> None:
    x, right = left, left + 1.17
    while True:
        half_width = stage.between(0.02, 0.06)
        is_trinket = stage.rng.uniform() < 0.2
        taken = 0.13 if is_trinket else half_width
        if x + 2 * taken > right:
            return
        if is_trinket:
            stage.trinket((x + taken, back - 0.03, height), 0.12)
        else:
            half_size = (half_width, stage.between(0.09, 0.14), stage.between(0.12, 0.19))
            stage.put(Shape.BOX, (x + taken, back - 0.02, height), half_size, "book")
        x += 2 * taken + 0.004


def _shelf_pose(step: float) -> Pose:
    x = 0.07 * step
    return Pose((x, -0.35 + 0.05 * x * x, 1.25 + 0.1 * math.sin(2 * x)), (0.45 * x, 1.5, 1.05))


def _fill_street(stage: Stage) -> None:
    stage.shell((0.0, 16.0, 4.5), (7.0, 20.0, 4.5), ("facade", "road", "backdrop"), 1.5)
    for side in (-1.0, 1.0):
        stage.put(Shape.BOX, (side * 4.9, 16.0, 0.0), (1.4, 20.0, 0.08), "pavement")
        y = -3.0
        while y < 34:
            half_width = stage.between(1.4, 2.6)
            half_size = (stage.between(0.3, 0.75), half_width, stage.between(1.6, 4.0))
            stage.put(Shape.BOX, (side * 6.3, y + half_width, 0.0), half_size, "facade")
            y += 2 * half_width + stage.between(0.0, 0.6)
        for y in np.arange(1.5, 32.0, 5.5) + stage.between(-1.0, 1.0):
            _fill_kerb(stage, side, float(y) + stage.between(-0.8, 0.8))


def _fill_kerb(stage: Stage, side: float, y: float) -> None:
    stage.put(Shape.TUBE, (side * 3.7, y, 0.0), (0.07, 0.07, stage.between(1.3, 1.9)), "pole")
    if stage.rng.uniform() < 0.6:
        x, body = side * 2.75, stage.put(Shape.BOX, (side * 2.75, y + 2.6, 0.2), (0.75, 1.7, 0.3), "car")
        stage.put(Shape.BOX, (x, y + 2.8, 0.8), (0.65, 0.95, 0.26), body)
    else:
        place = (side * 3.0, y + 2.4)
        stage.put(Shape.TUBE, (*place, 0.0), (0.13, 0.13, 0.9), "trunk")
        stage.put(Shape.BALL, (*place, 1.5), (0.8, 0.8, 0.85), "crown", stage.between(0.0, 3.0))
    stage.trinket((side * 4.4, y + 1.2, 0.16), stage.between(0.25, 0.45))


def _street_pose(step: float) -> Pose:
    y = 6.5 + 0.45 * step
    sway = 1.2 * math.sin(0.2 * step)
    return Pose((sway, y, 1.7 + 0.1 * math.sin(0.2 * step)), (0.3 * sway, y + 9.0, 1.4))


def _fill_forest(stage: Stage) -> None:
    stage.shell((0.0, 4.0, 4.0), (11.0, 10.0, 4.0), ("backdrop", "ground", "backdrop"), 2.0)
    for row in range(6):
        for col in range(-4, 5):
            x, y = 2.2 * col + stage.between(-0.8, 0.8), 1.2 + 2.1 * row + stage.between(-0.7, 0.7)
            kind = stage.rng.uniform()
            if kind < 0.62:
                radius, height = stage.between(0.12, 0.3), stage.between(0.9, 1.5)
                stage.put(Shape.TUBE, (x, y, 0.0), (radius, radius, height), "trunk")
                spread = stage.between(0.7, 1.1)
                stage.put(Shape.BALL, (x, y, 2 * height - 0.4), (spread, spread, spread * 1.2), "crown")
            elif kind < 0.85:
                half_size = (stage.between(0.25, 0.6), stage.between(0.25, 0.5), stage.between(0.2, 0.45))
                stage.put(Shape.BALL, (x, y, -0.1), half_size, "rock", stage.between(0.0, 3.0))


def _forest_pose(step: float) -> Pose:
    x = 0.24 * step
    return Pose((x, -3.0 + 0.06 * x * x, 1.6 + 0.15 * math.sin(0.8 * x)), (0.5 * x, 4.0, 1.3))


FAMILIES: dict[str, Family] = {
    "room": Family(_fill_room, _room_pose, 28.0, 1.2, 0.6),
    "tabletop": Family(_fill_tabletop, _tabletop_pose, 88.0, 0.5, 0.12),
    "shelf": Family(_fill_shelf, _shelf_pose, 36.0, 0.6, 0.2),
    "street": Family(_fill_street, _street_pose, 40.0, 2.0, 1.4),
    "forest": Family(_fill_forest, _forest_pose, 50.0, 1.5, 0.5),
    "objects": Family(fill_objects, objects_pose, 88.0, 0.6, 0.16, tuple(OBJECT_LABELS)),
}
# Part of a world's seed, as the first families were numbered when there were five; later ones follow.
_NUMBERS = {"forest": 0, "room": 1, "shelf": 2, "street": 3, "tabletop": 4, "objects": 5}

# Place of the ground among the faces of a shell.
_GROUND = 4


@functools.lru_cache(maxsize=8)
def build_world(family: str, seed: int, *, has_plain_walls: bool = False) -> World:
    """Build the world of a family; equal arguments give equal worlds.

    Plain walls, and the ceiling, have one colour: nothing in a photograph tells where on them one looks.
    """
    kind = FAMILIES[family]
    rng = np.random.default_rng([seed, _NUMBERS[family]])
    stage = Stage(rng, seed, kind.grain_size, kind.period)
    kind.fill(stage)
    shell = stage.solids[0]
    spread = (stage.between(-0.6, 0.6), stage.between(-0.8, -0.3), stage.between(0.7, 0.95))
    light = [middle + part * half for middle, half, part in zip(shell.center, shell.half_size, spread, strict=True)]
    solids = [_plain(shell), *stage.solids[1:]] if has_plain_walls else stage.solids
    return World.of(solids, (light[0], light[1], light[2]))


def _plain(shell: Solid) -> Solid:
    """Return a shell of which only the ground keeps pattern and noise."""
    faces = [
        face
        if place == _GROUND
        else replace(face, paint=replace(face.paint, pattern=Pattern.PLAIN, grain=0.0, gloss=0.0))
        for place, face in enumerate(shell.surfaces)
    ]
    return replace(shell, surfaces=tuple(faces))


def camera_path(family: str, view_count: int, spacing: float) -> list[Float[Tensor, "4 4"]]:
    """Return w2c of views along the family's path, ``spacing`` usual steps apart if the path has room."""
    kind = FAMILIES[family]
    step = min(spacing, kind.max_steps / max(1, view_count - 1))
    poses = (kind.pose(step * (number - (view_count - 1) / 2)) for number in range(view_count))
    return [look_at(*torch.tensor(pose, dtype=torch.float64)) for pose in poses]
