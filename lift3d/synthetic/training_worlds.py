"""Families of training worlds: rooms, piles, shelves, statues, woods, lattices, ground, streets, floating things.

Units are metres in spirit; examples scale the whole world afterwards. Every family says where cameras may be.
"""

from collections.abc import Callable

import numpy as np

from lift3d.synthetic.building import Site, facing, rotation
from lift3d.synthetic.textures import cutout, fractal_noise
from lift3d.synthetic.trajectories import CameraBounds
from lift3d.synthetic.world import Shape


def _hull(site: Site, wide: float, deep: float, high: float) -> None:
    """Walls, floor and ceiling, with pictures on the walls and sometimes a slanted wall or roof."""
    site.put(Shape.SHELL, (0, 0, high / 2), (wide, deep, high / 2))
    for _ in range(int(site.rng.integers(0, 7))):
        side, along = site.rng.choice([-1.0, 1.0]), site.between(-0.8, 0.8)
        size = (site.between(0.2, 0.8), site.between(0.2, 0.6), 0.02)
        if site.chance(0.5):
            place, normal = (along * wide, side * (deep - 0.01), site.between(0.45, 0.7) * high), (0.0, -side, 0.0)
        else:
            place, normal = (side * (wide - 0.01), along * deep, site.between(0.45, 0.7) * high), (-side, 0.0, 0.0)
        site.put(Shape.CARD, place, size, facing(normal))
    if site.chance(0.5):
        lean = site.between(0.3, 1.2)
        side = float(site.rng.choice([-1.0, 1.0]))
        normal = (-side * np.cos(lean), site.between(-0.2, 0.2), -np.sin(lean))
        site.put(Shape.CARD, (side * wide * 0.85, 0, high * 0.85), (2 * deep, wide, 0.1), facing(normal))


def _room(site: Site) -> CameraBounds:
    wide, deep, high = site.between(2, 4), site.between(2, 4), site.between(2.4, 3.2)
    _hull(site, wide, deep, high)
    for _ in range(int(site.rng.integers(8, 22))):
        angle, radius = site.between(0, 2 * np.pi), np.sqrt(site.between(0.1, 0.85))
        place = (radius * wide * np.cos(angle), radius * deep * np.sin(angle), 0.0)
        site.standing(place, site.between(0.12, 0.55))
    for _ in range(int(site.rng.integers(1, 4))):
        _table(site, site.between(-0.5, 0.5) * wide, site.between(-0.5, 0.5) * deep, site.between(0.4, 0.8))
    for _ in range(int(site.rng.integers(0, 4))):
        x, y = site.between(-0.6, 0.6) * wide, site.between(-0.6, 0.6) * deep
        site.rod((x, y, high), (x, y, high - site.between(0.4, 0.9)), 0.015)
        site.thing((x, y, high - 0.9), 0.2)
    box = ((-0.8 * wide, -0.8 * deep, 0.9), (0.8 * wide, 0.8 * deep, 1.9))
    return CameraBounds((0, 0, 1.2), 0.7 * min(wide, deep), *box, ("inside-out", "walk", "loose", "outside-in"))


def _table(site: Site, x: float, y: float, height: float) -> None:
    wide, deep = site.between(0.3, 0.8), site.between(0.3, 0.6)
    surface = site.put(Shape.BOX, (x, y, height), (wide, deep, 0.03))
    for side in (-1, 1):
        for end in (-1, 1):
            foot = (x + side * (wide - 0.05), y + end * (deep - 0.05), 0.0)
            site.rod(foot, (foot[0], foot[1], height), 0.025, surface)
    for _ in range(int(site.rng.integers(1, 6))):
        place = (x + site.between(-0.8, 0.8) * wide, y + site.between(-0.8, 0.8) * deep, height + 0.03)
        site.standing(place, site.between(0.05, 0.15))


