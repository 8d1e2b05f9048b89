"""The pictures whose styles ``tiny:style`` has: computed, so that nobody's work is copied."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor

from lift3d.operators.tiny.style import STYLES
from lift3d.training.tiny.textures import TILE_PX, fractal_noise

_Layer = Float32[ndarray, "row col"]
_Tile = Float32[ndarray, "row col 3"]
# One seed for all: the styles belong to the model, not to a training.
_SEED = 12
_STONE_COUNT = 420
_SMOOTH_PX = 4.0


def style_pictures() -> Float[Tensor, "style 3 row col"]:
    """Return one picture per style, in the order of STYLES; sRGB in [0, 1]."""
    tiles = [_PAINTERS[name](np.random.default_rng([_SEED, number])) for number, name in enumerate(STYLES)]
    return torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).contiguous().clamp(0, 1)


def _mosaic(rng: np.random.Generator) -> _Tile:
    """Stones of blue, ochre, white and rust between dark joints."""
    seeds = rng.uniform(0, TILE_PX, (_STONE_COUNT, 2)).astype(np.float32)
    marks = np.full((TILE_PX, TILE_PX), 255, dtype=np.uint8)
    marks[seeds[:, 1].astype(int), seeds[:, 0].astype(int)] = 0
    _, nearest = cv2.distanceTransformWithLabels(marks, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    palette = np.array([[0.13, 0.3, 0.62], [0.85, 0.62, 0.2], [0.93, 0.9, 0.82], [0.68, 0.25, 0.15]], dtype=np.float32)
    shades = palette[rng.integers(4, size=_STONE_COUNT + 2)] * rng.uniform(0.8, 1.1, (_STONE_COUNT + 2, 1))
    is_joint = (cv2.erode(nearest.astype(np.float32), np.ones((3, 3))) != nearest)[..., None]
    return np.where(is_joint, 0.08, shades[nearest]).astype(np.float32)


def _ink(rng: np.random.Generator) -> _Tile:
    """Black contours of noise on warm paper."""
    lines = np.abs((_hills(rng, 5) * 9) % 1 - 0.5) < 0.16
    paper = np.array([0.95, 0.91, 0.82], dtype=np.float32) * (0.96 + 0.08 * fractal_noise(rng)[..., None])
    drawn = cv2.GaussianBlur(lines.astype(np.float32), (0, 0), 0.6)[..., None]
    tile: _Tile = (paper * (1 - 0.92 * drawn)).astype(np.float32)
    return tile


def _waves(rng: np.random.Generator) -> _Tile:
    """Bands of night blue, turquoise and cream that swirl."""
    y, x = np.mgrid[0:TILE_PX, 0:TILE_PX].astype(np.float32) / TILE_PX
    bend = _hills(rng, 3) + 0.4 * _hills(rng, 6)
    phase = 2 * np.pi * (13 * y + 3.5 * bend + 1.5 * np.sin(2 * np.pi * x))
    return _through((0.5 + 0.5 * np.sin(phase)).astype(np.float32), [0x0B1F4B, 0x146B8C, 0x52C3C0, 0xF6EBC8])


def _embers(rng: np.random.Generator) -> _Tile:
    """Glowing cracks in dark rock."""
    cracks = 1 - np.abs(2 * _hills(rng, 14) - 1)
    return _through((cracks**4).astype(np.float32), [0x160A12, 0x4A1020, 0xC7401B, 0xFFD36B])


def _hills(rng: np.random.Generator, first: int) -> _Layer:
    """Return smooth noise in [0, 1]: lines of equal height are lines, not dust."""
    smooth = cv2.GaussianBlur(fractal_noise(rng, first=first), (0, 0), _SMOOTH_PX)
    hills: _Layer = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return hills


def _through(layer: _Layer, stops: list[int]) -> _Tile:
    """Run a layer in [0, 1] through a palette of hexadecimal colours."""
    palette = np.array([[stop >> 16 & 255, stop >> 8 & 255, stop & 255] for stop in stops]) / 255
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(layer, at, palette[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)


_PAINTERS: dict[str, Callable[[np.random.Generator], _Tile]] = {
    "mosaic": _mosaic,
    "ink": _ink,
    "waves": _waves,
    "embers": _embers,
}
