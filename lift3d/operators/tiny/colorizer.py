"""Colours for grey pictures: ``tiny:colorizer`` sees the luminance of an image and says which colours it may have.

The answer keeps the luminance, but for clamping; only the two differences of colour are guessed. It was trained on
small pictures, so a large one is seen reduced; its luminance is not.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.lifted import Prediction
from lift3d.operators.answers import Unfitted, at_pixels, pixel_map, valid_everywhere
from lift3d.operators.names import OperatorName
from lift3d.operators.tiny.picture_cells import TinyOperator
from lift3d.operators.tiny.u_nets import MULTIPLE_PX, STRIDE_PX, PicturePyramid, placed

# Of red, green and blue in the luminance: ITU-R BT.601.
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
_CHANNEL_COUNT = 24
_MID_GREY = 0.5


class ColorizerNetwork(nn.Module):
    """A pyramid over the luminance; at every pixel, a mixture of what its cells say and how bright the pixel is."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = PicturePyramid(1, _CHANNEL_COUNT)
        self.brightness = nn.Conv2d(1, _CHANNEL_COUNT, 1)
        self.mix = nn.Conv2d(_CHANNEL_COUNT, 2, 1)

    def features(self, luminance: Float[Tensor, "image 1 height width"]) -> Float[Tensor, "image channel row col"]:
        """Return cells of four pixels; height and width are multiples of MULTIPLE_PX."""
        cells: Tensor = self.pyramid(luminance - _MID_GREY)
        return cells

    def paint(
        self, at_pixels: Float[Tensor, "image channel height width"], luminance: Float[Tensor, "image 1 height width"]
    ) -> Float[Tensor, "image 3 height width"]:
        """Return the coloured picture, not clamped, from features that were enlarged to pixels."""
        mixed = self.mix(functional.relu(at_pixels + self.brightness(luminance - _MID_GREY)))
        red, blue = mixed.chunk(2, dim=1)
        # The green difference follows from that the luminance stays what it is.
        green = -(_RED * red + _BLUE * blue) / _GREEN
        return luminance + torch.cat([red, green, blue], dim=1)


def luminance_of(pictures: Float[Tensor, "*image 3 height width"]) -> Float[Tensor, "*image 1 height width"]:
    """Return the luminance of sRGB pictures, of the gamma-coded values as BT.601 has it."""
    red, green, blue = pictures.chunk(3, dim=-3)
    return _RED * red + _GREEN * green + _BLUE * blue


class Colorizer(TinyOperator, Unfitted):
    """A picture from its luminance. Two cuts: the network's cells, and the luminance at every pixel."""

    def __init__(self, name: OperatorName, network: ColorizerNetwork) -> None:
        kind = {"prediction_kind": "image", "further_cuts": ((1, 1.0),), "color_cuts": (1,), "restores": True}
        super().__init__(name, network, STRIDE_PX, _CHANNEL_COUNT, MULTIPLE_PX, **kind)

    def encode_batch(self, images: Float[Tensor, "image 3 height width"]) -> list[tuple[FeatureMap, ...]]:
        """Return the cells, and the luminance; of the colours nothing."""
        placement = placed(ImageSize(*images.shape[-2:]))
        luminance = luminance_of(images.to(torch.float32))
        seen = placement.apply(luminance.expand(-1, 3, -1, -1))[:, :1]
        with torch.no_grad():
            found = self._network.features(seen)
        return [
            (placement.to_image(cells, self._lattice), pixel_map(own.contiguous()))
            for cells, own in zip(found, luminance, strict=True)
        ]

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the coloured picture; ShapeError if the luminance is not that of an image of this size."""
        cells, luminance = features
        self._check_grid(luminance, size.height, size.width)
        seen = at_pixels(cells.values, cells.grid, size)
        with torch.no_grad():
            picture = self._network.paint(seen[None], luminance.values[None])[0]
        return Prediction("image", picture.clamp(0, 1), valid_everywhere(size))