def _pile(site: Site) -> CameraBounds:
    if site.chance(0.7):
        site.put(Shape.SHELL, (0, 0, 1.2), (site.between(2, 4), site.between(2, 4), 1.7))
    half = site.between(0.5, 0.9)
    shape = Shape.TUBE if site.chance(0.4) else Shape.BOX
    site.put(shape, (0, 0, -0.05), (half, half, 0.05), rotation(site.rng, 0.0))
    for number in range(int(site.rng.integers(8, 26))):
        angle, radius = site.between(0, 2 * np.pi), half * 0.8 * np.sqrt(site.between(0, 1))
        size = site.between(0.06, 0.22)
        # Later things lie higher up, where the pile is highest.
        height = size * 0.5 + 0.02 * number * (1 - radius / half)
        place = (radius * np.cos(angle), radius * np.sin(angle), height)
        if site.chance(0.5):
            site.thing(place, size)
        else:
            site.standing((place[0], place[1], 0.0), size)
    box = ((-1.8, -1.8, 0.15), (1.8, 1.8, 2.2))
    return CameraBounds((0, 0, 0.15), 1.25, *box, ("outside-in", "outside-in", "loose", "forward"))


def _shelf(site: Site) -> CameraBounds:
    site.put(Shape.SHELL, (0, -1.0, 1.3), (3.0, 3.0, 1.3))
    back, columns, boards = 1.6, int(site.rng.integers(2, 5)), int(site.rng.integers(3, 6))
    wide = 1.4
    surface = site.put(Shape.BOX, (0, back + 0.2, 1.1), (wide, 0.02, 1.1))
    for x in np.linspace(-wide, wide, columns + 1):
        site.put(Shape.BOX, (x, back, 1.1), (0.02, 0.2, 1.1), surface=surface)
    for z in np.linspace(0.1, 2.1, boards + 1):
        site.put(Shape.BOX, (0, back, z), (wide, 0.2, 0.015), surface=surface)
        for x in np.arange(-wide + 0.1, wide - 0.1, site.between(0.1, 0.25)):
            if site.chance(0.75):
                place = (float(x), back + site.between(-0.12, 0.05), float(z) + 0.015)
                site.standing(place, site.between(0.04, 0.13))
    for _ in range(int(site.rng.integers(0, 5))):
        site.standing((site.between(-1.5, 1.5), site.between(0.2, 1.2), 0), site.between(0.1, 0.35))
    box = ((-2.0, -2.5, 0.3), (2.0, 0.9, 2.2))
    return CameraBounds((0, back, 1.1), site.between(1.4, 2.6), *box, ("forward", "forward", "walk", "loose"))


def _ground(site: Site, extent: float, roughness: float, far: float) -> None:
    """Flat or hilly ground up to far away, and something on the horizon."""
    if site.chance(0.5):
        site.put(Shape.BOX, (0, 0, -0.5), (far, far, 0.5), surface=site.surface(extent))
    else:
        heights = fractal_noise(site.rng, 128, first=2) * 2 - 1
        surface = site.surface(extent)
        site.put(Shape.RELIEF, (0, 0, -roughness), (far, far, roughness), surface=surface, field=heights)
    for number in range(int(site.rng.integers(6, 16))):
        angle, distance = 2.4 * number, far * site.between(0.35, 0.95)
        place = (distance * np.cos(angle), distance * np.sin(angle), 0.0)
        size = distance * site.between(0.08, 0.25)
        if site.chance(0.6):
            site.standing(place, size)
        else:
            normal = (-place[0], -place[1], 0.0)
            field = cutout(site.rng) if site.chance(0.5) else None
            site.put(Shape.CARD, place, (size, size, 0.01), facing(normal), field=field)


def _statue(site: Site) -> CameraBounds:
    _ground(site, 2.5, site.between(0.05, 0.3), site.between(15, 50))
    site.put(Shape.BOX, (0, 0, 0.2), (0.5, 0.5, 0.2), rotation(site.rng, 0.0))
    surface, height = site.surface(0.6), 0.4
    for _ in range(int(site.rng.integers(5, 14))):
        size = site.between(0.1, 0.35)
        place = np.array([site.between(-0.25, 0.25), site.between(-0.25, 0.25), height + 0.5 * size])
        shape = Shape(int(site.rng.choice([0, 1, 1, 1, 2])))
        half = size * site.rng.uniform(0.5, 1.2, 3)
        half[1] = half[0] if shape == Shape.TUBE else half[1]
        site.put(shape, place, half, rotation(site.rng), surface if site.chance(0.7) else None)
        height += size * site.between(0.3, 0.9)
    for _ in range(int(site.rng.integers(0, 10))):
        angle, distance = site.between(0, 2 * np.pi), site.between(1.0, 5.0)
        site.standing((distance * np.cos(angle), distance * np.sin(angle), -0.05), site.between(0.1, 0.4))
    distance = site.between(1.8, 3.5)
    box = ((-5, -5, 0.35), (5, 5, 4.0))
    return CameraBounds((0, 0, 0.4 + 0.4 * height), distance, *box, ("outside-in", "outside-in", "loose"))


