"""Semantic segmentation of the classes of the computed scenes: ``tiny:segmenter``.

The features are logits of cells of 4 pixels, so that what is blended between views is what each says.
"""

from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.lifted import Prediction
from lift3d.operators.answers import Unfitted, at_pixels, valid_everywhere
from lift3d.operators.names import OperatorName
from lift3d.operators.tiny.picture_cells import TinyOperator
from lift3d.operators.tiny.u_nets import MULTIPLE_PX, STRIDE_PX, Hourglass

# In the order of lift3d.synthetic.stage.LABELS, which stands beside this layer; a test compares them.
CLASS_NAMES = (
    *("floor", "wall", "ceiling", "ground", "backdrop", "rug", "table", "seat", "cabinet", "board", "book"),
    *("box", "ball", "cylinder", "road", "pavement", "facade", "car", "pole", "trunk", "crown", "rock"),
)


class SegmentationNetwork(Hourglass):
    """Logits of the classes for cells of 4 pixels."""

    def __init__(self) -> None:
        super().__init__(3, len(CLASS_NAMES))

    def forward(self, pixels: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image class row col"]:
        """Return logits; height and width are multiples of 32."""
        return super().forward(2 * pixels - 1)


class TinySegmenter(TinyOperator, Unfitted):
    """A class for every pixel, by logits of cells."""

    def __init__(self, name: OperatorName, network: SegmentationNetwork) -> None:
        kind = {"prediction_kind": "labels", "quantity": "label", "label_names": CLASS_NAMES}
        super().__init__(name, network, STRIDE_PX, len(CLASS_NAMES), MULTIPLE_PX, **kind)

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the class with the largest logit, interpolated between cells, for every pixel."""
        logits = at_pixels(features[0].values, features[0].grid, size)
        return Prediction("labels", logits.argmax(0), valid_everywhere(size))
