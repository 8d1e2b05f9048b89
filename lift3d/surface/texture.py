"""Where photographs have texture, so that they can be matched."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid

# Half width of the window, in cells, whose contrast is texture; cells by which stereo spills a textured surface over a
# plain one beside it; and the contrast that is half of a texture.
_WINDOW, _SPILLED, _HALF_TEXTURED = 2, 2, 0.005


def texturedness(image: Float[Tensor, "3 height width"], grid: FeatureGrid) -> Float[Tensor, "row col"]:
    """Return how much of a texture each cell has, in [0, 1)."""
    contrast = texture(image, grid)
    return contrast**2 / (contrast**2 + _HALF_TEXTURED**2)


def texture(image: Float[Tensor, "3 height width"], grid: FeatureGrid) -> Float[Tensor, "row col"]:
    """Return the least contrast around each cell: at an outline and just beside it, that of the plainer side.

    Contrast is the deviation of luminance, in [0, 1], in a window.
    """
    grey = averaged(image, grid).mean(0)[None, None]
    mean, square = (F.avg_pool2d(_padded(one, _WINDOW), 2 * _WINDOW + 1, 1) for one in (grey, grey.square()))
    contrast = (square - mean.square()).clamp(min=0).sqrt()
    reach = _WINDOW + _SPILLED
    least: Tensor = -F.max_pool2d(_padded(-contrast, reach), 2 * reach + 1, 1)
    return least[0, 0]


def _padded(values: Float[Tensor, "1 1 row col"], by: int) -> Float[Tensor, "1 1 row_ col_"]:
    return F.pad(values, (by,) * 4, mode="replicate")


def averaged(image: Float[Tensor, "channel height width"], grid: FeatureGrid) -> Float[Tensor, "channel row col"]:
    """Return the mean of the pixels of each cell."""
    return F.interpolate(image[None], size=grid.shape, mode="area")[0]
