"""How well small models recognise what scenes show that they were never trained on, beside plain baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureMap
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample
from lift3d.operators.tiny.image_text import TinyClip
from lift3d.operators.tiny.segmenter import TinySegmenter
from lift3d.synthetic.objects import EVALUATION_SEEDS, OBJECT_LABELS, WITHHELD_PAIRS
from lift3d.training.tiny.scene_pictures import ScenePicture, Shot, scene_pictures

# As a capture would be: the usual field of view, neighbours a few degrees apart.
EVALUATION_SHOT = Shot(views=6, height=120, fov_deg=62.0, spacing=4.0)
_NAMES = tuple(OBJECT_LABELS)
_WITHHELD = tuple(f"{color} {shape}" for color, shape in WITHHELD_PAIRS)
# The words' own colours in sRGB; surfaces are grey, which is all their names say of how they look.
_NAMED_COLORS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 0.5, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "purple": (0.5, 0.0, 0.5),
    "orange": (1.0, 0.65, 0.0),
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
}
_GREY = (0.5, 0.5, 0.5)
# Of each colour channel, in the histogram of colours.
_BINS = 8

Labeller = Callable[[ScenePicture, Sequence[int]], "Int[Tensor, 'height width']"]


@dataclass(frozen=True, slots=True)
class Recognition:
    """How well labels were found, means over scenes.

    Attributes:
        mean_iou: Mean over the classes of a scene of intersection over union, pixels of its views together.
        withheld_iou: The same over classes that no training showed; NaN if none occurs.
    """

    mean_iou: float
    withheld_iou: float


def measure_labels(
    scenes: Sequence[Sequence[ScenePicture]], labeller: Labeller, withheld: Sequence[int] = ()
) -> Recognition:
    """Compare labels with the truth.

    Args:
        scenes: Pictures, scene by scene.
        labeller: Gives labels of a picture, among the classes that occur in its scene.
        withheld: Classes that are counted apart as well.
    """
    means, apart = [], []
    for pictures in scenes:
        present = sorted({int(label) for picture in pictures for label in torch.unique(picture.labels)})
        true = torch.cat([picture.labels.reshape(-1) for picture in pictures])
        guessed = torch.cat([labeller(picture, present).reshape(-1) for picture in pictures])
        ious = {label: _iou(guessed == label, true == label) for label in present}
        means.append(sum(ious.values()) / len(ious))
        apart += [iou for label, iou in ious.items() if label in withheld]
    return Recognition(sum(means) / len(means), sum(apart) / len(apart) if apart else float("nan"))


def evaluation_scenes(
    family: str, seeds: Sequence[int] = EVALUATION_SEEDS, shot: Shot = EVALUATION_SHOT
) -> list[list[ScenePicture]]:
    """Render the scenes that are judged by, one list of pictures each."""
    return [scene_pictures(family, [seed], shot) for seed in seeds]


def measure_clip(operator: TinyClip, scenes: Sequence[Sequence[ScenePicture]]) -> Recognition:
    """Name every pixel by the prompt it is nearest to, among the names of what the scene has."""

    def labeller(picture: ScenePicture, present: Sequence[int]) -> Int[Tensor, "height width"]:
        prompts = operator.encode_text([prompt_of(_NAMES[label]) for label in present])
        features = at_pixels(operator.encode(picture.image)[0], ImageSize(*picture.labels.shape))
        nearest = torch.einsum("pc,chw->phw", prompts, features).argmax(0)
        return torch.tensor(present)[nearest]

    return measure_labels(scenes, labeller, [OBJECT_LABELS[name] for name in _WITHHELD])


def measure_named_colors(scenes: Sequence[Sequence[ScenePicture]]) -> Recognition:
    """Name every pixel by the name whose colour is nearest in sRGB: the plain baseline of measure_clip."""

    def labeller(picture: ScenePicture, present: Sequence[int]) -> Int[Tensor, "height width"]:
        colors = torch.tensor([_NAMED_COLORS.get(_NAMES[label].split()[0], _GREY) for label in present])
        distance = (picture.image[None] - colors[:, :, None, None]).square().sum(1)
        return torch.tensor(present)[distance.argmin(0)]

    return measure_labels(scenes, labeller, [OBJECT_LABELS[name] for name in _WITHHELD])


def measure_segmenter(operator: TinySegmenter, scenes: Sequence[Sequence[ScenePicture]]) -> Recognition:
    """Label every pixel by the operator."""

    def labeller(picture: ScenePicture, present: Sequence[int]) -> Int[Tensor, "height width"]:
        features = operator.encode(picture.image)
        return operator.decode(features, EMPTY_STATE, ImageSize(*picture.labels.shape)).values

    return measure_labels(scenes, labeller)


def measure_color_histogram(training: Sequence[ScenePicture], scenes: Sequence[Sequence[ScenePicture]]) -> Recognition:
    """Label every pixel by the class that training pictures most often show in its colour.

    The plain baseline of measure_segmenter.
    """
    bins = torch.cat([_color_bin(picture.image).reshape(-1) for picture in training])
    labels = torch.cat([picture.labels.reshape(-1) for picture in training])
    class_count = 1 + int(labels.max())
    counts = (bins * class_count + labels).bincount(minlength=_BINS**3 * class_count)
    usual = counts.reshape(-1, class_count).argmax(1)
    return measure_labels(scenes, lambda picture, present: usual[_color_bin(picture.image)])


def prompt_of(name: str) -> str:
    """Return the prompt that asks for a class by its name."""
    color, _, shape = name.partition(" ")
    return f"a {color} {shape}" if shape else name


def at_pixels(features: FeatureMap, size: ImageSize) -> Float[Tensor, "channel height width"]:
    """Return features at the centres of an image's pixels."""
    grid = features.grid
    uv = cell_centers(size.height, size.width)
    return sample(features.values, uv, (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v))


def _color_bin(image: Float[Tensor, "3 height width"]) -> Int[Tensor, "height width"]:
    red, green, blue = (image * _BINS).long().clamp(max=_BINS - 1).unbind(0)
    return (red * _BINS + green) * _BINS + blue


def _iou(guessed: Tensor, true: Tensor) -> float:
    return float((guessed & true).sum() / (guessed | true).sum())
