"""Training of ``tiny:colorizer``: computed views, whose classes have typical hues, and a few photographs."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.colorizer import Colorizer, ColorizerNetwork, luminance_of
from lift3d.operators.tiny.u_nets import STRIDE_PX, TRAINED_HEIGHT_PX
from lift3d.training.tiny.photo_pictures import (
    first_training_seed,
    measure_psnr,
    photograph_windows,
    training_views,
)
from lift3d.training.tiny.scene_pictures import FAMILIES
from lift3d.training.tiny.train import Phase, TinyTraining

_NAME = OperatorName("tiny", "colorizer")
# With these one core takes two to four minutes.
_STEPS = 1300
_BATCH = 8
# Of each batch: photographs, which have too few colours in common to teach more than restraint.
_PHOTOGRAPHS = 1
_WORLDS_PER_FAMILY = 12
_WINDOW = (96, 128)
# Errors of colour below this count squared, above it plainly (Charbonnier): a wrong guess shall not rule the batch.
_SOFT = 0.05


def describe(seed: int) -> TinyTraining:
    """Return the training of a seed: of weights, pictures and batches."""
    with seeded(seed):
        network = ColorizerNetwork()
    views = torch.stack([one.image for one in training_views(seed, _WORLDS_PER_FAMILY)])
    rng = np.random.default_rng([seed, 2])

    def loss_of(step: int) -> Tensor:
        truth = torch.cat([_windows(rng, views), photograph_windows(rng, _PHOTOGRAPHS, _WINDOW)])
        luminance = luminance_of(truth)
        cells = network.features(luminance)
        at_pixels = functional.interpolate(cells, scale_factor=float(STRIDE_PX), mode="bilinear", align_corners=False)
        difference = network.paint(at_pixels, luminance) - truth
        return (difference.square().mean(1) + _SOFT**2).sqrt().mean()

    return TinyTraining(
        network,
        [Phase([network], loss_of)],
        steps=_STEPS,
        measure=lambda: measure_psnr(Colorizer(_NAME, network), "grey", grey_of),
        what="A small U-Net that guesses the colours of a grey picture and keeps its luminance.",
        data=f"Computed scenes ({', '.join(FAMILIES)}; {_WORLDS_PER_FAMILY} worlds of each from seed "
        f"{first_training_seed(seed, _WORLDS_PER_FAMILY)}), whose classes have typical hues, and for "
        f"{_PHOTOGRAPHS} picture of {_BATCH} the photographs in the public domain or under CC0 that come with "
        "scikit-image, without those of the evaluation.",
        limits=(
            "It knows the colours of the computed worlds. Of photographs it knows little: see the figures.",
            "What comes in every colour (books, boxes) it paints in none.",
            f"Images higher than {TRAINED_HEIGHT_PX} pixels are seen reduced to that; their colours are as coarse.",
        ),
    )


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
    return torch.stack(cut)
