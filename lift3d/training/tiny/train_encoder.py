"""Training of ``tiny:encoder``: what hidden cells of a picture look like, told from those that are shown.

No label is read. A cell's look is its colours, coarsely, and the histogram of its gradients.

Source:
    Xie et al., SimMIM, CVPR 2022; Wei et al., Masked Feature Prediction, CVPR 2022 (gradients as the target).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.encoder import CHANNEL_COUNT, STRIDE_PX, EncoderNetwork, TinyEncoder
from lift3d.training.tiny.pixel_batches import change_light
from lift3d.training.tiny.probe_figures import measure_encoder
from lift3d.training.tiny.scene_pictures import FAMILIES, ScenePicture, Shot, training_pictures
from lift3d.training.tiny.train import Phase, TinyTraining

_STEPS = 500
_PICTURES = 8
SEEDS, _SHOT = range(40), Shot(views=3, height=96)
_COLOR_SIDE, _ORIENTATION_COUNT = 4, 8
# Cells are hidden two by two: single ones are told from their neighbours too easily.
_BLOCK_CELLS = 2
_LARGEST_HIDDEN_SHARE = 0.75
# Shown cells count a little, so that features keep what a cell itself looks like.
_SHOWN_WEIGHT = 0.3
_TARGET_COUNT = 3 * _COLOR_SIDE**2 + _ORIENTATION_COUNT


def describe(seed: int) -> TinyTraining:
    """Return the training of a seed: of initial weights, batches, their changes of light and what is hidden."""
    pictures = [picture for family in FAMILIES for picture in training_pictures(family, SEEDS, _SHOT)]
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        network, head = EncoderNetwork(), nn.Conv2d(CHANNEL_COUNT, _TARGET_COUNT, 1)

    def loss_of(step: int) -> Tensor:
        images = _draw(pictures, generator)
        is_hidden = _draw_hidden(images, generator)
        shown = functional.interpolate(is_hidden, scale_factor=STRIDE_PX)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            told = head(network(images, shown))
        error: Tensor = (told.float() - look_of(images)).square().mean(1, keepdim=True)
        weight: Tensor = _SHOWN_WEIGHT + (1 - _SHOWN_WEIGHT) * is_hidden
        return (error * weight).sum() / weight.sum()

    return TinyTraining(
        network,
        [Phase([network, head], loss_of)],
        steps=_STEPS,
        measure=lambda: measure_encoder(TinyEncoder(OperatorName("tiny", "encoder"), network)),
        what=f"Dense features of stride {STRIDE_PX} that no label taught: a small vision transformer behind a "
        "convolutional stem, trained to tell hidden parts of pictures from those that are shown.",
        data=f"{len(pictures)} pictures of {_SHOT.height}×{_SHOT.height * 4 // 3} pixels of the computed scenes "
        f"{', '.join(FAMILIES)}, seeds 0 to {max(SEEDS)}, under changed light and mirrored. Labels are not read. "
        "No captured picture.",
        limits=(
            "It saw computed scenes alone; on captured pictures it is no match for networks trained on photographs.",
            "It is for tests and examples of lifting self-supervised features without a download.",
            "Attention is over the whole picture: memory grows with the square of the number of cells.",
        ),
    )


def look_of(images: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image look row col"]:
    """Return what each cell of 8 pixels looks like: 4×4 colours about their mean, the mean, and gradients.

    Args:
        images: Height and width are multiples of 8.
    """
    part = STRIDE_PX // _COLOR_SIDE
    colors = functional.pixel_unshuffle(functional.avg_pool2d(images, part), _COLOR_SIDE)
    grey = functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    d_u = grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]
    d_v = grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]
    turn = torch.atan2(d_v, d_u).remainder(math.pi) / math.pi
    which = (turn * _ORIENTATION_COUNT).long().clamp(max=_ORIENTATION_COUNT - 1)[:, 0]
    strength = functional.one_hot(which, _ORIENTATION_COUNT).permute(0, 3, 1, 2) * d_u.hypot(d_v)
    histogram = functional.avg_pool2d(strength, STRIDE_PX)
    # 0.05 is about the noise of a flat cell; below it a direction means nothing.
    return torch.cat([4 * (colors - 0.5), histogram / (0.05 + histogram.norm(dim=1, keepdim=True))], dim=1)


def _draw(pictures: Sequence[ScenePicture], generator: torch.Generator) -> Float[Tensor, "image 3 height width"]:
    numbers = torch.randint(len(pictures), (_PICTURES,), generator=generator).tolist()
    images = torch.stack([change_light(pictures[number].image, generator) for number in numbers])
    return images.flip(-1) if torch.rand(1, generator=generator) < 0.5 else images


def _draw_hidden(
    images: Float[Tensor, "image 3 height width"], generator: torch.Generator
) -> Float[Tensor, "image 1 row col"]:
    count, _, height, width = images.shape
    side = _BLOCK_CELLS * STRIDE_PX
    chance = torch.rand(count, 1, height // side, width // side, generator=generator)
    share = _LARGEST_HIDDEN_SHARE * torch.rand(count, 1, 1, 1, generator=generator)
    return functional.interpolate((chance < share).float(), scale_factor=_BLOCK_CELLS)
