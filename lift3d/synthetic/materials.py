"""What a surface is made of: where its colour comes from, and how light falls on it."""

from dataclasses import dataclass
from enum import IntEnum

_Triple = tuple[float, float, float]


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
