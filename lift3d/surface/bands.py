"""Two bands of a picture: what views agree on is coarse, what one view alone shows sharply is fine."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

# Standard deviation of the Gaussian between the bands, as a share of the picture's height: 2 of 192 pixels.
BAND_SHARE = 1 / 96
# A mean of views, each read between its cells, is blurred, and so much of what a blur takes is given back: half is what
# linear reading takes of a wave of four cells; 2 would give features the contrast of one view's, half of which is what
# no other view confirms. The blur is that of reading, in cells, and of views that lie beside one another, in pixels.
CRISPNESS = 0.55
READING_CELLS, BESIDE_PX = 0.8, 2.0
# Where views' light differs by so much, of all colours together, half of what is finer than a pixel is not known. Less
# is some hundredths of a dB better on held-out photographs of three captures, and more blurred.
DISAGREEMENT, FINE_PX = 0.2, 0.85


def low_band(
    values: Float[Tensor, "channel height width"], is_valid: Bool[Tensor, "height width"]
) -> Float[Tensor, "channel height width"]:
    """Return a picture blurred by a Gaussian over its valid pixels (normalized convolution)."""
    kernel, radius = _gaussian(BAND_SHARE * values.shape[1], values)
    if bool(is_valid.all()):
        return _blurred(values, kernel, radius)
    weight = is_valid[None].float()
    return _blurred(values * weight, kernel, radius) / _blurred(weight, kernel, radius).clamp(min=1e-6)


def crisp(
    values: Float[Tensor, "channel row col"], stride_px: float, crispness: float = CRISPNESS
) -> Float[Tensor, "channel row col"]:
    """Return a map that loses less in a mean of views: what a blur takes of it, added (unsharp mask)."""
    sigma = math.hypot(READING_CELLS, BESIDE_PX / stride_px)
    return values + crispness * (values - _blurred(values, *_gaussian(sigma, values)))


def confirmed(
    picture: Float[Tensor, "channel row col"], spread: Float[Tensor, "row col"]
) -> Float[Tensor, "channel row col"]:
    """Return a picture without what is finest where its sources disagree: each has it elsewhere, and the mean at none.

    ``spread`` is the variance of what the picture is a mean of.

    Source:
        Wiener's filter, by a noise that is measured at every place and a signal that is the same everywhere.
    """
    around = _blurred(spread[None], *_gaussian(1.0, spread[None]))
    unknown = around / (around + DISAGREEMENT**2)
    return picture + unknown * (_blurred(picture, *_gaussian(FINE_PX, picture)) - picture)


def _gaussian(sigma: float, values: Float[Tensor, "channel row col"]) -> tuple[Float[Tensor, " tap"], int]:
    """Return the taps of a Gaussian that fits into a map, and how far they reach."""
    radius = min(round(3 * sigma), *(side - 1 for side in values.shape[1:])) if min(values.shape[1:]) > 1 else 0
    at = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    return kernel / kernel.sum(), radius


def _blurred(values: Float[Tensor, "channel height width"], kernel: Float[Tensor, " tap"], radius: int) -> Tensor:
    padded = functional.pad(values[:, None], (radius, radius, radius, radius), mode="replicate")
    across = functional.conv2d(padded, kernel[None, None, None])
    return functional.conv2d(across, kernel[None, None, :, None])[:, 0]
