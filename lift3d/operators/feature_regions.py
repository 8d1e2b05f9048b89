"""Regions of an image without classes: graph-based segmentation, joined where a 2D model's features are alike.

Ids mean nothing in another image. There are several label maps, from fine to coarse, each made of the one before: no
single level is right for all things.

Source:
    Felzenszwalb & Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004, as scikit-image has it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.sparse import csr_array
from skimage.segmentation import felzenszwalb
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.geometry.mutual_pairs import mutual_groups
from lift3d.operators.answers import at_pixels

# Fine, so that few regions hold a part of two things; smoothing as in the paper's examples.
_SCALE, _SIGMA_PX, _SMALLEST_PX = 50.0, 0.8, 20
# Neighbours are joined while the cosine of their mean features is at least this, one label map each.
SIMILARITIES = (0.9, 0.8, 0.7, 0.6, 0.5)
NO_REGION = -1
# At all pixels.
_CHANNELS_AT_ONCE = 32


def feature_regions(
    image: Float[Tensor, "3 height width"],
    features: FeatureMap,
    center: Float[Tensor, " channel"],
    is_valid: Bool[Tensor, "height width"] | None = None,
    similarities: Sequence[float] = SIMILARITIES,
) -> list[Int[ndarray, "height width"]]:
    """Return a label map per similarity, which must fall; NO_REGION where a pixel is not valid.

    ``center`` is taken from all features before they are compared: the mean over the scene, since what all places have
    in common tells none apart. Memory is that of a few channels at the pixels.
    """
    pixels = image.to(torch.float64).clamp(0, 1).permute(1, 2, 0).contiguous().numpy(force=True)
    region = felzenszwalb(pixels, scale=_SCALE, sigma=_SIGMA_PX, min_size=_SMALLEST_PX, channel_axis=-1)
    gather = csr_array((np.ones(region.size, dtype=np.float32), (region.ravel(), np.arange(region.size))))
    centered, size = features.values.float() - center[:, None, None], ImageSize(*image.shape[-2:])
    chosen = (slice(start, start + _CHANNELS_AT_ONCE) for start in range(0, len(centered), _CHANNELS_AT_ONCE))
    parts = (at_pixels(centered[some], features.grid, size).flatten(1).T for some in chosen)
    total = np.concatenate([gather @ part.numpy(force=True) for part in parts], axis=1)
    sides = [(region[:, :-1], region[:, 1:]), (region[:-1], region[1:])]
    pairs = _unique_pairs(np.concatenate([np.stack([one.ravel(), other.ravel()], axis=1) for one, other in sides]))
    group, found = np.arange(int(region.max()) + 1), []
    for similarity in similarities:
        group = _joined(group, total, pairs, similarity)
        labels = group[region]
        found.append(labels if is_valid is None else np.where(is_valid.numpy(force=True), labels, NO_REGION))
    return found


def _joined(
    group: Int[ndarray, " region"],
    total: Float[ndarray, "region channel"],
    pairs: Int[ndarray, "pair 2"],
    similarity: float,
) -> Int[ndarray, " region"]:
    """Join neighbours that are each other's likest, again and again, while they are alike enough."""
    count = len(group)
    while True:
        gather = csr_array((np.ones(count, dtype=np.float32), (group, np.arange(count))), shape=(count, count))
        summed = gather @ total
        mean = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
        pairs = _unique_pairs(group[pairs])
        one, other = pairs.T
        alike = (mean[one] * mean[other]).sum(1)
        into = mutual_groups(one, other, alike, similarity, count)
        if into is None:
            return group
        group = into[group]


def _unique_pairs(pairs: Int[ndarray, "pair 2"]) -> Int[ndarray, "unique 2"]:
    """Return each pair of two regions once, the smaller number first."""
    count = int(pairs.max(initial=0)) + 1
    low, high = np.divmod(np.unique(pairs.min(1) * count + pairs.max(1)), count)
    return np.asarray(np.stack([low, high], axis=1)[low != high])
