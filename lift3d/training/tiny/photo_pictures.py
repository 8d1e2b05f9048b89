"""Pictures that the small image-to-image models learn from and are judged by: photographs and computed views.

Training never sees an evaluation photograph or an evaluation seed. Seeds below the first training seed, the usual ones
of demonstrations, are left alone too.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from lift3d.errors import ConfigError
from lift3d.metrics.image_quality import psnr_of
from lift3d.scenes.catalog import read_scene
from lift3d.synthetic.objects import EVALUATION_SEEDS, FIRST_EVALUATION_SEED
from lift3d.synthetic.photographs import photograph, photographs
from lift3d.synthetic.textures import draw_tile

# Families whose classes have typical hues and sizes (lift3d.synthetic.paints).
FAMILIES = ("room", "tabletop", "shelf", "street", "forest")
FIRST_TRAINING_SEED = 1000
# Photographs of scikit-image that are neither textures nor pictures of any training here.
EVALUATION_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png")
HEIGHT_PX, WIDTH_PX = 120, 160
# Views of a world stand as far apart as its path has room for.
_VIEWS_PER_WORLD = 4
_SPACING = 8.0
# Around the renderer's own 62 degrees, so that sizes and distances vary.
_FIELDS_OF_VIEW_DEG = (50.0, 74.0)


@dataclass(frozen=True, slots=True, eq=False)
class WorldViews:
    """Views of computed worlds.

    Attributes:
        images: sRGB, 0 to 255.
        disparity: 1 / z-depth, per metre.
    """

    images: UInt8[Tensor, "view 3 height width"]
    disparity: Float[Tensor, "view height width"]


@functools.lru_cache(maxsize=2)
def training_views(seed: int, world_count: int) -> WorldViews:
    """Render training worlds, ``world_count`` of each family, a few views of each.

    Args:
        seed: Which worlds; equal seeds give equal views.
        world_count: Worlds per family.

    Raises:
        ConfigError: If the worlds would reach the evaluation seeds.
    """
    first = FIRST_TRAINING_SEED + seed * world_count
    if first + world_count > FIRST_EVALUATION_SEED:
        raise ConfigError(
            f"Training worlds {first} to {first + world_count - 1} reach the evaluation seeds, which begin at "
            f"{FIRST_EVALUATION_SEED}; give a smaller seed."
        )
    rng = np.random.default_rng(first)
    locations = [
        f"procedural:{family}?seed={first + number}&views={_VIEWS_PER_WORLD}&spacing={_SPACING}"
        f"&fov_deg={rng.uniform(*_FIELDS_OF_VIEW_DEG):.1f}"
        for number in range(world_count)
        for family in FAMILIES
    ]
    return _rendered(locations, range(_VIEWS_PER_WORLD))


@functools.lru_cache(maxsize=2)
def evaluation_views(seeds: tuple[int, ...] = EVALUATION_SEEDS) -> WorldViews:
    """Render one view of each family for each evaluation seed."""
    return _rendered([f"procedural:{family}?seed={seed}&views=3" for seed in seeds for family in FAMILIES], (1,))


@functools.lru_cache(maxsize=1)
def training_photographs() -> tuple[UInt8[ndarray, "_height _width 3"], ...]:
    """Return the photographs of scikit-image without those of the evaluation, told by their pixels."""
    held_out = evaluation_photographs()
    return tuple(one for one in photographs() if not any(np.array_equal(one, other) for other in held_out))


@functools.lru_cache(maxsize=1)
def evaluation_photographs() -> tuple[UInt8[ndarray, "_height _width 3"], ...]:
    """Return the photographs that only evaluation sees."""
    return tuple(photograph(name) for name in EVALUATION_PHOTOGRAPHS)


@dataclass(frozen=True, slots=True, eq=False)
class PictureBox:
    """Pictures of several kinds and sizes that square patches are cut from.

    Attributes:
        kinds: Pictures of each kind.
        shares: How often each kind is drawn.
    """

    kinds: Sequence[Sequence[UInt8[ndarray, "_height _width 3"]]]
    shares: Sequence[float]

    def patches(self, rng: np.random.Generator, count: int, side: int) -> Float[Tensor, "patch 3 side side"]:
        """Cut patches at random places, turned and mirrored at random; sRGB in [0, 1]."""
        cut = []
        for kind in rng.choice(len(self.kinds), count, p=np.asarray(self.shares)):
            large = [picture for picture in self.kinds[kind] if min(picture.shape[:2]) >= side]
            picture = large[int(rng.integers(len(large)))]
            top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
            patch = np.rot90(picture[top : top + side, left : left + side], int(rng.integers(4)))
            cut.append(patch[:, ::-1] if rng.uniform() < 0.5 else patch)
        return pixels(np.stack(cut))


def picture_box(seed: int, world_count: int, tile_count: int) -> PictureBox:
    """Return photographs (in half size too: their detail is sharper), tiles of texture, and computed views.

    Args:
        seed: Of tiles and worlds.
        world_count: Worlds of each family.
        tile_count: Tiles of texture.
    """
    rng = np.random.default_rng(seed)
    whole = training_photographs()
    halves = [cv2.resize(one, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for one in whole]
    tiles = [(255 * draw_tile(rng, whole)).round().astype(np.uint8) for _ in range(tile_count)]
    views = list(training_views(seed, world_count).images.permute(0, 2, 3, 1).numpy())
    # Photographs teach natural detail; views teach the straight edges and patterns of the computed worlds.
    return PictureBox(([*whole, *halves], tiles, views), (0.4, 0.2, 0.4))


def photograph_windows(
    rng: np.random.Generator, count: int, size: tuple[int, int]
) -> Float[Tensor, "window 3 height width"]:
    """Cut windows of a height and width out of the coloured training photographs, reduced until little more is left.

    So a window shows things, as a small picture of a scene does, and not only texture.
    """
    coloured = [one for one in training_photographs() if not np.array_equal(one[..., 0], one[..., 2])]
    cut = []
    for index in rng.integers(len(coloured), size=count):
        picture = coloured[index]
        least = max(size[0] / picture.shape[0], size[1] / picture.shape[1])
        scale = float(rng.uniform(least, max(least, 2 * least if least < 0.5 else 1.0)))
        shape = [max(wanted, round(scale * length)) for wanted, length in zip(size, picture.shape[:2], strict=True)]
        small = cv2.resize(picture, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
        top, left = (int(rng.integers(have - want + 1)) for have, want in zip(shape, size, strict=True))
        window = small[top : top + size[0], left : left + size[1]]
        cut.append(window[:, ::-1] if rng.uniform() < 0.5 else window)
    return pixels(np.stack(cut))


def pixels(pictures: UInt8[ndarray, "picture height width 3"]) -> Float[Tensor, "picture 3 height width"]:
    """Return pictures as the models take them: sRGB in [0, 1], channels first."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).contiguous().float() / 255


def psnr_of_pictures(
    pictures: Sequence[Float[Tensor, "3 height width"]],
    restore: Callable[[Float[Tensor, "3 height width"]], Float[Tensor, "3 height width"]],
) -> float:
    """Return the mean over pictures of the peak signal-to-noise ratio of what is restored of each, in dB."""
    all_count = (torch.ones(picture.shape[1:], dtype=torch.bool) for picture in pictures)
    scores = [psnr_of(restore(picture), picture, counts) for picture, counts in zip(pictures, all_count, strict=True)]
    return float(np.mean([score.value for score in scores]))


def _rendered(locations: Sequence[str], indices: Sequence[int]) -> WorldViews:
    images, disparity = [], []
    for location in locations:
        scene = read_scene(f"{location}&height={HEIGHT_PX}&width={WIDTH_PX}")
        for index in indices:
            frame = scene.views[index].load()
            if frame.z_depth is None:
                raise ConfigError(f"Scene '{location}' has no z-depth; expected a computed scene with depth=1.")
            images.append((255 * frame.image).round().to(torch.uint8))
            disparity.append(1 / frame.z_depth)
    return WorldViews(torch.stack(images), torch.stack(disparity))
