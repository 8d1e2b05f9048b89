"""Training of ``tiny:superresolution``: patches of photographs, textures and computed views, and their halves."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.superresolution import (
    FACTOR,
    Superresolution,
    SuperresolutionNetwork,
    enlarge_bicubic,
    reduce_by_area,
)
from lift3d.training.tiny.card import write_card
from lift3d.training.tiny.descent import descend
from lift3d.training.tiny.photo_pictures import (
    FAMILIES,
    FIRST_TRAINING_SEED,
    evaluation_photographs,
    evaluation_views,
    picture_box,
    pixels,
    psnr_of_pictures,
)

NAME = "superresolution"
# With these one core takes six to eight minutes.
STEPS = 3600
_BATCH = 16
_SIDE_PX = 64
_WORLDS_PER_FAMILY = 12
_TILES = 300
# Differences below this count squared, above it plainly (Charbonnier): no ringing for the sake of a few pixels.
_SOFT = 1e-2

Restore = Callable[[Float[Tensor, "3 height width"]], Float[Tensor, "3 height width"]]


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
        network = SuperresolutionNetwork()
    box, rng = picture_box(seed, _WORLDS_PER_FAMILY, _TILES), np.random.default_rng([seed, 1])

    def loss_of(step: int) -> Tensor:
        truth = box.patches(rng, _BATCH, _SIDE_PX)
        low = reduce_by_area(truth)
        difference = network.enlarge(network.features(low), low) - truth
        return (difference.square() + _SOFT**2).sqrt().mean()

    descend(network.parameters(), loss_of, step_count)
    seconds = time.process_time() - started
    save_file(network.state_dict(), out)
    figures = measure(Superresolution(OperatorName("tiny", NAME), network))
    write_card(
        out.with_suffix(".md"),
        title=f"tiny:{NAME}",
        what="A residual network that doubles the resolution of a picture reduced by area; it adds to the bicubic "
        "enlargement.",
        data="Patches of the photographs in the public domain or under CC0 that come with scikit-image (without those "
        f"of the evaluation), of textures made from them, and of computed scenes ({', '.join(FAMILIES)}; "
        f"{_WORLDS_PER_FAMILY} worlds of each from seed {FIRST_TRAINING_SEED + seed * _WORLDS_PER_FAMILY}).",
        command=f"lift3d train-tiny {NAME}",
        steps=step_count,
        seconds=seconds,
        seed=seed,
        figures=figures,
        limits=(
            "It knows pictures that were reduced by area, without noise or compression.",
            "Most of its photographs are grey; few show people, animals or plants.",
            "It sharpens what is there and invents nothing: it was trained for PSNR.",
        ),
    )


def measure(operator: Superresolution) -> dict[str, tuple[float, str]]:
    """Return PSNR on the evaluation pictures, each beside that of the bicubic enlargement."""
    photographs = [pixels(picture[None])[0] for picture in evaluation_photographs()]
    views = list(evaluation_views().images.float() / 255)
    return {
        f"PSNR, dB, {words}": (
            psnr_of_pictures(pictures, lambda image: answer_of(operator, image)),
            f"bicubic: {psnr_of_pictures(pictures, bicubic_of):.3f}",
        )
        for words, pictures in (("photographs", photographs), ("computed views", views))
    }


def answer_of(operator: Superresolution, image: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Return what the operator makes of an image."""
    return operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(*image.shape[-2:])).values


def bicubic_of(image: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Return the reduced image enlarged without a network; odd rows and columns are repeated first."""
    height, width = image.shape[-2:]
    padding = (0, width % FACTOR, 0, height % FACTOR)
    whole = torch.nn.functional.pad(image[None], padding, mode="replicate")
    return enlarge_bicubic(reduce_by_area(whole))[0, :, :height, :width].clamp(0, 1)
