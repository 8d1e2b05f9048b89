"""A procedural world: a closed shell with solids in it, and where the rays of a camera end.

Letters: a solid's local frame has its centre as origin and its vertical axis along world z (up); in *unit*
coordinates each local axis is divided by the half size, so that every box, ball and tube is the same shape. A
ray of a pixel is ``center + t · direction`` with a direction of camera z = 1, so that ``t`` is the z-depth.
"""

import itertools
from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.projection import project
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import transform

_NEAR = 1e-3


class Shape(IntEnum):
    """The unit shapes. A shell is a box seen from inside; it closes the world."""

    SHELL = 0
    BOX = 1
    BALL = 2
    TUBE = 3


class Pattern(IntEnum):
    """Regular patterns that lie over the noise of a surface."""

    PLAIN = 0
    CHECKS = 1
    STRIPES = 2
    BRICKS = 3
    WINDOWS = 4


@dataclass(frozen=True, slots=True)
class Paint:
    """How a surface looks.

    Attributes:
        color: sRGB in [0, 1].
        accent: Colour of every other check, stripe, brick joint or window.
        pattern: Which regular pattern.
        period: Length of the pattern, world units.
        grain: Contrast of the noise.
        grain_size: Longest wavelength of the noise, world units.
        gloss: Strength of the highlight.
        shift: Where the surface lies in the noise, in wavelengths; makes equal paints look different.
    """

    color: tuple[float, float, float]
    accent: tuple[float, float, float]
    pattern: Pattern
    period: float
    grain: float
    grain_size: float
    gloss: float
    shift: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Surface:
    """A part of the world that is one class and one instance."""

    label: int
    instance: int
    paint: Paint


@dataclass(frozen=True, slots=True)
class Solid:
    """A unit shape, stretched, turned about the vertical and placed.

    Attributes:
        shape: Which unit shape.
        center: World units.
        half_size: Half the extent along each local axis, world units.
        yaw: Turn about world z, radians.
        surfaces: One for all of it, or one per face (−x, +x, −y, +y, −z, +z) of a box or shell.
    """

    shape: Shape
    center: tuple[float, float, float]
    half_size: tuple[float, float, float]
    surfaces: tuple[Surface, ...]
    yaw: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Solids (the first is the shell), their surfaces face by face (six per solid), and one point light."""

    solids: tuple[Solid, ...]
    light: tuple[float, float, float]
    center: Float[Tensor, "solid 3"]
    half_size: Float[Tensor, "solid 3"]
    yaw: Float[Tensor, " solid"]
    shape: Int[Tensor, " solid"]
    surfaces: tuple[Surface, ...]

    @classmethod
    def of(cls, solids: list[Solid], light: tuple[float, float, float]) -> "World":
        """Tabulate the solids."""
        faces = [
            face for solid in solids for face in (solid.surfaces * 6 if len(solid.surfaces) == 1 else solid.surfaces)
        ]
        return cls(
            solids=tuple(solids),
            light=light,
            center=torch.tensor([solid.center for solid in solids], dtype=torch.float64),
            half_size=torch.tensor([solid.half_size for solid in solids], dtype=torch.float64),
            yaw=torch.tensor([solid.yaw for solid in solids], dtype=torch.float64),
            shape=torch.tensor([int(solid.shape) for solid in solids]),
            surfaces=tuple(faces),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Where the rays of a camera end.

    Attributes:
        z_depth: Camera z of the first surface.
        solid: Index of the solid that is hit.
        direction: Ray directions in world axes, camera z = 1.
    """

    z_depth: Float[Tensor, "row col"]
    solid: Int[Tensor, "row col"]
    direction: Float[Tensor, "row col 3"]


def to_local(xyz: Float[Tensor, "*batch 3"], yaw: Float[Tensor, "*#batch"]) -> Float[Tensor, "*batch 3"]:
    """Turn world vectors into the axes of solids."""
    cos, sin = yaw.cos(), yaw.sin()
    x, y, z = xyz.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], dim=-1)


