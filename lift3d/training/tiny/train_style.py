"""Training of ``tiny:style``: an encoder that keeps what a picture shows, then a decoder that paints it in a style."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import SceneState
from lift3d.domain.scene_views import SceneViews
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.tiny.colorizer import luminance_of
from lift3d.operators.tiny.style import STRIDE_PX, STYLES, Style, StyleNetwork, statistics
from lift3d.training.tiny.photo_pictures import (
    PictureBox,
    evaluation_photographs,
    evaluation_views,
    first_training_seed,
    picture_box,
    pixels,
)
from lift3d.training.tiny.scene_pictures import FAMILIES
from lift3d.training.tiny.style_pictures import style_pictures
from lift3d.training.tiny.train import Figures, Phase, TinyTraining

# With these one core takes two to four minutes.
_STEPS = 900
# Of them: those in which the encoder learns to keep a picture; then it rests and the decoder learns to paint.
_KEEPING_SHARE = 0.3
_BATCH = 4
_SIDE_PX = 64
_WORLDS_PER_FAMILY = 5
_TILES = 80
# Between the two losses; chosen so that things stay recognisable.
_CONTENT = 1.0
_USUAL_BATCHES = 50
_FILTER_COUNT, _TONE_EVERY, _LEVEL_COUNT = 48, 6, 3

Pictures = Float[Tensor, "image 3 height width"]


class Judge(nn.Module):
    """How far pictures are from a style: products of random filters' answers at three resolutions; nothing is learned.

    Source:
        Gatys, Ecker & Bethge, CVPR 2016 (products); Ustyuzhaninov et al., ICLR 2017 (one layer of random filters does).
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = torch.randn(_FILTER_COUNT, 3, 5, 5, generator=torch.Generator().manual_seed(7))
        # Most see edges alone; every sixth sees tone and colour. Each kind is judged by itself: tones are far stronger.
        self._is_tone = torch.arange(_FILTER_COUNT) % _TONE_EVERY == 0
        edges = filters - filters.mean(dim=(2, 3), keepdim=True)
        tones = filters.mean(dim=(2, 3), keepdim=True).expand_as(filters)
        chosen = torch.where(self._is_tone[:, None, None, None], tones, edges)
        self.register_buffer("filters", chosen / chosen.flatten(1).norm(dim=1)[:, None, None, None])

    def products(self, pictures: Pictures) -> list[Float[Tensor, "_filter _filter"]]:
        """Return the mean products of answers over all pixels of all pictures: of tones, of edges, level by level."""
        found = []
        for level in range(_LEVEL_COUNT):
            seen = functional.avg_pool2d(pictures, 2**level)
            answers = functional.relu(functional.conv2d(seen - 0.5, self.filters)).movedim(1, 0).flatten(1)
            kinds = (answers[self._is_tone], answers[~self._is_tone])
            found += [one @ one.T / one.shape[1] for one in kinds]
        return found

    def distance(self, pictures: Pictures, of_style: list[Float[Tensor, "_filter _filter"]]) -> Tensor:
        """Return the squared distance of products from a style's, in units of the style's own."""
        pairs = zip(self.products(pictures), of_style, strict=True)
        return torch.stack([(one - other).square().sum() / other.square().sum() for one, other in pairs]).mean()


def brightness_kept(painted: Pictures, content: Pictures) -> Tensor:
    """Return the correlation of brightness between pictures and their content, over cells of four pixels."""
    cells = [functional.avg_pool2d(luminance_of(one), STRIDE_PX).flatten(1) for one in (painted, content)]
    of_painted, of_content = (one - one.mean(1, keepdim=True) for one in cells)
    return functional.cosine_similarity(of_painted, of_content, dim=1).mean()


