"""The tiles of a world and their pyramids in one picture.

Letters: ``st`` counts tiles along a surface; level 0 of the pyramid has TILE_PX texels per tile, each further
one half as many.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from numpy import ndarray
from torch import Tensor

from lift3d.synthetic.textures import TILE_PX

_PAD_PX = 2
_LEVEL_COUNT = 7


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """Tiles side by side, each above its own reductions, all with a mirrored margin; ``tops``: first row of a level."""

    texels: UInt8[ndarray, "row col 3"]
    tops: Int[Tensor, " level"]
    means: Float[Tensor, "tile 3"]

    @classmethod
    def of(cls, tiles: Sequence[Float32[ndarray, "row col 3"]]) -> "Atlas":
        """Build the pyramid of all tiles."""
        sizes = [TILE_PX >> level for level in range(_LEVEL_COUNT)]
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
        means = torch.tensor(np.stack([tile.mean((0, 1)) for tile in tiles]), dtype=torch.float32)
        return cls(texels, torch.from_numpy(tops[:-1]), means)

    def read(
        self, tile: Int[Tensor, " point"], st: Float[Tensor, "point 2"], level: Float[Tensor, " point"]
    ) -> Float[Tensor, "point 3"]:
        """Read tiles, bilinear in the tile and linear between levels."""
        level = level.clamp(0, _LEVEL_COUNT - 1)
        lower = level.long().clamp(max=_LEVEL_COUNT - 2)
        folded = (st.remainder(2) - 1).abs()
        fine, coarse = (self._read_level(tile, folded, one) for one in (lower, lower + 1))
        return torch.lerp(fine, coarse, (level - lower)[:, None]) / 255

    def _read_level(self, tile: Tensor, folded: Tensor, level: Tensor) -> Float[Tensor, "point 3"]:
        size = TILE_PX * torch.exp2(-level.float())
        x = tile * (TILE_PX + 2 * _PAD_PX) + (_PAD_PX - 0.5) + folded[:, 0] * size
        y = self.tops[level] + (_PAD_PX - 0.5) + folded[:, 1] * size
        read = cv2.remap(self.texels, x[None].numpy(), y[None].numpy(), cv2.INTER_LINEAR)
        return torch.from_numpy(read[0]).float()
