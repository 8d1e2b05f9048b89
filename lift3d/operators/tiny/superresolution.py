"""Twice the resolution: ``tiny:superresolution`` sees an image reduced to half its size and enlarges it again.

The answer has the size of the image given to encode, whose own detail is withheld: so it can be compared with the
truth. An odd row or column is completed by its mirror image first; the grid says where the reduced pixels sit.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.lifted import Prediction
from lift3d.operators.answers import Unfitted, valid_everywhere
from lift3d.operators.names import OperatorName
from lift3d.operators.tiny.picture_cells import Block, TinyOperator

FACTOR = 2
# As much as one core trains in minutes.
_WIDTH = 32
_BLOCK_COUNT = 5
_MID_GREY = 0.5


class SuperresolutionNetwork(nn.Module):
    """What a bicubic enlargement lacks, by residual blocks at the low resolution and one shuffle of pixels.

    Source:
        Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017 (EDSR, no
        normalisation); Shi et al., CVPR 2016 (sub-pixel convolution).
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, _WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(_WIDTH) for _ in range(_BLOCK_COUNT)))
        self.last = nn.Conv2d(_WIDTH, 3 * FACTOR**2, 3, padding=1)

    def features(self, low: Float[Tensor, "image 3 row col"]) -> Float[Tensor, "image channel row col"]:
        """Return the features before the last convolution."""
        values = self.first(low - _MID_GREY)
        features: Tensor = values + self.blocks(values)
        return features

    def enlarge(
        self, features: Float[Tensor, "image channel row col"], low: Float[Tensor, "image 3 row col"]
    ) -> Float[Tensor, "image 3 height width"]:
        """Return the picture of twice the size, not clamped."""
        detail = functional.pixel_shuffle(self.last(features), FACTOR)
        return detail + enlarge_bicubic(low)


def reduce_by_area(pictures: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image 3 row col"]:
    """Return pictures of even size at half of it, every pixel the mean of its block."""
    return functional.avg_pool2d(pictures, FACTOR)


def enlarge_bicubic(low: Float[Tensor, "image 3 row col"]) -> Float[Tensor, "image 3 height width"]:
    """Return the plain enlargement: what the network adds to, and what it is measured against."""
    return functional.interpolate(low, scale_factor=float(FACTOR), mode="bicubic", align_corners=False)


class Superresolution(TinyOperator, Unfitted):
    """A picture from one of half its size. Two cuts: features before the last convolution, and the small picture."""

    def __init__(self, name: OperatorName, network: SuperresolutionNetwork) -> None:
        kind: dict[str, Any] = {"prediction_kind": "image", "further_cuts": ((3, float(FACTOR)),), "color_cuts": (1,)}
        # A reduced pixel is the mean of its block, so it sits in the block's middle.
        super().__init__(name, network, FACTOR, _WIDTH, **kind, restores=True)

    def encode_batch(self, images: Float[Tensor, "image 3 height width"]) -> list[tuple[FeatureMap, ...]]:
        """Return the features and the reduced picture, both on the grid of its pixels."""
        placement = self._placed(ImageSize(*images.shape[-2:]))
        with torch.no_grad():
            low = reduce_by_area(placement.apply(images.to(torch.float32)))
            features = self._network.features(low)
        pairs = zip(features, low, strict=True)
        return [tuple(placement.to_image(values, self._lattice) for values in pair) for pair in pairs]

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the enlarged picture; ShapeError if the features are not those of an image of this size."""
        placement = self._placed(size)
        for one in features:
            self._check_grid(one, placement.padded.height // FACTOR, placement.padded.width // FACTOR)
        with torch.no_grad():
            picture = self._network.enlarge(*(one.values[None] for one in features))[0]
        return Prediction("image", placement.cropped(picture).clamp(0, 1), valid_everywhere(size))
