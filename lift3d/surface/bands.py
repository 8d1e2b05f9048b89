"""Two bands of a picture: what views agree on is coarse, what one view alone shows sharply is fine."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

# Standard deviation of the Gaussian between the bands, as a share of the picture's height: 3.5 of 192 pixels.
BAND_SHARE = 1 / 55


def low_band(
    values: Float[Tensor, "channel height width"], is_valid: Bool[Tensor, "height width"]
) -> Float[Tensor, "channel height width"]:
    """Return a picture blurred by a Gaussian over its valid pixels (normalized convolution)."""
    sigma = BAND_SHARE * values.shape[1]
    radius = min(round(3 * sigma), *(side - 1 for side in values.shape[1:])) if min(values.shape[1:]) > 1 else 0
    at = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    if bool(is_valid.all()):
        return _blurred(values, kernel, radius)
    weight = is_valid[None].float()
    return _blurred(values * weight, kernel, radius) / _blurred(weight, kernel, radius).clamp(min=1e-6)


def _blurred(values: Float[Tensor, "channel height width"], kernel: Float[Tensor, " tap"], radius: int) -> Tensor:
    padded = functional.pad(values[:, None], (radius, radius, radius, radius), mode="replicate")
    across = functional.conv2d(padded, kernel[None, None, None])
    return functional.conv2d(across, kernel[None, None, :, None])[:, 0]
