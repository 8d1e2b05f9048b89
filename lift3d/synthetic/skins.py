"""Skins of solids: which tile they wear and how light falls on it; and the tiles' pyramid in one picture.

Letters: ``st`` counts tiles along a surface; level 0 of the pyramid has TILE_PX texels per tile, each further
one half as many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from numpy import ndarray

from lift3d.synthetic.textures import TILE_PX

_PAD_PX = 2
LEVEL_COUNT = 7


@dataclass(frozen=True, slots=True)
class Skin:
    """How a surface looks.

    Attributes:
        tile: Number of the tile.
        length: How long one tile is on the surface, world units.
        turn: Turn of the tile on the surface, radians.
        shift: Where the tile starts, tiles.
        tint: Factor per colour.
        flatness: 0 shows the tile, 1 only its mean colour.
        detail: Contrast of a second, finer layer of the same tile.
        gloss: Strength of the highlight.
        sharpness: Exponent of the highlight.
        mirror: Share of the surroundings that the surface reflects.
    """

    tile: int
    length: float
    turn: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    flatness: float = 0.0
    detail: float = 0.0
    gloss: float = 0.0
    sharpness: float = 20.0
    mirror: float = 0.0


def skin_table(skins: Sequence[Skin]) -> dict[str, ndarray]:
    """Return each property of the skins as an array, one entry per skin."""
    return {
        field.name: np.array(
            [getattr(skin, field.name) for skin in skins], dtype=np.int32 if field.name == "tile" else np.float32
        )
        for field in fields(Skin)
    }


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """Tiles side by side, each above its own reductions, all with a mirrored margin.

    Attributes:
        texels: The picture.
        tops: First row of each level.
        means: Mean colour of each tile.
    """

    texels: UInt8[ndarray, "row col 3"]
    tops: Int[ndarray, " level"]
    means: Float32[ndarray, "tile 3"]

    @classmethod
    def of(cls, tiles: Sequence[Float32[ndarray, "row col 3"]]) -> "Atlas":
        """Build the pyramid of all tiles."""
        sizes = [TILE_PX >> level for level in range(LEVEL_COUNT)]
        tops = np.concatenate([[0], np.cumsum([size + 2 * _PAD_PX for size in sizes])])
        pitch = TILE_PX + 2 * _PAD_PX
        texels = np.zeros((tops[-1], pitch * len(tiles), 3), dtype=np.uint8)
        for number, tile in enumerate(tiles):
            for level, size in enumerate(sizes):
                reduced = cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA)
                reduced = np.round(reduced * 255).clip(0, 255).astype(np.uint8)
                padded = np.pad(reduced, ((_PAD_PX,) * 2, (_PAD_PX,) * 2, (0, 0)), mode="symmetric")
                side, left = size + 2 * _PAD_PX, number * pitch
                texels[tops[level] : tops[level] + side, left : left + side] = padded
        means = np.stack([tile.mean((0, 1)) for tile in tiles]).astype(np.float32)
        return cls(texels, tops[:-1], means)

    def read(
        self,
        tile: Int[ndarray, "row col"],
        st: Float[ndarray, "2 row col"],
        level: Float[ndarray, "row col"],
    ) -> Float32[ndarray, "row col 3"]:
        """Read tiles, bilinear in the tile and linear between levels."""
        level = level.clip(0, LEVEL_COUNT - 1)
        lower = np.minimum(level.astype(np.int32), LEVEL_COUNT - 2)
        share = (level - lower).astype(np.float32)[..., None]
        folded = np.abs(np.mod(st, 2) - 1)
        fine = self._read_level(tile, folded, lower)
        coarse = self._read_level(tile, folded, lower + 1)
        color: ndarray = (fine + share * (coarse - fine)) * np.float32(1 / 255)
        return color

    def _read_level(self, tile: ndarray, folded: ndarray, level: ndarray) -> Float32[ndarray, "row col 3"]:
        size = np.right_shift(TILE_PX, level).astype(np.float32)
        left = tile.astype(np.float32) * (TILE_PX + 2 * _PAD_PX) + (_PAD_PX - 0.5)
        top = self.tops[level].astype(np.float32) + (_PAD_PX - 0.5)
        x = (left + folded[0] * size).astype(np.float32, copy=False)
        y = (top + folded[1] * size).astype(np.float32, copy=False)
        read: ndarray = cv2.remap(self.texels, x, y, cv2.INTER_LINEAR).astype(np.float32)
        return read
