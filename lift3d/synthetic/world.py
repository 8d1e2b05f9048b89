"""A computed world: solids, what their surfaces are made of, and its light.

A solid's local frame has its centre as origin; in *unit* coordinates each local axis is divided by the half size,
so that every box, ball and tube is the same shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from torch import Tensor

from lift3d.synthetic.atlas import Atlas

_Triple = tuple[float, float, float]
Number = float | int
Vector = tuple[Number, Number, Number] | Float[ndarray, "3"]


class Pattern(IntEnum):
    """Regular patterns that lie over the noise of a painted surface."""

    PLAIN = 0
    CHECKS = 1
    STRIPES = 2
    BRICKS = 3
    WINDOWS = 4


@dataclass(frozen=True, slots=True)
class Paint:
    """Colour by formula: a pattern of two colours under noise.

    Attributes:
        color: sRGB in [0, 1].
        accent: Colour of every other check, stripe, brick joint or window.
        period: Length of the pattern, world units.
        grain: Contrast of the noise, whose longest wavelength is ``grain_size`` world units.
        shift: Where the surface lies in the noise, in wavelengths; makes equal paints look different.
    """

    color: _Triple
    accent: _Triple
    pattern: Pattern
    period: float
    grain: float
    grain_size: float
    shift: _Triple


@dataclass(frozen=True, slots=True)
class Tiling:
    """Colour from a picture: a tile of the world's atlas, laid side by side, mirrored.

    Attributes:
        length: How long one tile is on the surface, world units.
        turn: Of the tile on the surface, radians.
        shift: Where the tile starts, tiles.
        flatness: 0 shows the tile, 1 only its mean colour.
        detail: Contrast of a second, finer layer of the same tile.
    """

    tile: int
    length: float
    turn: float
    shift: tuple[float, float]
    tint: _Triple
    flatness: float
    detail: float


@dataclass(frozen=True, slots=True)
class Material:
    """How a surface looks; in one world all are painted or all are tiled.

    A highlight has strength ``gloss`` and exponent ``sharpness``; ``mirror`` is the share of the sky that is reflected.
    """

    coat: Paint | Tiling
    gloss: float
    sharpness: float = 24.0
    mirror: float = 0.0


class Shape(IntEnum):
    """Unit shapes. A shell is a box seen from inside; a card lies in z = 0; relief is z = height(x, y)."""

    BOX = 0
    BALL = 1
    TUBE = 2
    CARD = 3
    SHELL = 4
    RELIEF = 5


@dataclass(frozen=True, slots=True)
class Surface:
    """A part of the world that is one class and one instance."""

    label: int
    instance: int
    material: Material


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """A unit shape, stretched, turned and placed.

    Attributes:
        half_size: Half the extent along each local axis, world units.
        surfaces: One for all of it, or one per face (−x, +x, −y, +y, −z, +z).
        yaw: Turn about world z, radians.
        axes: Local axes in the world, one per row; by default the world's, turned by ``yaw``.
        field: Heights in [−1, 1] of a relief; opacity of a card, which has holes where it is below a half.
    """

    shape: Shape
    center: Vector
    half_size: Vector
    surfaces: tuple[Surface, ...]
    yaw: float = 0.0
    axes: Float[ndarray, "3 3"] | None = None
    field: Float32[ndarray, "row col"] | None = None

    @property
    def heights(self) -> Float32[ndarray, "row col"]:
        """Heights of a relief; flat without a field."""
        return np.zeros((2, 2), dtype=np.float32) if self.field is None else self.field


@dataclass(frozen=True, slots=True)
class Lamp:
    """A point light in a closed world."""

    position: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Sky:
    """A sun (``to_sun`` is a unit vector), and a sky where rays hit nothing, which is a tile of the world's atlas.

    ``ambient`` is the share of the light that comes from everywhere.
    """

    to_sun: Float[Tensor, "3"]
    ambient: float
    atlas: Atlas
    tile: int


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Solids with what is looked up of them, their surfaces face by face (six per solid), and the light.

    Attributes:
        axes: Local axes in the world, one per row; ``axes32`` are the same in single precision.
        slopes: Of each relief, by its number: how its height changes along its two level axes.
    """

    solids: tuple[Solid, ...]
    light: Lamp | Sky
    center: Float[Tensor, "solid 3"]
    half_size: Float[Tensor, "solid 3"]
    axes: Float[Tensor, "solid 3 3"]
    axes32: Float[Tensor, "solid 3 3"]
    shape: Int[Tensor, " solid"]
    surfaces: tuple[Surface, ...]
    slopes: dict[int, tuple[Float32[ndarray, "row col"], Float32[ndarray, "row col"]]]

    @classmethod
    def of(cls, solids: Sequence[Solid], light: Lamp | Sky) -> "World":
        """Tabulate the solids."""
        faces = (solid.surfaces * 6 if len(solid.surfaces) == 1 else solid.surfaces for solid in solids)
        return cls(
            solids=tuple(solids),
            light=light,
            center=torch.from_numpy(np.array([solid.center for solid in solids], dtype=np.float64)),
            half_size=torch.from_numpy(np.array([solid.half_size for solid in solids], dtype=np.float64)),
            axes=_axes(solids, torch.float64),
            axes32=_axes(solids, torch.float32),
            shape=torch.tensor([int(solid.shape) for solid in solids]),
            surfaces=tuple(face for six in faces for face in six),
            slopes={n: _slopes(solid) for n, solid in enumerate(solids) if solid.shape == Shape.RELIEF},
        )


