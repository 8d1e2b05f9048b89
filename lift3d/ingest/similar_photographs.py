"""Which photographs are likely to show the same: a descriptor of each, so that not all pairs must be compared."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

# Words of the vocabulary, which is the capture's own; descriptors of an image that it is made of, and that are counted.
_WORDS, _SAMPLED, _COUNTED = 64, 200, 2000
_ROUNDS = 10
# Each photograph is compared with so many that are most alike, and with the next ones by name.
_ALIKE, _NEXT = 16, 2
_SEED = 0

Descriptors = Float32[ndarray, "_ 128"]


def likely_pairs(found: Iterable[UInt8[ndarray, "_ 128"]]) -> list[tuple[int, int]]:
    """Return pairs of photographs, by their places, of each of which the SIFT descriptors are given.

    Source:
        Jégou et al., Aggregating Local Descriptors into a Compact Image Representation, CVPR 2010 (VLAD), of square
        roots of SIFT, with residuals that are normalised per word: Arandjelović & Zisserman, All about VLAD, CVPR 2013.
    """
    described = [_roots(one[:: max(1, len(one) // _COUNTED)]) for one in found]
    words = _vocabulary(described)
    images = np.stack([_aggregated(one, words) for one in described])
    alike = images @ images.T
    np.fill_diagonal(alike, -np.inf)
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, :_ALIKE]
    pairs = {(min(a, b), max(a, b)) for a, row in enumerate(nearest.tolist()) for b in row if a != b}
    return sorted(pairs | {(a, a + step) for step in range(1, _NEXT + 1) for a in range(len(described) - step)})


def _roots(descriptors: UInt8[ndarray, "keypoint 128"]) -> Descriptors:
    values = descriptors.astype(np.float32)
    roots: Descriptors = np.sqrt(values / values.sum(axis=1, keepdims=True).clip(min=1))
    return roots


def _vocabulary(described: Sequence[Descriptors]) -> Descriptors:
    from scipy.cluster.vq import kmeans2

    sampled = np.concatenate([one[:: max(1, len(one) // _SAMPLED)][:_SAMPLED] for one in described])
    if len(sampled) <= _WORDS:
        return sampled
    words: Descriptors = kmeans2(sampled, _WORDS, iter=_ROUNDS, minit="points", seed=_SEED)[0].astype(np.float32)
    return words


def _aggregated(described: Descriptors, words: Float32[ndarray, "word 128"]) -> Float32[ndarray, " entry"]:
    """Return one vector of unit length for an image: per word, which way its descriptors lie; zeros if it has none."""
    total = np.zeros_like(words)
    if len(words):
        nearest = (described @ words.T - 0.5 * (words**2).sum(axis=1)).argmax(axis=1)
        np.add.at(total, nearest, described - words[nearest])
    total /= np.linalg.norm(total, axis=1, keepdims=True).clip(min=1e-12)
    unit: Float32[ndarray, " entry"] = total.reshape(-1) / max(float(np.linalg.norm(total)), 1e-12)
    return unit
