"""Training of ``tiny:depth``: computed views and their exact depth, every view up to a scale and a shift."""

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
from lift3d.operators.tiny.depth import TRAINED_HEIGHT_PX, Depth, DepthNetwork, row_heights
from lift3d.operators.tiny.picture_pyramid import MULTIPLE_PX, STRIDE_PX
from lift3d.training.tiny.card import write_card
from lift3d.training.tiny.descent import descend, save_rounded
from lift3d.training.tiny.photo_pictures import (
    FAMILIES,
    FIRST_TRAINING_SEED,
    HEIGHT_PX,
    WIDTH_PX,
    WorldViews,
    evaluation_views,
    training_views,
)

NAME = "depth"
# With these one core takes two to four minutes.
STEPS = 500
_BATCH = 8
_WORLDS_PER_FAMILY = 8
# The raw answer is held near the truth's own scale, so that lifted values of views are of one size; weakly, since
# no view tells its scale.
_ANCHOR = 0.1
# Weight of the differences of neighbouring pixels, at distances of one and four cells: where surfaces end.
_EDGES = 0.5
# No computed world is longer (street: 40 m); aligned disparity below this has a depth beyond everything.
_FARTHEST_M = 40.0


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
        network = DepthNetwork()
    views, rng = training_views(seed, _WORLDS_PER_FAMILY), np.random.default_rng([seed, 3])

    def loss_of(step: int) -> Tensor:
        index = torch.from_numpy(rng.integers(len(views.images), size=_BATCH))
        images, truth = views.images[index].float() / 255, normalized(views.disparity[index])
        if rng.uniform() < 0.5:
            images, truth = images.flip(-1), truth.flip(-1)
        return loss_against(_predict(network, images), truth)

    descend(network.parameters(), loss_of, step_count)
    seconds = time.process_time() - started
    save_rounded(network, out)
    figures = measure(Depth(OperatorName("tiny", NAME), network))
    write_card(
        out.with_suffix(".md"),
        title=f"tiny:{NAME}",
        what="A small U-Net that tells disparity, up to a scale and a shift, from one picture.",
        data=f"Computed scenes with exact depth ({', '.join(FAMILIES)}; {_WORLDS_PER_FAMILY} worlds of each from seed "
        f"{FIRST_TRAINING_SEED + seed * _WORLDS_PER_FAMILY}). No photograph.",
        command=f"lift3d train-tiny {NAME}",
        steps=step_count,
        seconds=seconds,
        seed=seed,
        figures=figures,
        limits=(
            "It knows the computed worlds; on photographs it is not measured, and little can be expected of it.",
            f"Images higher than {TRAINED_HEIGHT_PX} pixels are seen reduced to that; edges of depth are as coarse.",
            "Cameras stand upright in all of its training.",
        ),
    )


def normalized(disparity: Float[Tensor, "view height width"]) -> Float[Tensor, "view height width"]:
    """Return disparity less its median, in units of its mean distance from it, view by view.

    Source:
        Ranftl et al., Towards Robust Monocular Depth Estimation, TPAMI 2020, equation 5.
    """
    centred = disparity - disparity.flatten(1).median(dim=1).values[:, None, None]
    return centred / centred.abs().mean(dim=(1, 2), keepdim=True).clamp(min=1e-6)


def loss_against(answer: Float[Tensor, "view height width"], truth: Float[Tensor, "view height width"]) -> Tensor:
    """Return the distance of an answer from normalised truth: where each is up to a scale and a shift, and at edges."""
    relative = normalized(answer)
    total = (relative - truth).abs().mean() + _ANCHOR * (answer - truth).abs().mean()
    for step in (STRIDE_PX, 4 * STRIDE_PX):
        for axis in (1, 2):
            moved = (values.narrow(axis, step, values.shape[axis] - step) for values in (relative, truth))
            kept = (values.narrow(axis, 0, values.shape[axis] - step) for values in (relative, truth))
            slopes = [ahead - here for ahead, here in zip(moved, kept, strict=True)]
            total = total + _EDGES / 4 * (slopes[0] - slopes[1]).abs().mean()
    return total


def measure(operator: Depth, views: WorldViews | None = None) -> dict[str, tuple[float, str]]:
    """Return figures on evaluation views after the best scale and shift of each, and of a vertical gradient."""
    judged = evaluation_views() if views is None else views
    size = ImageSize(*judged.images.shape[-2:])
    answers = torch.stack(
        [operator.decode(operator.encode(image.float() / 255), EMPTY_STATE, size).values for image in judged.images]
    )
    plain = row_heights(size).expand(len(judged.images), -1, -1)
    (error, correlation), (plain_error, plain_correlation) = (
        alignment_figures(one, judged.disparity) for one in (answers, plain)
    )
    return {
        "relative error of depth, aligned (less is better)": (error, f"vertical gradient: {plain_error:.3f}"),
        "correlation with true disparity": (correlation, f"vertical gradient: {plain_correlation:.3f}"),
    }


def alignment_figures(
    answers: Float[Tensor, "view height width"], truth: Float[Tensor, "view height width"]
) -> tuple[float, float]:
    """Return the mean |z − z*| / z* after least squares of disparity per view, and the mean correlation."""
    x, y = answers.double().flatten(1), truth.double().flatten(1)
    centred_x, centred_y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    shared = (centred_x * centred_y).sum(1, keepdim=True)
    power_x, power_y = centred_x.square().sum(1, keepdim=True), centred_y.square().sum(1, keepdim=True)
    aligned = (y.mean(1, keepdim=True) + shared / power_x * centred_x).clamp(min=1 / _FARTHEST_M)
    return float((y / aligned - 1).abs().mean()), float((shared / (power_x * power_y).sqrt()).mean())


def _predict(network: DepthNetwork, images: Float[Tensor, "view 3 height width"]) -> Tensor:
    """Return the answer at every pixel of views, as the operator gives it: completed below by mirrored rows."""
    rows = row_heights(ImageSize(HEIGHT_PX, WIDTH_PX)).expand(len(images), -1, -1, -1)
    padding = (0, -WIDTH_PX % MULTIPLE_PX, 0, -HEIGHT_PX % MULTIPLE_PX)
    # Reflection leaves the edge pixel out and the operator's mirror repeats it: no matter so far outside.
    whole = functional.pad(torch.cat([images, rows], dim=1), padding, mode="reflect")
    cells = network(whole[:, :3], whole[:, 3:])[..., : HEIGHT_PX // STRIDE_PX, : WIDTH_PX // STRIDE_PX]
    at_pixels: Tensor = functional.interpolate(
        cells, scale_factor=float(STRIDE_PX), mode="bilinear", align_corners=False
    )
    return at_pixels[:, 0]
