"""Colour itself as an operator: the identity, and the plainest test of a lifter."""

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.lifted import Prediction
from lift3d.operators.answers import Unfitted, at_pixels, pixel_map, valid_everywhere
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import OperatorSpec


class RgbOperator(Unfitted):
    """Encodes an image as its own three channels, one cell per pixel."""

    spec = OperatorSpec(
        name="rgb", stage_version=1, prediction_kind="image", quantity="color", channel_count=3, restores=True
    )

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the image."""
        return (pixel_map(image.to(torch.float32)),)

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the colours, read at the pixel centres if the grid is not the pixels' own."""
        colours = at_pixels(features[0].values, features[0].grid, size)
        return Prediction("image", colours.clamp(0, 1), valid_everywhere(size))


def build(name: OperatorName) -> RgbOperator:
    """Build the operator ``rgb``."""
    name.check(())
    return RgbOperator()
