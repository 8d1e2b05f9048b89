"""How near things are, from one picture: ``tiny:depth`` gives disparity (1 / z-depth) up to an unknown scale and shift.

Larger is nearer. Scale and shift are another view's too: whoever compares views, or blends them, aligns them first.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.lifted import Prediction
from lift3d.operators.answers import Unfitted, at_pixels, valid_everywhere
from lift3d.operators.names import OperatorName
from lift3d.operators.tiny.picture_cells import TinyOperator
from lift3d.operators.tiny.u_nets import MULTIPLE_PX, STRIDE_PX, PicturePyramid, placed

_MID_GREY = 0.5


class DepthNetwork(nn.Module):
    """A pyramid over colours and the height of each pixel in the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = PicturePyramid(4, 1)

    def forward(
        self, pictures: Float[Tensor, "image 3 height width"], rows: Float[Tensor, "image 1 height width"]
    ) -> Float[Tensor, "image 1 row col"]:
        """Return disparity of cells of four pixels; height and width are multiples of MULTIPLE_PX.

        ``rows`` says where each pixel stands in the whole picture: −1 at its upper edge, 1 at its lower one.
        """
        disparity: Tensor = self.pyramid(torch.cat([pictures - _MID_GREY, rows], dim=1))
        return disparity


def row_heights(size: ImageSize) -> Float[Tensor, "1 height width"]:
    """Return where each pixel stands in a picture, from −1 at its upper edge to 1 at its lower one."""
    middles = (torch.arange(size.height, dtype=torch.float32) + 0.5) / size.height
    return (2 * middles - 1)[None, :, None].expand(1, size.height, size.width)


class Depth(TinyOperator, Unfitted):
    """Disparity of one picture, its scale and shift unknown. One cut of one channel: the disparity of each cell."""

    def __init__(self, name: OperatorName, network: DepthNetwork) -> None:
        super().__init__(name, network, STRIDE_PX, 1, MULTIPLE_PX, prediction_kind="scalar", quantity="disparity")

    def encode_batch(self, images: Float[Tensor, "image 3 height width"]) -> list[tuple[FeatureMap, ...]]:
        """Return the disparity of each cell; a high image is seen reduced, its cells are as much larger."""
        size = ImageSize(*images.shape[-2:])
        placement = placed(size)
        rows = placement.apply(row_heights(size).expand(3, -1, -1))[:1]
        with torch.no_grad():
            disparity = self._network(placement.apply(images.to(torch.float32)), rows.expand(len(images), 1, -1, -1))
        return [(placement.to_image(one, self._lattice),) for one in disparity]

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the disparity at every pixel, bilinear between cells."""
        disparity = at_pixels(features[0].values, features[0].grid, size)[0]
        return Prediction("scalar", disparity, valid_everywhere(size))