def _woods(site: Site) -> CameraBounds:
    _ground(site, 3.0, site.between(0.05, 0.3), site.between(15, 30))
    surfaces = [site.surface(0.6) for _ in range(4)]
    for _ in range(int(site.rng.integers(30, 80))):
        x, y = site.between(-4, 4), site.between(-1, 9)
        radius, height = np.exp(site.between(np.log(0.01), np.log(0.15))), site.between(1.5, 5)
        lean = site.rng.normal(0, 0.25, 2)
        surface = surfaces[int(site.rng.integers(4))]
        site.rod((x, y, -0.2), (x + lean[0], y + lean[1], height), radius, surface)
        if site.chance(0.5):
            size = site.between(0.3, 1.1)
            crown = (x + lean[0], y + lean[1], height)
            field = cutout(site.rng)
            for _ in range(2):
                site.put(Shape.CARD, crown, (size, size, 0.01), rotation(site.rng), field=field)
    for _ in range(int(site.rng.integers(0, 12))):
        start = np.array([site.between(-3, 3), site.between(0, 6), site.between(0.2, 3)])
        site.rod(start, start + site.rng.normal(0, 1.2, 3), site.between(0.006, 0.02))
    box = ((-3.5, -4, 0.5), (3.5, 5, 2.5))
    return CameraBounds((0, 3.0, 1.3), site.between(2.5, 4.5), *box, ("forward", "walk", "loose", "outside-in"))


def _lattices(site: Site) -> CameraBounds:
    """Fences, grids, bars and wires one behind the other, before a textured wall."""
    site.put(Shape.SHELL, (0, 2.0, 1.5), (site.between(2.5, 4), 5.0, 2.0))
    for _ in range(int(site.rng.integers(2, 6))):
        place = (site.between(-1.2, 1.2), site.between(0.5, 4), site.between(0.8, 2))
        normal = (site.rng.normal(0, 0.4), -1.0, site.rng.normal(0, 0.2))
        size = (site.between(0.6, 1.8), site.between(0.5, 1.3), 0.01)
        site.put(Shape.CARD, place, size, facing(normal), field=cutout(site.rng))
    surface = site.surface(0.5)
    for _ in range(int(site.rng.integers(5, 25))):
        y = site.between(0.5, 4)
        start = (site.between(-2.5, 2.5), y, site.between(-0.4, 3.4))
        end = (site.between(-2.5, 2.5), y + site.rng.normal(0, 0.5), site.between(-0.4, 3.4))
        site.rod(start, end, np.exp(site.between(np.log(0.006), np.log(0.05))), surface if site.chance(0.5) else None)
    for _ in range(int(site.rng.integers(3, 12))):
        site.thing((site.between(-2, 2), site.between(1, 6), site.between(-0.3, 2.5)), site.between(0.15, 0.6))
    box = ((-2.2, -2.5, 0.4), (2.2, 1.5, 2.6))
    return CameraBounds(
        (0, 2.5, 1.4), site.between(2.2, 3.8), *box, ("forward", "forward", "walk", "outside-in", "loose")
    )


def _hills(site: Site) -> CameraBounds:
    """Relief from above, with stones and poles in it."""
    extent, rise = site.between(3, 6), site.between(0.3, 1.0)
    heights = fractal_noise(site.rng, int(site.rng.choice([48, 96])), first=int(site.rng.integers(2, 5))) * 2 - 1
    site.put(Shape.RELIEF, (0, 0, 0), (3 * extent, 3 * extent, rise), surface=site.surface(extent), field=heights)
    for _ in range(int(site.rng.integers(5, 30))):
        where = site.rng.uniform(-1, 1, 2) * extent
        cell = np.floor((where / (3 * extent) + 1) / 2 * heights.shape[0]).astype(int)
        z = float(heights[cell[1], cell[0]]) * rise
        if site.chance(0.7):
            site.thing((where[0], where[1], z), site.between(0.08, 0.6), 0.6)
        else:
            site.rod((where[0], where[1], z - 0.1), (where[0], where[1], z + site.between(0.4, 1.5)), 0.03)
    box = ((-extent, -extent, rise + 0.4), (extent, extent, rise + 4))
    trajectories = ("outside-in", "walk", "loose", "forward")
    return CameraBounds((0, 0, 0.3), site.between(2.5, 4.5), *box, trajectories, site.between(0, 6))


