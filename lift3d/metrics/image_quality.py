"""Images against the true photograph: PSNR and SSIM, over the pixels that count."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.scores import Score
from lift3d.metrics.figures import undefined, view_metric
from lift3d.metrics.protocol import ViewEvidence

# Equal images read as 100 dB instead of infinity: far over what one step of 8 bits leaves (48 dB).
MOST_DECIBELS = 100.0
# As a float32, so that figures stay those of tables already written.
_DECIBELS_OF_LOG = float(np.float32(10) / np.log(np.float32(10)))

# The window of Wang et al.: 11×11 Gaussian with σ = 1.5.
SSIM_RADIUS, SSIM_SIGMA = 5, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def psnr_of(
    a: Float[Tensor, "3 height width"],
    b: Float[Tensor, "3 height width"],
    counts: Bool[Tensor, "height width"],
) -> Score:
    """Return ``−10 log10(mean squared error)`` in dB over counted pixels, at most 100 dB."""
    pixel_count = int(counts.sum())
    if pixel_count == 0:
        return undefined("no-pixels", "no pixel of the view counts")
    # Picking pixels takes longer than all else here.
    difference = (a.double() - b.double())[:, counts]
    decibels = -torch.log(difference.square().sum() / difference.numel()) * _DECIBELS_OF_LOG
    return Score(min(float(decibels), MOST_DECIBELS), float(pixel_count))


@view_metric("higher", kinds=("image",), needs=("truth",))
def psnr(evidence: ViewEvidence) -> Score:
    """PSNR in dB of the predicted against the true image over counted pixels; peak 1, at most 100 dB."""
    return psnr_of(evidence.lifted.prediction.values, evidence.frame.image, evidence.counts)


@view_metric("higher", kinds=("image",), needs=("truth",), stage_version=2)
def ssim(evidence: ViewEvidence) -> Score:
    """Mean SSIM against the true image over pixels with a whole 11×11 window (Wang et al., TIP 2004, eq. 13).

    Pixels that do not count are made equal in both images first and are left out of the mean.
    """
    counts = evidence.counts
    inner = counts[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]
    if not bool(inner.any()):
        return undefined("no-pixels", "no pixel that counts has a whole 11×11 window on the image")
    # The map in float32 is 16 times faster than in float64 and differs in the eighth digit; the mean is in float64.
    a = torch.where(counts, evidence.lifted.prediction.values.float(), 0.0)
    b = torch.where(counts, evidence.frame.image.float(), 0.0)
    values = ssim_map(a, b)[:, inner].double()
    return Score(float(values.mean()), float(inner.sum()))


def ssim_map(
    a: Float[Tensor, "3 height width"], b: Float[Tensor, "3 height width"]
) -> Float[Tensor, "3 inner_height inner_width"]:
    """Return SSIM per channel at every pixel whose window lies on the image.

    Source:
        Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to structural
        similarity, IEEE TIP 2004, eq. 13, with K₁ = 0.01 and K₂ = 0.03.
    """
    place = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=a.dtype)
    bell = torch.exp(-((place / SSIM_SIGMA) ** 2) / 2)
    bell = bell / bell.sum()
    # A Gaussian is applied an axis at a time, to maps as channels: as images of a batch they take six times as long.
    maps = torch.stack([a, b, a * a, b * b, a * b]).flatten(0, 1)
    across, down = (bell.expand(len(maps), 1, -1)[:, :, None], bell.expand(len(maps), 1, -1)[..., None])
    means = F.conv2d(F.conv2d(maps[None], across, groups=len(maps)), down, groups=len(maps))
    mean_a, mean_b, *squares = means.reshape(5, -1, *means.shape[2:])
    variance_a, variance_b = squares[0] - mean_a * mean_a, squares[1] - mean_b * mean_b
    covariance = squares[2] - mean_a * mean_b
    above = (2 * mean_a * mean_b + SSIM_C1) * (2 * covariance + SSIM_C2)
    below = (mean_a * mean_a + mean_b * mean_b + SSIM_C1) * (variance_a + variance_b + SSIM_C2)
    similarity: Tensor = above / below
    return similarity
