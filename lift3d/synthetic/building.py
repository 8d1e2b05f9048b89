"""A training world in the making: draws materials, stands solids of any orientation."""

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray

from lift3d.synthetic.atlas import Atlas
from lift3d.synthetic.textures import cutout
from lift3d.synthetic.world import Material, Number, Shape, Sky, Solid, Surface, Tiling, Vector, World


def rotation(rng: np.random.Generator, tilt: float = 3.15) -> Float[ndarray, "3 3"]:
    """Draw an orientation: any turn about z after a tilt of at most ``tilt`` radians about a level axis."""
    yaw, lean, around = rng.uniform(0, 2 * np.pi), rng.uniform(0, tilt), rng.uniform(0, 2 * np.pi)
    axis = np.array([np.cos(around), np.sin(around), 0.0])
    cross = np.array([[0, 0, axis[1]], [0, 0, -axis[0]], [-axis[1], axis[0], 0]])
    leaned = np.eye(3) + np.sin(lean) * cross + (1 - np.cos(lean)) * cross @ cross
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.asarray(np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) @ leaned)


def facing(normal: Vector) -> Float[ndarray, "3 3"]:
    """Return axes whose third one points along a vector; the first is level where it can be."""
    third = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
    up = np.array([0.0, 0, 1]) if abs(third[2]) < 0.95 else np.array([0.0, 1, 0])
    first = np.cross(up, third)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third])


class Site:
    """Solids and the generator they are drawn from."""

    def __init__(self, rng: np.random.Generator, tile_count: int, plainness: float) -> None:
        """Take how many tiles there are (the last is the sky's) and how often a material has nearly no texture."""
        self.rng = rng
        self.solids: list[Solid] = []
        self._tile_count = tile_count
        self._plainness = plainness
        self._surface_count = 0

    def world(self, atlas: Atlas) -> World:
        """Return what has been built, under a sun from a random side."""
        sun = self.rng.normal((0, 0, 1.5), 1)
        to_sun = torch.from_numpy(sun / np.linalg.norm(sun))
        return World.of(self.solids, Sky(to_sun, self.between(0.3, 0.8), atlas, self._tile_count - 1))

    def between(self, low: Number, high: Number) -> float:
        """Draw a number."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Draw a yes or no."""
        return bool(self.rng.uniform() < probability)

    def surface(self, extent: Number, glossiness: float = 0.3) -> Surface:
        """Draw the material of a surface of some extent, world units."""
        rng = self.rng
        is_plain = self.chance(self._plainness)
        is_glossy = self.chance(glossiness)
        tint = rng.uniform(0.75, 1.2) + rng.normal(0, 0.07, 3)
        tiling = Tiling(
            tile=int(rng.integers(self._tile_count - 1)),
            length=extent * self.between(0.5, 1.6),
            turn=float(rng.choice([0, 0.5, 1, 1.5])) * np.pi + self.between(-0.4, 0.4) * self.chance(0.4),
            shift=(self.between(0, 2), self.between(0, 2)),
            tint=tuple(tint.tolist()),
            flatness=self.between(0.8, 1.0) if is_plain else self.between(0, 0.4) * self.chance(0.4),
            detail=self.between(0, 0.04) if is_plain else self.between(0.1, 0.7),
        )
        material = Material(
            tiling,
            gloss=self.between(0.1, 0.7) if is_glossy else 0.0,
            sharpness=float(np.exp(rng.uniform(np.log(8), np.log(120)))),
            mirror=self.between(0.03, 0.3) if is_glossy and self.chance(0.4) else 0.0,
        )
        self._surface_count += 1
        return Surface(0, self._surface_count - 1, material)

    def put(
        self,
        shape: Shape,
        center: Vector,
        half_size: Vector,
        axes: Float[ndarray, "3 3"] | None = None,
        surface: Surface | None = None,
        field: Float32[ndarray, "row col"] | None = None,
    ) -> Surface:
        """Place a solid; without a surface it gets a new one (a shell: one per face). Returns the first."""
        longest = np.sort(half_size)
        surfaces: tuple[Surface, ...]
        if surface is not None:
            surfaces = (surface,)
        elif shape == Shape.SHELL:
            surfaces = tuple(self.surface(float(longest[-1])) for _ in range(6))
        else:
            # Thin things show a piece of a tile that is longer than they are wide.
            surfaces = (self.surface(float(longest[1:].mean() * 2)),)
        self.solids.append(Solid(shape, center, half_size, surfaces, axes=axes, field=field))
        return surfaces[0]

    def rod(self, start: Vector, end: Vector, radius: float, surface: Surface | None = None) -> Surface:
        """Place a tube between two points."""
        a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        length = float(np.linalg.norm(b - a))
        return self.put(Shape.TUBE, (a + b) / 2, (radius, radius, length / 2), facing(b - a), surface)

    def thing(self, where: Vector, radius: float, tilt: float = 3.15) -> None:
        """Place a box, ball, tube or pierced card of about a radius, at any turn."""
        shape = Shape(int(self.rng.choice([0, 0, 0, 1, 1, 2, 2, 3])))
        half = radius * self.rng.uniform(0.35, 1.0, 3)
        if shape == Shape.TUBE:
            half[1] = half[0]
        field = cutout(self.rng) if shape == Shape.CARD else None
        self.put(shape, where, half, rotation(self.rng, tilt), field=field)

    def standing(self, where: Vector, radius: float) -> None:
        """Stand a box, ball or tube with its foot at a point."""
        shape = Shape(int(self.rng.integers(3)))
        wide, deep, high = radius * self.rng.uniform(0.5, 1.0, 3) * [1, 1, 1.5]
        half = (wide, wide if shape == Shape.TUBE else deep, high)
        self.put(shape, (where[0], where[1], where[2] + high), half, rotation(self.rng, 0.0))

    def clear(self, centers: Float[ndarray, "camera 3"], clearance: float) -> None:
        """Take away what stands too near a camera; shells and reliefs stay, and large things may be nearer."""
        self.solids = [
            solid
            for solid in self.solids
            if solid.shape in (Shape.SHELL, Shape.RELIEF)
            or _distance(solid, centers) > clearance * (0.3 if max(solid.half_size) > 6 * clearance else 1)
        ]


def _distance(solid: Solid, xyz: Float[ndarray, "point 3"]) -> float:
    """Return how far the nearest point is from the box around a solid, 0 inside."""
    local = (xyz - solid.center) @ (np.eye(3) if solid.axes is None else solid.axes).T
    return float(np.linalg.norm(np.maximum(np.abs(local) - solid.half_size, 0), axis=1).min())
