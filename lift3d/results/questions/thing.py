"""A thing of a scene: points with a name, and its shape as far as views show it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.errors import ConfigError

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

# Of the points of a thing, this share at either end of it is taken for stray.
STRAY = 0.005
# Directions that extents are looked for along, in a plane and in space.
_TURNS, _DIRECTIONS = 90, 400
# What lies so near to an end of a thing, in shares of its extent, tells by this share whether it may go on there.
_NEAR_END, _OPEN = 0.05, 0.3
# Of its height, so much may be out of sight between its lowest points and what it stands on.
_STANDING = 0.33

Vector = Float[ndarray, "3"]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a view shows of a thing: which of its points, and where all of them are on the image and from the camera."""

    camera: Camera
    is_seen: Bool[ndarray, " point"]
    uv: Float[ndarray, "point 2"]
    z_depth: Float[ndarray, " point"]


@dataclass(frozen=True, eq=False)
class Thing:
    """A mask and its name.

    Attributes:
        id: The mask.
        name: What it is called.
        xyz: Its points, without those that lie apart, in the world of the scene's cameras.
        normals: Theirs, of length 1, towards free space.
        is_end: Which of them are beside a picture's border, or something nearer, in every view that shows them: the
            thing may go on there.
        noise: How far a point may lie from where it is said to be, in units of the world: half the spacing of points,
            and as much as views' own depths differ from it.
        spacing: Of the points.
        footing: How far its lowest points are from what else there is as low, most of them, in spacings.
        up: Where up is, of length 1; None if nobody knows.
        shown: By view, where a view shows enough of it.
    """

    id: int
    name: str
    xyz: Float[ndarray, "point 3"]
    normals: Float[ndarray, "point 3"]
    is_end: Bool[ndarray, " point"]
    noise: float
    spacing: float
    footing: float
    up: Vector | None
    shown: Mapping[ViewId, Shown]

    def extent(self, direction: Vector) -> tuple[float, float, bool]:
        """Return the least and the largest coordinate along a direction, and whether it may go on at either end."""
        along = self.xyz @ direction
        low, high = np.quantile(along, (STRAY, 1 - STRAY))
        near = _NEAR_END * (high - low) + self.spacing / 2
        ends = [self.is_end[along < low + near], self.is_end[along > high - near]]
        return float(low), float(high), any(bool(one.mean() > _OPEN) for one in ends)

    @cached_property
    def sides(self) -> tuple[Vector, Vector, Vector]:
        """The axes of the smallest upright box: two level ones, and up. ConfigError if nobody knows where up is."""
        east, north, up = self._level
        turn = np.linspace(0, np.pi / 2, _TURNS, endpoint=False)[:, None]
        sides = (np.cos(turn) * east + np.sin(turn) * north, np.cos(turn) * north - np.sin(turn) * east)
        spans = [np.ptp(np.quantile(self.xyz @ one.T, (STRAY, 1 - STRAY), axis=0), axis=0) for one in sides]
        best = int((spans[0] * spans[1]).argmin())
        return sides[0][best], sides[1][best], up

    @cached_property
    def extents(self) -> tuple[tuple[float, float, bool], ...]:
        """Along ``sides``, as ``extent`` has them."""
        return tuple(map(self.extent, self.sides))

    @property
    def middle(self) -> Vector:
        """The middle of the smallest upright box, in the world."""
        place: Vector = np.array([(low + high) / 2 for low, high, _ in self.extents]) @ np.stack(self.sides)
        return place

    @property
    def is_standing(self) -> bool:
        """Whether it is seen down to what it stands on, but for a third of its height, as a ball is."""
        low, high, _ = self.extents[2]
        return self.footing * self.spacing <= _STANDING * (high - low)

    @cached_property
    def around_deg(self) -> float:
        """From how many degrees around it, seen from above, views show it."""
        from_it = np.stack([one.camera.center.numpy() for one in self.shown.values()]) - self.xyz.mean(0)
        east, north, _ = (from_it @ one for one in self._level)
        angle = np.sort(np.degrees(np.arctan2(north, east)))
        return float(360 - np.diff(np.append(angle, angle[0] + 360)).max())

    @cached_property
    def longest_side(self) -> Vector:
        """The direction in space along which it is longest."""
        index = np.arange(_DIRECTIONS) + 0.5
        # Spread evenly over half a sphere (Fibonacci's spiral).
        z, turn = index / _DIRECTIONS, np.pi * (1 + 5**0.5) * index
        across = np.sqrt(1 - z**2)
        directions = np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=1)
        best: Vector = directions[int(np.ptp(self.xyz @ directions.T, axis=0).argmax())]
        return best

    @cached_property
    def tree(self) -> "cKDTree":
        """Its points, to be searched."""
        from scipy.spatial import cKDTree

        return cKDTree(self.xyz)

    @property
    def _level(self) -> tuple[Vector, Vector, Vector]:
        if self.up is None:
            raise ConfigError(f"Where up is for '{self.name}' is not known; say it: up=(x, y, z).")
        east = np.cross(self.up, np.eye(3)[int(np.abs(self.up).argmin())])
        east /= np.linalg.norm(east)
        return east, np.cross(self.up, east), self.up
