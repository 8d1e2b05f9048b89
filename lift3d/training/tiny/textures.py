"""Tiles of texture: squares of sRGB in [0, 1], cut from photographs, noise, patterns, writing, and mixes of them."""

import functools
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from lift3d.synthetic.photographs import photograph

TILE_PX = 256
_PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "page.png", "retina.jpg", "rocket.jpg"),
    "text.png",
)
_Tile = Float32[ndarray, "row col 3"]
_Layer = Float32[ndarray, "row col"]
_Photographs = Sequence[UInt8[ndarray, "_height _width 3"]]


@functools.lru_cache(maxsize=1)
def photographs() -> tuple[UInt8[ndarray, "_height _width 3"], ...]:
    """Return the photographs that textures are cut from, in a fixed order."""
    return tuple(photograph(name) for name in _PHOTOGRAPHS)


def draw_tile(rng: np.random.Generator, pictures: _Photographs) -> _Tile:
    """Draw one tile."""
    kind = rng.uniform()
    if kind < 0.6:
        tile = photograph_tile(rng, pictures)
    elif kind < 0.72:
        tile = _colored(rng, fractal_noise(rng))
    elif kind < 0.86:
        tile = _colored(rng, _PATTERNS[int(rng.integers(len(_PATTERNS)))](rng))
        tile = tile * (1 + float(rng.uniform(0, 0.5)) * (fractal_noise(rng)[..., None] - 0.5))
    else:
        share = fractal_noise(rng)[..., None] if rng.uniform() < 0.5 else _checks(rng)[..., None]
        tile = share * photograph_tile(rng, pictures) + (1 - share) * photograph_tile(rng, pictures)
    return _toned(rng, tile)


def _toned(rng: np.random.Generator, tile: _Tile) -> _Tile:
    """Take colours nearer to grey, as most real ones are, and lift what is too dark to show anything."""
    grey = tile.mean(-1, keepdims=True)
    tile = grey + float(rng.uniform(0.1, 1.0)) * (tile - grey)
    tile = tile + max(0.0, float(rng.uniform(0.15, 0.4)) - float(tile.mean()))
    return tile.clip(0, 1).astype(np.float32)


def photograph_tile(rng: np.random.Generator, pictures: _Photographs) -> _Tile:
    """Cut a turned, scaled square out of a photograph; colours are turned and stretched in half of the draws."""
    picture = pictures[int(rng.integers(len(pictures)))]
    height, width = picture.shape[:2]
    side = min(height, width) * float(np.exp(rng.uniform(np.log(0.25), 0)))
    angle = float(rng.choice([0, 90, 180, 270])) + (float(rng.uniform(-30, 30)) if rng.uniform() < 0.5 else 0.0)
    # The turned square stays inside: its half diagonal at that angle is taken off the range of centres.
    turn = np.radians(angle)
    reach = side / 2 * (abs(np.cos(turn)) + abs(np.sin(turn)))
    shrink = min(1.0, (min(height, width) / 2 - 1) / reach)
    side, reach = side * shrink, reach * shrink
    center = (float(rng.uniform(reach, width - reach)), float(rng.uniform(reach, height - reach)))
    matrix = cv2.getRotationMatrix2D((TILE_PX / 2, TILE_PX / 2), angle, side / TILE_PX)
    matrix[:, 2] += np.array(center) - TILE_PX / 2
    # A large piece is smoothed first, or its detail would alias in the tile.
    blur = 0.4 * max(0.0, side / TILE_PX - 1)
    source = cv2.GaussianBlur(picture, (0, 0), blur) if blur > 0.05 else picture
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    tile = cv2.warpAffine(source, matrix, (TILE_PX, TILE_PX), flags=flags, borderMode=cv2.BORDER_REFLECT)
    tile = tile.astype(np.float32) / 255
    if rng.uniform() < 0.5:
        tile = tile[..., rng.permutation(3)]
    if rng.uniform() < 0.5:
        tile = (tile - tile.mean()) * float(rng.uniform(0.8, 1.8)) + float(rng.uniform(0.3, 0.65))
    return np.ascontiguousarray(tile, dtype=np.float32).clip(0, 1)