def cast(world: World, camera: Camera, dtype: torch.dtype = torch.float64) -> Hits:
    """Find the first surface along the ray of each pixel centre; the shell encloses it, so all rays end."""
    height, width = camera.size.height, camera.size.width
    uv = cell_centers(height, width).to(torch.float64)
    rays = (directions_z1(uv, camera.K) @ camera.w2c[:3, :3]).to(dtype)
    z_depth = torch.full((height, width), torch.inf, dtype=dtype)
    index = torch.zeros((height, width), dtype=torch.int64)
    origins = (to_local(camera.center - world.center, world.yaw) / world.half_size).to(dtype)
    axes = torch.eye(3, dtype=torch.float64).expand(len(world.solids), 3, 3)
    turns = (to_local(axes, world.yaw[:, None]) / world.half_size[:, None]).to(dtype)
    for number, (top, bottom, left, right) in enumerate(_windows(world, camera)):
        if top >= bottom or left >= right:
            continue
        window = (slice(top, bottom), slice(left, right))
        t = _ENTRIES[world.solids[number].shape](origins[number], rays[window] @ turns[number])
        is_nearer = t < z_depth[window]
        z_depth[window] = torch.where(is_nearer, t, z_depth[window])
        index[window] = index[window].masked_fill(is_nearer, number)
    return Hits(z_depth, index, rays)


def _windows(world: World, camera: Camera) -> list[list[int]]:
    """Top, bottom, left and right of the pixels that can see each solid; empty if none can."""
    height, width = camera.size.height, camera.size.width
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    offsets = to_local(signs * world.half_size[:, None], -world.yaw[:, None])
    xyz_cam = transform(camera.w2c, offsets + world.center[:, None])
    uv, is_in_front = project(xyz_cam, camera.K)
    low, high = uv.amin(1).floor().nan_to_num(0), uv.amax(1).ceil().nan_to_num(max(height, width))
    # A solid that reaches behind the camera, as the shell does, may be anywhere.
    is_partly = ~is_in_front.all(1, keepdim=True)
    low = torch.where(is_partly, torch.zeros_like(low), low)
    high = torch.where(is_partly, torch.full_like(high, max(height, width)), high)
    high = torch.where(is_in_front.any(1, keepdim=True), high, torch.zeros_like(high))
    edges = [low[:, 1].clamp(0, height), high[:, 1].clamp(0, height), low[:, 0].clamp(0, width)]
    edges.append(high[:, 0].clamp(0, width))
    return torch.stack(edges, dim=1).long().tolist()  # type: ignore[no-any-return]


def _slabs(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Entry into and exit from the unit box (Kay & Kajiya 1986, Ray Tracing Complex Scenes)."""
    # A ray along a slab never crosses it; a tiny slope keeps the quotient finite and of the right sign.
    slope = torch.where(direction.abs() < 1e-12, torch.full_like(direction, 1e-12), direction)
    middle, half = -origin / slope, 1 / slope.abs()
    return (middle - half).amax(-1), (middle + half).amin(-1)


def _first(t: Tensor, is_hit: Tensor) -> Tensor:
    return torch.where(is_hit & (t > _NEAR), t, torch.full_like(t, torch.inf))


def _enter_box(origin: Tensor, direction: Tensor) -> Tensor:
    enter, leave = _slabs(origin, direction)
    return _first(enter, enter < leave)


def _leave_box(origin: Tensor, direction: Tensor) -> Tensor:
    return _slabs(origin, direction)[1]


def _quadratic(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest approach to the centre, and half the chord of the unit ball or circle (NaN: missed)."""
    squared = (direction * direction).sum(-1)
    t = -(direction @ origin) / squared
    # The squared distance from the nearest point, not b² − ac: the difference of large numbers loses digits
    # (Haines & Akenine-Möller, Ray Tracing Gems, ch. 7).
    nearest = origin + t[..., None] * direction
    return t, ((1 - (nearest * nearest).sum(-1)) / squared).sqrt()


def _enter_ball(origin: Tensor, direction: Tensor) -> Tensor:
    t, half_chord = _quadratic(origin, direction)
    return _first(t - half_chord, torch.isfinite(half_chord))


def _enter_tube(origin: Tensor, direction: Tensor) -> Tensor:
    # Looking straight along the axis the circle is missed or filled; a tiny slope decides as the limit does.
    slope = torch.where(direction.abs() < 1e-9, torch.full_like(direction, 1e-9), direction)
    t, half_chord = _quadratic(origin[:2], slope[..., :2])
    middle, half = -origin[2] / slope[..., 2], 1 / slope[..., 2].abs()
    enter = torch.maximum(t - half_chord, middle - half)
    leave = torch.minimum(t + half_chord, middle + half)
    return _first(enter, torch.isfinite(half_chord) & (enter < leave))


_ENTRIES = {Shape.SHELL: _leave_box, Shape.BOX: _enter_box, Shape.BALL: _enter_ball, Shape.TUBE: _enter_tube}
