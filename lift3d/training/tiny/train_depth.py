"""Training of ``tiny:depth``: computed views and their exact depth, every view up to a scale and a shift."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.depth import Depth, DepthNetwork, row_heights
from lift3d.operators.tiny.u_nets import MULTIPLE_PX, STRIDE_PX, TRAINED_HEIGHT_PX
from lift3d.training.tiny.photo_pictures import (
    HEIGHT_PX,
    WIDTH_PX,
    answer_of,
    evaluation_views,
    first_training_seed,
    training_views,
)
from lift3d.training.tiny.scene_pictures import FAMILIES, ScenePicture
from lift3d.training.tiny.train import Figures, Phase, TinyTraining

_NAME = OperatorName("tiny", "depth")
# With these one core takes two to four minutes.
_STEPS = 500
_BATCH = 8
_WORLDS_PER_FAMILY = 8
# The raw answer is held near the truth's own scale, so that lifted values of views are of one size; weakly, since
# no view tells its scale.
_ANCHOR = 0.1
# Weight of the differences of neighbouring pixels, at distances of one and four cells: where surfaces end.
_EDGES = 0.5
# No computed world is longer (street: 40 m); aligned disparity below this has a depth beyond everything.
_FARTHEST_M = 40.0


def describe(seed: int) -> TinyTraining:
    """Return the training of a seed: of weights, pictures and batches."""
    with seeded(seed):
        network = DepthNetwork()
    views = training_views(seed, _WORLDS_PER_FAMILY)
    shown = torch.stack([one.image for one in views])
    disparity, rng = torch.stack([1 / one.z_depth for one in views]), np.random.default_rng([seed, 3])

    def loss_of(step: int) -> Tensor:
        index = torch.from_numpy(rng.integers(len(views), size=_BATCH))
        images, truth = shown[index], normalized(disparity[index])
        if rng.uniform() < 0.5:
            images, truth = images.flip(-1), truth.flip(-1)
        return loss_against(_predict(network, images), truth)

    return TinyTraining(
        network,
        [Phase([network], loss_of)],
        steps=_STEPS,
        measure=lambda: measure(Depth(_NAME, network), evaluation_views()),
        what="A small U-Net that tells disparity, up to a scale and a shift, from one picture.",
        data=f"Computed scenes with exact depth ({', '.join(FAMILIES)}; {_WORLDS_PER_FAMILY} worlds of each from seed "
        f"{first_training_seed(seed, _WORLDS_PER_FAMILY)}). No photograph.",
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


def measure(operator: Depth, views: Sequence[ScenePicture]) -> Figures:
    """Return figures after the best scale and shift of each view, beside those of a vertical gradient."""
    answers = torch.stack([answer_of(operator, one.image) for one in views])
    disparity = torch.stack([1 / one.z_depth for one in views])
    plain = row_heights(ImageSize(*answers.shape[1:])).expand(len(views), -1, -1)
    (error, correlation), (plain_error, plain_correlation) = (
        alignment_figures(one, disparity) for one in (answers, plain)
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