def fractal_noise(rng: np.random.Generator, size: int = TILE_PX, first: int | None = None) -> _Layer:
    """Return noise in [0, 1] of several octaves; ``first`` is the number of cells of the coarsest."""
    cells = int(rng.integers(2, 9)) if first is None else first
    falloff = float(rng.uniform(0.45, 0.95))
    total, weight = np.zeros((size, size), dtype=np.float32), 1.0
    while cells <= size:
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        total += weight * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        weight, cells = weight * falloff, cells * 2
    low, high = np.percentile(total, (1, 99))
    return np.asarray(((total - low) / (high - low)).clip(0, 1), dtype=np.float32)


def _colored(rng: np.random.Generator, layer: _Layer) -> _Tile:
    """Run a layer through a random palette, piecewise linear, with some contrast for certain."""
    knots = np.sort(rng.uniform(0, 1, 2))
    stops = np.concatenate([[0.0], knots, [1.0]])
    base = rng.uniform(0.05, 0.95, 3)
    palette = base + np.linspace(-1, 1, 4)[:, None] * rng.uniform(0.15, 0.5) + rng.normal(0, 0.15, (4, 3))
    channels = [np.interp(layer, stops, palette[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).clip(0, 1).astype(np.float32)


def _coordinates(rng: np.random.Generator, least: int, most: int) -> tuple[_Layer, _Layer]:
    """Turned coordinates that count periods of a pattern across the tile."""
    count, angle = float(np.exp(rng.uniform(np.log(least), np.log(most)))), float(rng.uniform(0, np.pi))
    y, x = np.mgrid[0:TILE_PX, 0:TILE_PX].astype(np.float32) / TILE_PX * np.float32(count)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def _stripes(rng: np.random.Generator) -> _Layer:
    u, v = _coordinates(rng, 3, 24)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (u + float(rng.uniform(0, 0.3)) * np.sin(2 * v)))
    return np.asarray(wave if rng.uniform() < 0.5 else wave > 0.5, dtype=np.float32)


def _checks(rng: np.random.Generator) -> _Layer:
    u, v = _coordinates(rng, 3, 16)
    return np.asarray((np.floor(u) + np.floor(v)) % 2, dtype=np.float32)


def _bricks(rng: np.random.Generator) -> _Layer:
    u, v = _coordinates(rng, 3, 10)
    course = np.floor(2 * v)
    shifted = u + 0.5 * (course % 2)
    is_joint = (shifted % 1 < 0.06) | (2 * v % 1 < 0.12)
    shade = rng.uniform(0.4, 1, (64, 64)).astype(np.float32)
    tone = shade[np.floor(shifted).astype(int) % 64, course.astype(int) % 64]
    return np.where(is_joint, 0, tone).astype(np.float32)


def _dots(rng: np.random.Generator) -> _Layer:
    u, v = _coordinates(rng, 4, 20)
    squared = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2
    return (squared < float(rng.uniform(0.04, 0.2))).astype(np.float32)


def _writing(rng: np.random.Generator) -> _Layer:
    """Rows of made-up glyphs: random strokes on a 5×4 raster, with gaps between glyphs, words and lines."""
    lines, glyphs = int(rng.integers(8, 22)), int(rng.integers(10, 30))
    raster = np.zeros((lines * 7, glyphs * 5), dtype=np.float32)
    strokes = rng.uniform(size=(lines, glyphs, 5, 4)) < 0.55
    strokes &= (rng.uniform(size=(lines, glyphs)) > 0.15)[..., None, None]
    for line in range(lines):
        for glyph in range(glyphs):
            raster[line * 7 : line * 7 + 5, glyph * 5 : glyph * 5 + 4] = strokes[line, glyph]
    return np.asarray(cv2.resize(1 - raster, (TILE_PX, TILE_PX), interpolation=cv2.INTER_LINEAR))


_PATTERNS: tuple[Callable[[np.random.Generator], _Layer], ...] = (_stripes, _checks, _bricks, _dots, _writing)
