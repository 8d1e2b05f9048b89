"""Training of ``tiny:colorizer``: computed views, whose classes have typical hues, and a few photographs."""

import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.colorizer import TRAINED_HEIGHT_PX, Colorizer, ColorizerNetwork, luminance_of
from lift3d.operators.tiny.picture_pyramid import STRIDE_PX
from lift3d.training.tiny.card import write_card
from lift3d.training.tiny.descent import descend, save_rounded
from lift3d.training.tiny.photo_pictures import (
    FAMILIES,
    FIRST_TRAINING_SEED,
    evaluation_photographs,
    evaluation_views,
    photograph_windows,
    pixels,
    psnr_of_pictures,
    training_views,
)

NAME = "colorizer"
# With these one core takes two to four minutes.
STEPS = 1300
_BATCH = 8
# Of each batch: photographs, which have too few colours in common to teach more than restraint.
_PHOTOGRAPHS = 1
_WORLDS_PER_FAMILY = 12
_WINDOW = (96, 128)
# Errors of colour below this count squared, above it plainly (Charbonnier): a wrong guess shall not rule the batch.
_SOFT = 0.05


def train(out: Path, steps: int | None = None, seed: int = 0) -> None:
    """Train, measure, and write the weights and their card.

    Args:
        out: File of the weights, ``.safetensors``; the card goes beside it.
        steps: Optimiser steps; by default those of the shipped weights.
        seed: Of weights, pictures and batches.
    """
    step_count = steps or STEPS
    started = time.process_time()
    with seeded(seed):
        network = ColorizerNetwork()
    views, rng = training_views(seed, _WORLDS_PER_FAMILY).images, np.random.default_rng([seed, 2])

    def loss_of(step: int) -> Tensor:
        truth = torch.cat([_windows(rng, views), photograph_windows(rng, _PHOTOGRAPHS, _WINDOW)])
        luminance = luminance_of(truth)
        cells = network.features(luminance)
        at_pixels = functional.interpolate(cells, scale_factor=float(STRIDE_PX), mode="bilinear", align_corners=False)
        difference = network.paint(at_pixels, luminance) - truth
        return (difference.square().mean(1) + _SOFT**2).sqrt().mean()

    descend(network.parameters(), loss_of, step_count)
    seconds = time.process_time() - started
    save_rounded(network, out)
    figures = measure(Colorizer(OperatorName("tiny", NAME), network))
    write_card(
        out.with_suffix(".md"),
        title=f"tiny:{NAME}",
        what="A small U-Net that guesses the colours of a grey picture and keeps its luminance.",
        data=f"Computed scenes ({', '.join(FAMILIES)}; {_WORLDS_PER_FAMILY} worlds of each from seed "
        f"{FIRST_TRAINING_SEED + seed * _WORLDS_PER_FAMILY}), whose classes have typical hues, and for "
        f"{_PHOTOGRAPHS} picture of {_BATCH} the photographs in the public domain or under CC0 that come with "
        "scikit-image, without those of the evaluation.",
        command=f"lift3d train-tiny {NAME}",
        steps=step_count,
        seconds=seconds,
        seed=seed,
        figures=figures,
        limits=(
            "It knows the colours of the computed worlds. Of photographs it knows little: see the figures.",
            "What comes in every colour (books, boxes) it paints in none.",
            f"Images higher than {TRAINED_HEIGHT_PX} pixels are seen reduced to that; their colours are as coarse.",
        ),
    )


def measure(operator: Colorizer) -> dict[str, tuple[float, str]]:
    """Return PSNR on the evaluation pictures, each beside that of the grey picture."""
    photographs = [pixels(picture[None])[0] for picture in evaluation_photographs()]
    views = list(evaluation_views().images.float() / 255)
    return {
        f"PSNR, dB, {words}": (
            psnr_of_pictures(pictures, lambda image: answer_of(operator, image)),
            f"grey: {psnr_of_pictures(pictures, grey_of):.3f}",
        )
        for words, pictures in (("computed views", views), ("photographs", photographs))
    }


def answer_of(operator: Colorizer, image: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Return what the operator makes of an image."""
    return operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(*image.shape[-2:])).values


def grey_of(image: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Return the image without its colours."""
    return luminance_of(image).expand(3, -1, -1)


def _windows(rng: np.random.Generator, views: Tensor) -> Tensor:
    """Cut windows out of computed views, mirrored at random."""
    height, width = _WINDOW
    cut = []
    for index in rng.integers(len(views), size=_BATCH - _PHOTOGRAPHS):
        top, left = int(rng.integers(views.shape[2] - height + 1)), int(rng.integers(views.shape[3] - width + 1))
        window = views[index, :, top : top + height, left : left + width]
        cut.append(window.flip(-1) if rng.uniform() < 0.5 else window)
    return torch.stack(cut).float() / 255
