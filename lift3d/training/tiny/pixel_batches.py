"""Batches of pictures with some pixels each, under changing light."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lift3d.training.tiny.scene_pictures import ScenePicture

# Contrast, brightness, and shade across the picture: changes of light that leave a colour's name alone.
_GAIN, _GAMMA, _SHADE, _NOISE = 0.2, 0.25, 0.25, 0.02
# Height and width of what networks see in training: multiples of their coarsest cells.
WINDOW_PX = (96, 128)


@dataclass(frozen=True, slots=True, eq=False)
class PixelBatch:
    """Pictures of one size and pixels drawn in them.

    Attributes:
        images: sRGB in [0, 1], under changed light.
        places: Pixel centres as ``grid_sample`` takes them (align_corners=False), in [−1, 1].
        labels: Class ids of the pixels, picture by picture.
        patterns: Patterns of their surfaces.
    """

    images: Float[Tensor, "image 3 height width"]
    places: Float[Tensor, "image pixel 2"]
    labels: Int[Tensor, " sample"]
    patterns: Int[Tensor, " sample"]


def draw_batch(
    pictures: Sequence[ScenePicture], picture_count: int, pixel_count: int, generator: torch.Generator
) -> PixelBatch:
    """Draw windows of pictures, and pixels in them: rare classes more often than their share.

    Args:
        pictures: Of any sizes from WINDOW_PX.
        picture_count: Windows of the batch.
        pixel_count: Pixels of each.
        generator: Source of chance.
    """
    height, width = WINDOW_PX
    images, places, labels, patterns = [], [], [], []
    for number in torch.randint(len(pictures), (picture_count,), generator=generator).tolist():
        image, labels_here, patterns_here = _window(pictures[number], generator)
        is_flipped = bool(torch.rand(1, generator=generator) < 0.5)
        index = _draw_pixels(labels_here.reshape(-1), pixel_count, generator)
        x = (2 * (index % width) + 1) / width - 1
        y = (2 * (index // width) + 1) / height - 1
        places.append(torch.stack([-x if is_flipped else x, y], dim=-1))
        labels.append(labels_here.reshape(-1)[index])
        patterns.append(patterns_here.reshape(-1)[index])
        images.append(change_light(image.flip(-1) if is_flipped else image, generator))
    return PixelBatch(torch.stack(images), torch.stack(places), torch.cat(labels), torch.cat(patterns))


def features_at(cells: Float[Tensor, "image channel row col"], batch: PixelBatch) -> Float[Tensor, "sample channel"]:
    """Return features at the batch's pixels, interpolated between the centres of the cells that tile the pictures."""
    sampled = functional.grid_sample(
        cells, batch.places[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[:, :, 0].permute(0, 2, 1).reshape(-1, cells.shape[1])


def change_light(image: Float[Tensor, "3 height width"], generator: torch.Generator) -> Float[Tensor, "3 height width"]:
    """Return a picture in another light, with a shade across it and noise; hues stay."""
    gain, gamma, *shade = (2 * torch.rand(6, generator=generator) - 1).tolist()
    coarse = torch.tensor(shade).reshape(1, 1, 2, 2) * _SHADE
    field = functional.interpolate(coarse, image.shape[-2:], mode="bilinear", align_corners=False)[0]
    lit: Tensor = image.clamp(min=1e-4) ** (1 + _GAMMA * gamma) * (1 + _GAIN * gain + field)
    return (lit + _NOISE * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def _window(picture: ScenePicture, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Image, labels and patterns of a part of a picture."""
    height, width = WINDOW_PX
    top = int(torch.randint(picture.labels.shape[0] - height + 1, (1,), generator=generator))
    left = int(torch.randint(picture.labels.shape[1] - width + 1, (1,), generator=generator))
    part = (slice(top, top + height), slice(left, left + width))
    return picture.image[:, part[0], part[1]], picture.labels[part], picture.patterns[part]


def _draw_pixels(labels: Int[Tensor, " pixel"], count: int, generator: torch.Generator) -> Int[Tensor, " drawn"]:
    # Between even pixels and even classes: the inverse root of each class's share.
    weights = labels.bincount().float().clamp(min=1).rsqrt()[labels]
    return torch.multinomial(weights, count, replacement=True, generator=generator)
