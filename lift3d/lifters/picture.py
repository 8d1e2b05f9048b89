"""The lifted picture that guides stage II: colours at the target's pixels, read as sharply as pictures allow."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.sampling import normalized_coordinates


def blend_picture(
    weights: BlendingWeights, images: Sequence[Float[Tensor, "3 _ _"]], stride_px: tuple[float, float] = (1.0, 1.0)
) -> Float[Tensor, "3 row col"]:
    """Return ``Σ_tap weight · image(uv)`` with bicubic reading, clamped to [0, 1]; 0 where not covered.

    The 2D model meets this picture instead of a photograph, and bilinear reading would blur it.

    Args:
        weights: Taps on a grid of pixels.
        images: The sources' pictures without holes, in the order of ``weights.source_ids``.
        stride_px: Source pixels, which taps are in, per pixel of the pictures, (u, v).

    Source:
        Keys, Cubic convolution interpolation for digital image processing, 1981 (a = −0.75, as in PyTorch).
    """
    picture = images[0].new_zeros(3, weights.grid.cell_count)
    for index, image in enumerate(images):
        cell, tap = ((weights.source == index) & (weights.weight > 0)).nonzero(as_tuple=True)
        at = normalized_coordinates(weights.uv[cell, tap], image.shape[1], image.shape[2], stride_px)
        read = F.grid_sample(image[None], at[None, None], mode="bicubic", padding_mode="border", align_corners=False)
        picture.index_add_(1, cell, read[0, :, 0] * weights.weight[cell, tap])
    return picture.clamp(0, 1).reshape(3, *weights.grid.shape)
