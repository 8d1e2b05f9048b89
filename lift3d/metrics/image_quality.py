"""Images against the true photograph: PSNR and SSIM, over the pixels that count."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d

from lift3d.domain.scores import Score
from lift3d.metrics.figures import undefined, view_metric
from lift3d.metrics.protocol import ViewEvidence

# Far under the square of one step of 8 bits (1.5e-5): equal images read as 100 dB instead of infinity.
MIN_MEAN_SQUARED_ERROR = 1e-10

# The constants of Wang et al. for images in [0, 1]: 11×11 Gaussian window of σ = 1.5, K1 = 0.01, K2 = 0.03.
SSIM_RADIUS, SSIM_SIGMA, SSIM_C1, SSIM_C2 = 5, 1.5, 0.01**2, 0.03**2


def psnr_of(
    a: Float[Tensor, "3 height width"],
    b: Float[Tensor, "3 height width"],
    counts: Bool[Tensor, "height width"],
) -> Score:
    """Return ``−10 log10(mean squared error)`` in dB over counted pixels, at most 100 dB."""
    pixel_count = int(counts.sum())
    if pixel_count == 0:
        return undefined("no-pixels", "no pixel of the view counts")
    squared = (a[:, counts].double() - b[:, counts].double()).square().mean()
    return Score(-10 * math.log10(max(float(squared), MIN_MEAN_SQUARED_ERROR)), float(pixel_count))


@view_metric("higher", kinds=("image",), operators=("rgb",))
def psnr(evidence: ViewEvidence) -> Score:
    """PSNR in dB of the predicted against the true image over counted pixels; peak 1, at most 100 dB."""
    return psnr_of(evidence.lifted.prediction.values, evidence.frame.image, evidence.counts)


@view_metric("higher", kinds=("image",), operators=("rgb",))
def ssim(evidence: ViewEvidence) -> Score:
    """Mean SSIM against the true image over pixels with a whole 11×11 window (Wang et al., TIP 2004, eq. 13).

    Pixels that do not count are made equal in both images first and are left out of the mean.
    """
    counts = evidence.counts
    inner = counts[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]
    if not bool(inner.any()):
        return undefined("no-pixels", "no pixel that counts has a whole 11×11 window on the image")
    a = torch.where(counts, evidence.lifted.prediction.values.double(), 0.0)
    b = torch.where(counts, evidence.frame.image.double(), 0.0)
    values = ssim_map(a, b)[:, inner]
    return Score(float(values.mean()), float(inner.sum()))


def ssim_map(
    a: Float[Tensor, "3 height width"], b: Float[Tensor, "3 height width"]
) -> Float[Tensor, "3 inner_height inner_width"]:
    """Return SSIM per channel at every pixel whose window lies on the image.

    Source:
        Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to structural
        similarity, IEEE TIP 2004, eq. 13.
    """
    mean_a, mean_b = _smooth(a), _smooth(b)
    variance_a = _smooth(a * a) - mean_a.square()
    variance_b = _smooth(b * b) - mean_b.square()
    covariance = _smooth(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a.square() + mean_b.square() + SSIM_C1)
    return luminance * (2 * covariance + SSIM_C2) / (variance_a + variance_b + SSIM_C2)


def _smooth(image: Tensor) -> Tensor:
    offset = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=image.dtype)
    window = torch.exp(-offset.square() / (2 * SSIM_SIGMA**2))
    window = window / window.sum()
    rows = conv2d(image[:, None], window[None, None, :, None])
    return conv2d(rows, window[None, None, None, :])[:, 0]
