"""How much of what scenes show can be read off dense features, by probes fitted on other scenes."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.operators.hog import HogOperator
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator
from lift3d.operators.tiny.encoder import STRIDE_PX
from lift3d.synthetic.objects import EVALUATION_SEEDS
from lift3d.synthetic.stage import LABELS
from lift3d.training.tiny.recognition_figures import at_pixels, evaluation_scenes, measure_labels
from lift3d.training.tiny.scene_pictures import FAMILIES, ScenePicture, Shot, training_pictures
from lift3d.training.tiny.train import Figures

# Scenes that a probe is fitted on; the encoder may have seen their pictures, never their labels.
_FITTING_SEEDS, _FITTING_SHOT = range(100, 106), Shot(views=2, height=96)
_PROBED_SHOT = Shot(views=2, height=96, spacing=8.0)
_PIXELS_PER_PICTURE = 40
# Of features scaled to unit variance; the usual choice of closed-form probes, flat between 0.1 and 10 here.
_RIDGE = 1.0

Describe = Callable[["Float[Tensor, '3 height width']"], "Float[Tensor, 'channel height width']"]
Probe = Callable[["Float[Tensor, 'pixel channel']"], "Int[Tensor, ' pixel']"]


def measure_encoder(
    operator: Operator, seeds: Sequence[int] = EVALUATION_SEEDS[:4], families: Sequence[str] = FAMILIES
) -> Figures:
    """Return the mean IoU of a linear probe on an encoder's features, beside those on colours and gradients.

    Args:
        operator: Gives one map of features.
        seeds: Scenes of each family to measure on.
        families: Of computed scenes, those that a probe is fitted and measured on.
    """
    fitting = [one for family in families for one in training_pictures(family, _FITTING_SEEDS, _FITTING_SHOT)]
    scenes = [one for family in families for one in evaluation_scenes(family, seeds, _PROBED_SHOT)]
    found = _measure(lambda image: _of_operator(operator, image), fitting, scenes)
    plain = _measure(_plain, fitting, scenes)
    words = f"the same on mean colours and histograms of gradients of the same cells: {plain:.3f}"
    return {f"mIoU of a linear probe, {len(scenes)} scenes that were not trained on": (found, words)}


def _measure(
    describe: Describe,
    fitting: Sequence[ScenePicture],
    scenes: Sequence[Sequence[ScenePicture]],
) -> float:
    generator = torch.Generator().manual_seed(0)
    features, labels = [], []
    for picture in fitting:
        index = torch.randint(picture.labels.numel(), (_PIXELS_PER_PICTURE,), generator=generator)
        features.append(describe(picture.image).flatten(1)[:, index].T)
        labels.append(picture.labels.reshape(-1)[index])
    known = torch.cat(features)
    mean, spread = known.mean(0), known.std(0) + 1e-6
    probe = _fit_ridge((known - mean) / spread, torch.cat(labels))

    def labeller(picture: ScenePicture, present: Sequence[int]) -> Int[Tensor, "height width"]:
        described = (describe(picture.image).flatten(1).T - mean) / spread
        return probe(described).reshape(picture.labels.shape)

    return measure_labels(scenes, labeller).mean_iou


def _fit_ridge(known: Float[Tensor, "pixel channel"], labels: Int[Tensor, " pixel"]) -> Probe:
    with_one = functional.pad(known, (0, 1), value=1.0)
    wanted = functional.one_hot(labels, len(LABELS)).float()
    gram = with_one.T @ with_one + _RIDGE * torch.eye(with_one.shape[1])
    weights = torch.linalg.solve(gram, with_one.T @ wanted)
    return lambda features: (functional.pad(features, (0, 1), value=1.0) @ weights).argmax(1)


def _of_operator(operator: Operator, image: Float[Tensor, "3 height width"]) -> Float[Tensor, "channel height width"]:
    return at_pixels(operator.encode(image)[0], ImageSize(*image.shape[-2:]))


def _plain(image: Float[Tensor, "3 height width"]) -> Float[Tensor, "channel height width"]:
    size = ImageSize(*image.shape[-2:])
    gradients = HogOperator(OperatorName("hog", options=(("cell", str(STRIDE_PX)),))).encode(image)[0]
    colors = functional.avg_pool2d(image[None], STRIDE_PX)[0]
    smooth = functional.interpolate(colors[None], (size.height, size.width), mode="bilinear", align_corners=False)[0]
    return torch.cat([smooth, at_pixels(gradients, size)])