def _street(site: Site) -> CameraBounds:
    """A long way between slanted walls and repeated fronts, open or closed above."""
    wide, length = site.between(1.5, 5), site.between(15, 40)
    site.put(Shape.BOX, (0, length / 2, -0.5), (4 * wide, length, 0.5), surface=site.surface(3))
    repeated = site.surface(2.0)
    for side in (-1.0, 1.0):
        y = -4.0
        while y < length:
            half, deep = site.between(0.6, 2.5), site.between(0.5, 1.5)
            turn = facing((-side, site.rng.normal(0, 0.12), site.rng.normal(0, 0.05)))
            place = (side * (wide + deep + site.between(0, 0.6)), y + half, site.between(0.5, 2))
            surface = repeated if site.chance(0.5) else None
            site.put(Shape.BOX, place, (half, site.between(1, 4), deep), turn, surface)
            y += 2 * half
    for _ in range(int(site.rng.integers(6, 25))):
        place = (site.between(-wide, wide), site.between(-1, 0.7 * length), 0.0)
        if site.chance(0.4):
            site.rod(place, (place[0], place[1], site.between(1, 4)), site.between(0.02, 0.08))
        else:
            site.standing(place, site.between(0.1, 0.6))
    if site.chance(0.6):
        site.put(Shape.CARD, (0, length, 2), (4 * wide, 5, 0.01), facing((site.rng.normal(0, 0.3), -1.0, 0.0)))
    box = ((-0.8 * wide, -3, 0.5), (0.8 * wide, 0.5 * length, 2.2))
    return CameraBounds((0, 6.0, 1.4), site.between(3, 6), *box, ("walk", "walk", "forward", "loose"))


def _floating(site: Site) -> CameraBounds:
    """Things of all sizes anywhere in the air, before walls or sky."""
    if site.chance(0.65):
        half = site.rng.uniform(3, 8, 3)
        site.put(Shape.SHELL, (0, 0, 0), half, rotation(site.rng) if site.chance(0.5) else None)
    for _ in range(int(site.rng.integers(15, 60))):
        place = site.rng.normal(0, 1.1, 3)
        site.thing(place, float(np.exp(site.between(np.log(0.08), np.log(0.8)))))
    box = ((-2.9, -2.9, -2.9), (2.9, 2.9, 2.9))
    return CameraBounds((0, 0, 0), 2.4, *box, ("outside-in", "loose", "forward", "walk"), site.between(0, 6))


def _rounded(site: Site) -> CameraBounds:
    """Large smooth shapes: balls and tubes on rolling ground, few edges."""
    heights = fractal_noise(site.rng, 64, first=int(site.rng.integers(2, 4)))
    smooth = np.ascontiguousarray(heights * 2 - 1)
    site.put(Shape.RELIEF, (0, 0, -0.4), (8, 8, site.between(0.2, 0.4)), surface=site.surface(2.0), field=smooth)
    if site.chance(0.7):
        site.put(Shape.SHELL, (0, 0, 2), (6, 6, 4))
    for _ in range(int(site.rng.integers(4, 14))):
        shape = Shape.BALL if site.chance(0.7) else Shape.TUBE
        half = site.between(0.2, 0.9) * site.rng.uniform(0.4, 1, 3)
        half[1] = half[0] if shape == Shape.TUBE else half[1]
        place = (site.between(-1.6, 1.6), site.between(-1.6, 1.6), site.between(-0.1, 0.9))
        site.put(shape, place, half, rotation(site.rng), surface=site.surface(0.8, glossiness=0.7))
    box = ((-4, -4, 0.4), (4, 4, 3.5))
    return CameraBounds(
        (0, 0, 0.3), site.between(2.2, 3.6), *box, ("outside-in", "loose", "forward"), site.between(0, 6)
    )


FAMILIES: dict[str, Callable[[Site], CameraBounds]] = {
    "room": _room,
    "pile": _pile,
    "shelf": _shelf,
    "statue": _statue,
    "woods": _woods,
    "lattices": _lattices,
    "hills": _hills,
    "street": _street,
    "floating": _floating,
    "rounded": _rounded,
}
