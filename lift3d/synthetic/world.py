"""A computed world: solids, what their surfaces are painted with, and a lamp.

A solid's local frame has its centre as origin; in *unit* coordinates each local axis is divided by the half size,
so that every box, ball and tube is the same shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Vector = tuple[float, float, float]


class Pattern(IntEnum):
    """Regular patterns that lie over the noise of a painted surface."""

    PLAIN = 0
    CHECKS = 1
    STRIPES = 2
    BRICKS = 3
    WINDOWS = 4


@dataclass(frozen=True, slots=True)
class Paint:
    """Colour by formula: a pattern of two colours under noise, with highlights.

    Colours are sRGB in [0, 1]; ``accent`` is that of every other check, stripe, brick joint or window. Lengths
    (``period`` of the pattern, the noise's longest wavelength ``grain_size``) are world units; ``shift`` is in
    wavelengths.
    """

    color: Vector
    accent: Vector
    pattern: Pattern
    period: float
    grain: float
    grain_size: float
    shift: Vector
    gloss: float


class Shape(IntEnum):
    """Unit shapes. A shell is a box seen from inside."""

    BOX = 0
    BALL = 1
    TUBE = 2
    SHELL = 3


@dataclass(frozen=True, slots=True)
class Surface:
    """A part of the world that is one class and one instance."""

    label: int
    instance: int
    paint: Paint


@dataclass(frozen=True, slots=True)
class Solid:
    """A unit shape, stretched by half its extent along each local axis, turned about world z (radians) and placed.

    It has one surface for all of it, or one per face (−x, +x, −y, +y, −z, +z).
    """

    shape: Shape
    center: Vector
    half_size: Vector
    surfaces: tuple[Surface, ...]
    yaw: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Solids with what is looked up of them, the first a shell around all; surfaces face by face (six per solid).

    The lamp is where the light is; axes are local ones in the world, one per row, in double and in single precision.
    """

    solids: tuple[Solid, ...]
    lamp: Vector
    center: Float[Tensor, "solid 3"]
    half_size: Float[Tensor, "solid 3"]
    axes: Float[Tensor, "solid 3 3"]
    axes32: Float[Tensor, "solid 3 3"]
    shape: Int[Tensor, " solid"]
    surfaces: tuple[Surface, ...]

    @classmethod
    def of(cls, solids: Sequence[Solid], lamp: Vector) -> "World":
        """Tabulate the solids."""
        faces = (solid.surfaces * 6 if len(solid.surfaces) == 1 else solid.surfaces for solid in solids)
        return cls(
            solids=tuple(solids),
            lamp=lamp,
            center=torch.from_numpy(np.array([solid.center for solid in solids], dtype=np.float64)),
            half_size=torch.from_numpy(np.array([solid.half_size for solid in solids], dtype=np.float64)),
            axes=_axes(solids, torch.float64),
            axes32=_axes(solids, torch.float32),
            shape=torch.tensor([int(solid.shape) for solid in solids]),
            surfaces=tuple(face for six in faces for face in six),
        )


def to_local(xyz: Float[Tensor, "*#batch 3"], axes: Float[Tensor, "*#batch 3 3"]) -> Float[Tensor, "*#batch 3"]:
    """Turn world vectors into the axes of solids."""
    # Written out: a product of matrices may round otherwise on another processor.
    x, y, z = xyz[..., None].unbind(-2)
    return axes[..., 0] * x + axes[..., 1] * y + axes[..., 2] * z


def to_world(xyz: Float[Tensor, "*#batch 3"], axes: Float[Tensor, "*#batch 3 3"]) -> Float[Tensor, "*#batch 3"]:
    """Turn vectors in the axes of solids into world vectors."""
    return to_local(xyz, axes.mT)


def _axes(solids: Sequence[Solid], dtype: torch.dtype) -> Float[Tensor, "solid 3 3"]:
    yaw = torch.tensor([solid.yaw for solid in solids], dtype=dtype)
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    cos, sin = yaw.cos(), yaw.sin()
    return torch.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], dim=-1).reshape(-1, 3, 3)