def describe(seed: int) -> TinyTraining:
    """Return the training of a seed: of weights, pictures and batches."""
    with seeded(seed):
        network = StyleNetwork()
    box, rng = picture_box(seed, _WORLDS_PER_FAMILY, _TILES), np.random.default_rng([seed, 4])
    judge = Judge()
    wanted = [judge.products(picture[None]) for picture in style_pictures()]

    def loss_of_keeping(step: int) -> Tensor:
        pictures = box.patches(rng, _BATCH, _SIDE_PX)
        given_back: Tensor = network.decoder(network.features(pictures))
        return (given_back - pictures).abs().mean()

    def loss_of_painting(step: int) -> Tensor:
        # The pictures of a batch are one scene, with statistics in common.
        content, style = box.patches(rng, _BATCH, _SIDE_PX), step % len(STYLES)
        with torch.no_grad():
            features = network.features(content)
        mean, deviation = statistics(features.movedim(1, 0).flatten(1).T)
        painted = network.paint(features, mean, deviation, style)
        return judge.distance(painted, wanted[style]) + _CONTENT * (1 - brightness_kept(painted, content))

    return TinyTraining(
        network,
        [
            Phase([network], loss_of_keeping, _KEEPING_SHARE),
            Phase([network.decoder], loss_of_painting, 1 - _KEEPING_SHARE, lambda: _fill_statistics(network, box, rng)),
        ],
        steps=_STEPS,
        measure=lambda: measure(network),
        what=f"A picture repainted in one of {len(STYLES)} styles ({', '.join(STYLES)}): `tiny:style?style=NAME`. The "
        "features of a scene are normalised by statistics of the whole scene, never by those of one view.",
        data="Contents: patches of the photographs in the public domain or under CC0 that come with scikit-image "
        "(without those of the evaluation), of textures made from them, and of computed scenes "
        f"({', '.join(FAMILIES)}; {_WORLDS_PER_FAMILY} worlds of each from seed "
        f"{first_training_seed(seed, _WORLDS_PER_FAMILY)}). Styles: pictures that are computed here.",
        limits=(
            "Styles are palettes and small textures, not strokes or forms; there are no others than these.",
            "Textures are as large as they are in pixels, whatever the size of the image.",
            "The distance from a style is measured by the same random filters that training used.",
        ),
    )


def _fill_statistics(network: StyleNetwork, box: PictureBox, rng: np.random.Generator) -> None:
    """Note the statistics of the styles' features and of those of many pictures."""
    with torch.no_grad():
        for number, picture in enumerate(style_pictures()):
            mean, deviation = statistics(network.features(picture[None])[0].flatten(1).T)
            network.style_mean[number], network.style_deviation[number] = mean, deviation
        many = [network.features(box.patches(rng, _BATCH, _SIDE_PX)) for _ in range(_USUAL_BATCHES)]
        mean, deviation = statistics(torch.cat(many).movedim(1, 0).flatten(1).T)
        network.usual_mean[0], network.usual_deviation[0] = mean, deviation


def measure(network: StyleNetwork) -> Figures:
    """Return how far painted evaluation pictures are from the style, and how much of their brightness is kept."""
    pictures = [pixels(picture[None])[0] for picture in evaluation_photographs()]
    pictures += [one.image for one in evaluation_views()[: len(FAMILIES)]]
    figures = {}
    for number, name in enumerate(STYLES):
        operator = Style(OperatorName("tiny", "style", (("style", name),)), network)
        distance, plain, kept = figures_of(operator, pictures, style_pictures()[number])
        figures[f"{name}: distance from the style (less is better)"] = (distance, f"the picture itself: {plain:.3f}")
        figures[f"{name}: brightness kept (correlation)"] = (kept, "the picture itself: 1, another picture: about 0")
    return figures


def figures_of(
    operator: Style, pictures: list[Float[Tensor, "3 height width"]], style: Float[Tensor, "3 row col"]
) -> tuple[float, float, float]:
    """Return the mean distance of painted and of plain pictures from the style, and the brightness kept."""
    judge = Judge()
    wanted, rows = judge.products(style[None]), []
    for picture in pictures:
        painted = answer_of(operator, picture)[None]
        distances = [float(judge.distance(one, wanted)) for one in (painted, picture[None])]
        rows.append([*distances, float(brightness_kept(painted, picture[None]))])
    distance, plain, kept = np.mean(rows, axis=0)
    return float(distance), float(plain), float(kept)


def answer_of(operator: Style, image: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Return what the operator makes of an image that is a scene of its own."""
    features = operator.encode(image)
    state: SceneState = operator.fit_scene({"only": features}, SceneViews.of({}))
    return operator.decode(features, state, ImageSize(*image.shape[-2:])).values
