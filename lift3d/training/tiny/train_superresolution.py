"""Training of ``tiny:superresolution``: patches of photographs, textures and computed views, and their halves."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.superresolution import (
    FACTOR,
    Superresolution,
    SuperresolutionNetwork,
    enlarge_bicubic,
    reduce_by_area,
)
from lift3d.training.tiny.photo_pictures import first_training_seed, measure_psnr, picture_box
from lift3d.training.tiny.scene_pictures import FAMILIES
from lift3d.training.tiny.train import Phase, TinyTraining

_NAME = OperatorName("tiny", "superresolution")
# With these one core takes six to eight minutes.
_STEPS = 3600
_BATCH = 16
_SIDE_PX = 64
_WORLDS_PER_FAMILY = 12
_TILES = 300
# Differences below this count squared, above it plainly (Charbonnier): no ringing for the sake of a few pixels.
_SOFT = 1e-2


def describe(seed: int) -> TinyTraining:
    """Return the training of a seed: of weights, pictures and batches."""
    with seeded(seed):
        network = SuperresolutionNetwork()
    box, rng = picture_box(seed, _WORLDS_PER_FAMILY, _TILES), np.random.default_rng([seed, 1])

    def loss_of(step: int) -> Tensor:
        truth = box.patches(rng, _BATCH, _SIDE_PX)
        low = reduce_by_area(truth)
        difference = network.enlarge(network.features(low), low) - truth
        return (difference.square() + _SOFT**2).sqrt().mean()

    return TinyTraining(
        network,
        [Phase([network], loss_of)],
        steps=_STEPS,
        measure=lambda: measure_psnr(Superresolution(_NAME, network), "bicubic", bicubic_of),
        what="A residual network that doubles the resolution of a picture reduced by area; it adds to the bicubic "
        "enlargement.",
        data="Patches of the photographs in the public domain or under CC0 that come with scikit-image (without those "
        f"of the evaluation), of textures made from them, and of computed scenes ({', '.join(FAMILIES)}; "
        f"{_WORLDS_PER_FAMILY} worlds of each from seed {first_training_seed(seed, _WORLDS_PER_FAMILY)}).",
        limits=(
            "It knows pictures that were reduced by area, without noise or compression.",
            "Most of its photographs are grey; few show people, animals or plants.",
            "It sharpens what is there and invents nothing: it was trained for PSNR.",
        ),
    )


def bicubic_of(image: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Return the reduced image enlarged without a network; odd rows and columns are repeated first."""
    height, width = image.shape[-2:]
    padding = (0, width % FACTOR, 0, height % FACTOR)
    whole = torch.nn.functional.pad(image[None], padding, mode="replicate")
    return enlarge_bicubic(reduce_by_area(whole))[0, :, :height, :width].clamp(0, 1)
