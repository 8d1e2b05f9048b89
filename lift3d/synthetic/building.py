"""A training world in the making: draws skins, stands solids of any orientation."""

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from lift3d.synthetic.skins import Atlas, Skin
from lift3d.synthetic.solids import Kind, Solid
from lift3d.synthetic.textured_shading import World
from lift3d.synthetic.textures import cutout

_Number = float | int
_Vector = Float[ndarray, "3"] | tuple[_Number, _Number, _Number]


def rotation(rng: np.random.Generator, tilt: float = 3.15) -> Float[ndarray, "3 3"]:
    """Draw an orientation: any turn about z after a tilt of at most ``tilt`` radians about a level axis."""
    yaw, lean, around = rng.uniform(0, 2 * np.pi), rng.uniform(0, tilt), rng.uniform(0, 2 * np.pi)
    axis = np.array([np.cos(around), np.sin(around), 0.0])
    cross = np.array([[0, 0, axis[1]], [0, 0, -axis[0]], [-axis[1], axis[0], 0]])
    leaned = np.eye(3) + np.sin(lean) * cross + (1 - np.cos(lean)) * cross @ cross
    cos, sin = np.cos(yaw), np.sin(yaw)
    axes: ndarray = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) @ leaned
    return axes


def facing(normal: _Vector) -> Float[ndarray, "3 3"]:
    """Return axes whose third one points along a vector; the first is level where it can be."""
    third = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
    up = np.array([0.0, 0, 1]) if abs(third[2]) < 0.95 else np.array([0.0, 1, 0])
    first = np.cross(up, third)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third])


class Site:
    """Solids, skins and the generator they are drawn from."""

    def __init__(self, rng: np.random.Generator, tile_count: int, plainness: float) -> None:
        """Take how many tiles there are (the last is the sky's) and how often a skin has nearly no texture."""
        self.rng = rng
        self.solids: list[Solid] = []
        self.skins: list[Skin] = []
        self._tile_count = tile_count
        self._plainness = plainness

    def world(self, atlas: Atlas) -> World:
        """Return what has been built, under a sun from a random side."""
        sun = self.rng.normal((0, 0, 1.5), 1)
        return World(
            solids=tuple(self.solids),
            skins=tuple(self.skins),
            atlas=atlas,
            sky_tile=self._tile_count - 1,
            to_sun=sun / np.linalg.norm(sun),
            ambient=self.between(0.3, 0.8),
        )

    def between(self, low: _Number, high: _Number) -> float:
        """Draw a number."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Draw a yes or no."""
        return bool(self.rng.uniform() < probability)

    def skin(self, extent: _Number, glossiness: float = 0.3) -> int:
        """Draw a skin for a surface of some extent, world units, and return its number."""
        rng = self.rng
        is_plain = self.chance(self._plainness)
        is_glossy = self.chance(glossiness)
        tint = rng.uniform(0.75, 1.2) + rng.normal(0, 0.07, 3)
        self.skins.append(
            Skin(
                tile=int(rng.integers(self._tile_count - 1)),
                length=extent * self.between(0.5, 1.6),
                turn=float(rng.choice([0, 0.5, 1, 1.5])) * np.pi + self.between(-0.4, 0.4) * self.chance(0.4),
                shift=(self.between(0, 2), self.between(0, 2)),
                tint=(float(tint[0]), float(tint[1]), float(tint[2])),
                flatness=self.between(0.8, 1.0) if is_plain else self.between(0, 0.4) * self.chance(0.4),
                detail=self.between(0, 0.04) if is_plain else self.between(0.1, 0.7),
                gloss=self.between(0.1, 0.7) if is_glossy else 0.0,
                sharpness=float(np.exp(rng.uniform(np.log(8), np.log(120)))),
                mirror=self.between(0.03, 0.3) if is_glossy and self.chance(0.4) else 0.0,
            )
        )
        return len(self.skins) - 1

    def put(
        self,
        kind: Kind,
        center: _Vector,
        half_size: _Vector,
        axes: Float[ndarray, "3 3"] | None = None,
        skin: int | None = None,
        field: Float32[ndarray, "row col"] | None = None,
    ) -> int:
        """Place a solid; without a skin it gets a new one (a hollow: one per face). Returns its skin."""
        half = np.asarray(half_size, dtype=np.float64)
        if kind == Kind.HOLLOW and skin is None:
            skins = tuple(self.skin(float(half.max())) for _ in range(6))
        else:
            # Thin things show a piece of a tile that is longer than they are wide.
            chosen = self.skin(float(np.sort(half)[1:].mean() * 2)) if skin is None else skin
            skins = (chosen,) * 6
        axes = np.eye(3) if axes is None else axes
        place = np.asarray(center, dtype=np.float64)
        six = (skins[0], skins[1], skins[2], skins[3], skins[4], skins[5])
        self.solids.append(Solid(kind, place, half, axes, six, field))
        return skins[0]

    def rod(self, start: _Vector, end: _Vector, radius: float, skin: int | None = None) -> int:
        """Place a tube between two points."""
        a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        length = float(np.linalg.norm(b - a))
        return self.put(Kind.TUBE, (a + b) / 2, (radius, radius, length / 2), facing(b - a), skin)

    def thing(self, where: _Vector, radius: float, tilt: float = 3.15) -> None:
        """Place a box, ball, tube or pierced card of about a radius, at any turn."""
        kind = Kind(int(self.rng.choice([0, 0, 0, 1, 1, 2, 2, 3])))
        half = radius * self.rng.uniform(0.35, 1.0, 3)
        if kind == Kind.TUBE:
            half[1] = half[0]
        field = cutout(self.rng) if kind == Kind.CARD else None
        self.put(kind, where, half, rotation(self.rng, tilt), field=field)

    def standing(self, where: _Vector, radius: float) -> None:
        """Stand a box, ball or tube with its foot at a point."""
        kind = Kind(int(self.rng.integers(3)))
        wide, deep, high = radius * self.rng.uniform(0.5, 1.0, 3) * [1, 1, 1.5]
        half = (wide, wide if kind == Kind.TUBE else deep, high)
        self.put(kind, (where[0], where[1], where[2] + high), half, rotation(self.rng, 0.0))

    def clear(self, centers: Float[ndarray, "camera 3"], clearance: float) -> None:
        """Take away what stands too near a camera; hollows and reliefs stay, and large things may be nearer."""
        self.solids = [
            solid
            for solid in self.solids
            if solid.kind in (Kind.HOLLOW, Kind.RELIEF)
            or solid.distance(centers).min() > clearance * (0.3 if solid.half_size.max() > 6 * clearance else 1)
        ]
