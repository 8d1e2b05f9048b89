"""Colour itself as an operator: the identity, and the plainest test of a lifter."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import OperatorSpec


class RgbOperator:
    """Encodes an image as its own three channels, one cell per pixel."""

    spec = OperatorSpec(
        name="rgb",
        stage_version=1,
        prediction_kind="image",
        channel_count=3,
        stride_px=1.0,
        quantity="color",
        restores=True,
    )

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the image."""
        height, width = image.shape[-2:]
        return (FeatureMap(image.to(torch.float32), FeatureGrid(height, width, 1.0, 1.0)),)

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the empty state."""
        return EMPTY_STATE

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the colours, read at the pixel centres if the grid is not the pixels' own."""
        colours, grid = features[0].values, features[0].grid
        if grid != FeatureGrid(size.height, size.width, 1.0, 1.0):
            strides, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
            colours = sample(colours, cell_centers(size.height, size.width), strides, origin)
        return Prediction("image", colours.clamp(0, 1), torch.ones(size.height, size.width, dtype=torch.bool))


def build(name: OperatorName) -> RgbOperator:
    """Build the operator ``rgb``."""
    name.check(())
    return RgbOperator()
