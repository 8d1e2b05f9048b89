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
        pattern: Which regular pattern.
        period: Length of the pattern, world units.
        grain: Contrast of the noise.
        grain_size: Longest wavelength of the noise, world units.
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
        tile: Number of the tile.
        length: How long one tile is on the surface, world units.
        turn: Turn of the tile on the surface, radians.
        shift: Where the tile starts, tiles.
        tint: Factor per colour.
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

    Attributes:
        coat: Where its colour comes from.
        gloss: Strength of the highlight.
        sharpness: Exponent of the highlight.
        mirror: Share of the sky that the surface reflects.
    """

    coat: Paint | Tiling
    gloss: float
    sharpness: float = 24.0
    mirror: float = 0.0