def to_local(xyz: Float[Tensor, "*#batch 3"], axes: Float[Tensor, "*#batch 3 3"]) -> Float[Tensor, "*#batch 3"]:
    """Turn world vectors into the axes of solids."""
    # Written out: a product of matrices may round otherwise on another processor.
    x, y, z = xyz[..., None].unbind(-2)
    return axes[..., 0] * x + axes[..., 1] * y + axes[..., 2] * z


def to_world(xyz: Float[Tensor, "*#batch 3"], axes: Float[Tensor, "*#batch 3 3"]) -> Float[Tensor, "*#batch 3"]:
    """Turn vectors in the axes of solids into world vectors."""
    return to_local(xyz, axes.mT)


def field_at(
    field: Float32[ndarray, "row col"], x: Float[Tensor, "*point"], y: Float[Tensor, "*point"]
) -> Float[Tensor, "*point"]:
    """Read a field over the unit square [−1, 1]² bilinearly; the border value holds outside."""
    rows, cols = field.shape
    at_x, at_y = (
        (one.float() * (count / 2) + (count / 2 - 0.5)).reshape(-1, one.shape[-1]).numpy()
        for one, count in ((x, cols), (y, rows))
    )
    read = cv2.remap(field, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(read).reshape(x.shape)


def _axes(solids: Sequence[Solid], dtype: torch.dtype) -> Float[Tensor, "solid 3 3"]:
    yaw = torch.tensor([solid.yaw for solid in solids], dtype=dtype)
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    cos, sin = yaw.cos(), yaw.sin()
    axes = torch.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], dim=-1).reshape(-1, 3, 3)
    for number, solid in enumerate(solids):
        if solid.axes is not None:
            axes[number] = torch.from_numpy(solid.axes)
    return axes


def _slopes(solid: Solid) -> tuple[Float32[ndarray, "row col"], Float32[ndarray, "row col"]]:
    heights, half = solid.heights, solid.half_size
    rows, cols = heights.shape
    along_y, along_x = np.gradient(heights * half[2], 2 * half[1] / rows, 2 * half[0] / cols)
    return np.ascontiguousarray(along_x, dtype=np.float32), np.ascontiguousarray(along_y, dtype=np.float32)
