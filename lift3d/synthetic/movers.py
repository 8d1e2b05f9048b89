"""A thing that passes through a computed world: before some views it stands, each time elsewhere."""

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lift3d.domain.camera import Camera
from lift3d.synthetic.stage import Stage
from lift3d.synthetic.tracing import cast
from lift3d.synthetic.world import Shape, Solid, World

# Views that never have one, so that they tell what the world looks like.
SPARED = 8
# Where it is seen, as shares of either side of the image; how far off, of the median depth; its radius, of the height.
_MIDDLE, _NEARNESS, _RADIUS = (0.25, 0.75), (0.3, 0.5), 0.3
_LOOKS = ("box", "ball", "cylinder", "seat", "car")
_GRAIN_SIZE, _PERIOD = 0.6, 0.16
# Of one that crosses: how far, as a share of half the width, and its size beside that of one that stands.
_CROSSED, _SMALLER = 0.8, 0.4
# As many rows tell how far off things are.
_COARSE_ROWS = 30


@functools.lru_cache(maxsize=8)
def disturbed_views(share: float, seed: int, view_count: int, spare: int) -> frozenset[int]:
    """Return which views show what is no part of the scene: a share of those that are no ``spare``-th."""
    others = [index for index in range(view_count) if index % spare]
    order = np.random.default_rng(seed).permutation(len(others))
    return frozenset(others[place] for place in order[: round(share * len(others))])


def with_mover(world: World, camera: Camera, rng: np.random.Generator) -> World:
    """Return the world with a thing before a camera."""
    hits = cast(world, camera.resized(camera.size.with_height(min(_COARSE_ROWS, camera.size.height))))
    row, col = (int(rng.uniform(*_MIDDLE) * side) for side in hits.z_depth.shape)
    depth = float(hits.z_depth.median()) * rng.uniform(*_NEARNESS)
    center = camera.center + hits.direction[row, col] * depth
    radius = depth * _RADIUS * camera.size.height / float(camera.K[1, 1])
    stage = Stage(rng, 0, _GRAIN_SIZE * depth, _PERIOD * depth)
    wide, deep, high = (radius * rng.uniform(0.7, 1.2) for _ in range(3))
    shape = (Shape.BOX, Shape.BALL, Shape.TUBE)[int(rng.integers(3))]
    surface = stage.surface(_LOOKS[int(rng.integers(len(_LOOKS)))])
    x, y, z = center.tolist()
    mover = Solid(shape, (x, y, z), (wide, deep, high), (surface,), rng.uniform(0, math.pi))
    return World.of((*world.solids, mover), world.lamp)


def with_traveller(world: World, cameras: Sequence[Camera], seed: int, time: float) -> World:
    """Return the world with a thing that crosses what the middle camera sees, from its left at time 0 to its right."""
    camera = cameras[len(cameras) // 2]
    mover = with_mover(world, camera, np.random.default_rng(seed)).solids[-1]
    right, _, ahead = camera.c2w[:3, :3].T.numpy()
    depth = float((np.array(mover.center) - camera.center.numpy()) @ ahead)
    reach = _CROSSED * depth * camera.size.width / (2 * float(camera.K[0, 0]))
    x, y, z = (camera.center.numpy() + depth * ahead + (2 * time - 1) * reach * right).tolist()
    wide, deep, high = (_SMALLER * side for side in mover.half_size)
    return World.of((*world.solids, replace(mover, center=(x, y, z), half_size=(wide, deep, high))), world.lamp)
