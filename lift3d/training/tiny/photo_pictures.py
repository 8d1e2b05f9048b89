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

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.metrics.image_quality import psnr_of
from lift3d.operators.protocol import Operator
from lift3d.synthetic.objects import EVALUATION_SEEDS
from lift3d.synthetic.photographs import photograph
from lift3d.training.tiny.scene_pictures import FAMILIES, ScenePicture, Shot, scene_pictures, training_pictures
from lift3d.training.tiny.textures import draw_tile, photographs
from lift3d.training.tiny.train import Figures

Picture = Float[Tensor, "3 height width"]

_FIRST_TRAINING_SEED = 1000
# Photographs of scikit-image that are neither textures nor pictures of any training here.
EVALUATION_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png")
HEIGHT_PX, WIDTH_PX = 120, 160
# Views of a world stand as far apart as its path has room for.
_VIEWS_PER_WORLD = 4
_SPACING = 8.0
# Around the renderer's own 62 degrees, so that sizes and distances vary.
_FIELDS_OF_VIEW_DEG = (50.0, 74.0)


@functools.lru_cache(maxsize=2)
def training_views(seed: int, world_count: int) -> tuple[ScenePicture, ...]:
    """Render training worlds, ``world_count`` of each family, a few views of each.

    Args:
        seed: Which worlds; equal seeds give equal views.
        world_count: Worlds per family.

    Raises:
        ConfigError: If the worlds would reach the evaluation seeds.
    """
    first = first_training_seed(seed, world_count)
    rng, pictures = np.random.default_rng(first), []
    for number in range(world_count):
        for family in FAMILIES:
            shot = Shot(_VIEWS_PER_WORLD, HEIGHT_PX, round(rng.uniform(*_FIELDS_OF_VIEW_DEG), 1), _SPACING)
            pictures += training_pictures(family, [first + number], shot)
    return tuple(pictures)


@functools.lru_cache(maxsize=2)
def evaluation_views(seeds: tuple[int, ...] = EVALUATION_SEEDS) -> tuple[ScenePicture, ...]:
    """Render one view of each family for each evaluation seed."""
    shot = Shot(views=1, height=HEIGHT_PX)
    return tuple(one for seed in seeds for family in FAMILIES for one in scene_pictures(family, [seed], shot))


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
    views = [(255 * one.image).round().byte().permute(1, 2, 0).numpy() for one in training_views(seed, world_count)]
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


def answer_of(operator: Operator, image: Picture) -> Tensor:
    """Return what an operator without a state makes of an image."""
    return operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(*image.shape[-2:])).values


def measure_psnr(operator: Operator, plain_name: str, plain: Callable[[Picture], Picture]) -> Figures:
    """Return PSNR on the evaluation pictures, each beside that of a plain baseline."""
    views = [one.image for one in evaluation_views()]
    photographs = [pixels(picture[None])[0] for picture in evaluation_photographs()]
    return {
        f"PSNR, dB, {words}": (
            psnr_of_pictures(pictures, lambda image: answer_of(operator, image)),
            f"{plain_name}: {psnr_of_pictures(pictures, plain):.3f}",
        )
        for words, pictures in (("computed views", views), ("photographs", photographs))
    }


def psnr_of_pictures(pictures: Sequence[Picture], restore: Callable[[Picture], Picture]) -> float:
    """Return the mean over pictures of the peak signal-to-noise ratio of what is restored of each, in dB."""
    all_count = (torch.ones(picture.shape[1:], dtype=torch.bool) for picture in pictures)
    scores = [psnr_of(restore(picture), picture, counts) for picture, counts in zip(pictures, all_count, strict=True)]
    return float(np.mean([score.value for score in scores]))


def first_training_seed(seed: int, world_count: int) -> int:
    """Return the first seed of the worlds that a training sees."""
    return _FIRST_TRAINING_SEED + seed * world_count
