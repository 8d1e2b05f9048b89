"""A picture in another manner: ``tiny:style?style=NAME`` gives features the statistics of a style and paints them.

Features of the content are first brought to the mean and deviation of the whole scene (fit_scene), or where there is
none of the training pictures: by a view's own, one surface would get another tone in each view.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.operators.answers import valid_everywhere
from lift3d.operators.names import OperatorName
from lift3d.operators.tiny.picture_cells import Block, TinyOperator

STYLES = ("mosaic", "ink", "waves", "embers")
STRIDE_PX = 4
MEAN, DEVIATION = "content_mean", "content_deviation"
CHANNEL_COUNT = 48
_HALF, _FULL, _DEEP = 32, 16, 64
_MID_GREY = 0.5
# Keeps the division finite where a channel is constant, as in a scene of one colour.
_LEAST_DEVIATION = 1e-2


class StyleNetwork(nn.Module):
    """An encoder of pictures, a decoder of features, and the statistics of styles and of usual pictures.

    There is no statistic over the image in either; borders repeat the last pixel.

    Source:
        Huang & Belongie, Arbitrary Style Transfer in Real-Time with Adaptive Instance Normalization, ICCV 2017.
    """

    style_mean: Tensor
    style_deviation: Tensor
    usual_mean: Tensor
    usual_deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            _convolution(3, _FULL),
            nn.ReLU(),
            nn.Conv2d(_FULL, _HALF, 4, stride=2, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(_HALF, _DEEP, 4, stride=2, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            _convolution(_DEEP, CHANNEL_COUNT),
        )
        self.decoder = nn.Sequential(
            _convolution(CHANNEL_COUNT, _DEEP),
            nn.ReLU(),
            Block(_DEEP, padding_mode="replicate"),
            Block(_DEEP, padding_mode="replicate"),
            nn.Upsample(scale_factor=2),
            _convolution(_DEEP, _HALF),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            _convolution(_HALF, _FULL),
            nn.ReLU(),
            _convolution(_FULL, 3),
            nn.Sigmoid(),
        )
        for name, count in (("style", len(STYLES)), ("usual", 1)):
            self.register_buffer(f"{name}_mean", torch.zeros(count, CHANNEL_COUNT))
            self.register_buffer(f"{name}_deviation", torch.ones(count, CHANNEL_COUNT))

    def features(self, pictures: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image channel row col"]:
        """Return cells of four pixels; height and width are multiples of four."""
        cells: Tensor = self.encoder(pictures - _MID_GREY)
        return cells

    def paint(
        self,
        features: Float[Tensor, "image channel row col"],
        mean: Float[Tensor, " channel"],
        deviation: Float[Tensor, " channel"],
        style: int,
    ) -> Float[Tensor, "image 3 height width"]:
        """Return pictures of content with these statistics in a style."""
        plain = (features - mean[:, None, None]) / deviation.clamp(min=_LEAST_DEVIATION)[:, None, None]
        styled = plain * self.style_deviation[style][:, None, None] + self.style_mean[style][:, None, None]
        pictures: Tensor = self.decoder(styled)
        return pictures


def statistics(cells: Float[Tensor, "cell channel"]) -> tuple[Float[Tensor, " channel"], Float[Tensor, " channel"]]:
    """Return the mean and the deviation of each channel."""
    variance, mean = torch.var_mean(cells, dim=0, correction=0)
    return mean, variance.sqrt()


class Style(TinyOperator):
    """A picture repainted. One cut: the encoder's cells. The state: their statistics over the scene."""

    def __init__(self, name: OperatorName, network: StyleNetwork) -> None:
        self._style = STYLES.index(name.choice("style", STYLES))
        super().__init__(name, network, STRIDE_PX, CHANNEL_COUNT, prediction_kind="image")

    def _cells(self, pixels: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image channel row col"]:
        cells: Tensor = self._network.features(pixels)
        return cells

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the statistics of the content over all cells of all views, each cell counting as one."""
        if not maps:
            return EMPTY_STATE
        # In the order of names, so that sums are equal to the bit whatever order the views come in.
        cells = torch.cat([maps[view][0].values.flatten(1).T for view in sorted(maps)])
        mean, deviation = statistics(cells.double())
        return SceneState({MEAN: mean.float(), DEVIATION: deviation.float()})

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the painted picture; the statistics are the state's, or the training pictures' if it is empty."""
        placement = self._placed(size)
        self._check_grid(features[0], placement.padded.height // STRIDE_PX, placement.padded.width // STRIDE_PX)
        mean = state.arrays.get(MEAN, self._network.usual_mean[0])
        deviation = state.arrays.get(DEVIATION, self._network.usual_deviation[0])
        with torch.no_grad():
            picture = self._network.paint(features[0].values[None], mean, deviation, self._style)[0]
        return Prediction("image", placement.cropped(picture), valid_everywhere(size))


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate")
