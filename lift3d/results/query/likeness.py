"""How like a query the points of a scene are, and where it ends: a threshold that needs neither labels nor a hand.

Letters: a pair is a point and one of its neighbours on the surface.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from lift3d.errors import UnknownNameError
from lift3d.operators.open_vocabulary import relevancy

# Points that are made float32 at a time.
_CHUNK = 65536
# Neighbours that a point is smoothed with, itself among them, and the nearest of them, across which borders are looked
# for.
_SMOOTHED, _PAIRED = 16, 6
# Thresholds that are tried between the lowest and the highest likeness.
_TRIED = 64


def similarity(
    unit: Float[Tensor, "point channel"], queries: Float[Tensor, "query channel"]
) -> Float[Tensor, "query point"]:
    """Return the cosine between every point and each query; NaN where a point has no features."""
    wanted = torch.nn.functional.normalize(queries, dim=1)
    found = torch.empty(len(queries), len(unit))
    for start in range(0, len(unit), _CHUNK):
        found[:, start : start + _CHUNK] = wanted @ unit[start : start + _CHUNK].float().T
    return found


def relevance(unit: Float[Tensor, "point channel"], texts: Float[Tensor, "text channel"]) -> Float[Tensor, " point"]:
    """Return how relevant the first text is to every point, against the others; 0.5 is as much as to those."""
    cosines = similarity(unit, texts)
    return relevancy(cosines[:1], cosines[1:])[0]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Points that lie beside each other, and how much their features differ.

    Attributes:
        nearest: Of each point, itself first.
        change: 1 − cosine between the features of a pair.
    """

    nearest: Int[ndarray, "point neighbour"]
    change: Float[ndarray, "point pair"]

    @classmethod
    def of(cls, xyz: Float[ndarray, "point 3"], unit: Float[Tensor, "point channel"]) -> "Neighbours":
        """Find the neighbours of points with features of length 1."""
        # Who only reads a store need not wait for SciPy.
        from scipy.spatial import cKDTree

        count = min(_SMOOTHED, len(xyz))
        nearest = cKDTree(xyz).query(xyz, k=range(1, count + 1))[1]
        change = np.empty((len(xyz), min(_PAIRED, count - 1)), dtype=np.float32)
        for start in range(0, len(xyz), _CHUNK // 8):
            own = slice(start, start + _CHUNK // 8)
            for place in range(change.shape[1]):
                beside = unit[torch.from_numpy(nearest[own, place + 1])]
                change[own, place] = 1 - (unit[own].float() * beside.float()).sum(1).numpy()
        return cls(nearest, change)

    def smoothed(self, likeness: Float[ndarray, " point"]) -> Float[ndarray, " point"]:
        """Return the mean over the neighbours of each point: a peak is then no point that stands alone."""
        means: Float[ndarray, " point"] = likeness[self.nearest].mean(1)
        return means


def edge_threshold(likeness: Float[ndarray, " point"], neighbours: Neighbours, least: float) -> float:
    """Return the threshold, ``least`` or above, at whose border the features of neighbours differ most.

    What is above it ends where the scene's own features change, whatever the query's scale.
    """
    highest = float(likeness.max())
    tried = np.linspace(least, highest, _TRIED, endpoint=False)
    if highest <= least:
        return least
    pairs = neighbours.nearest[:, 1 : 1 + neighbours.change.shape[1]]
    own, beside = likeness[:, None], likeness[pairs]
    low, high = np.minimum(own, beside), np.maximum(own, beside)
    is_asked = high > least
    # A pair is cut by thresholds from its lower likeness on, below its higher one.
    first, end = np.searchsorted(tried, low[is_asked]), np.searchsorted(tried, high[is_asked])
    change = neighbours.change[is_asked]
    sums, counts = (
        (np.bincount(first, one, _TRIED + 1) - np.bincount(end, one, _TRIED + 1)).cumsum()[:-1]
        for one in (change, np.ones_like(change))
    )
    # What only a few pairs enclose is a speck.
    is_border = counts >= _SMOOTHED
    means = np.where(is_border, sums / np.maximum(counts, 1), -1.0)
    return float(tried[means.argmax()]) if is_border.any() else least


def even_threshold(likeness: Float[ndarray, " point"], neighbours: Neighbours, least: float) -> float:
    """Return the least threshold: of words, a relevancy of 0.5, as near to them as to the nearest negative (LERF)."""
    return least


def otsu_threshold(likeness: Float[ndarray, " point"], neighbours: Neighbours, least: float) -> float:
    """Return Otsu's threshold of what is above the least one."""
    from skimage.filters import threshold_otsu

    above = likeness[likeness > least]
    return float(threshold_otsu(above)) if len(np.unique(above)) > 1 else least


Rule = Callable[[Float[ndarray, " point"], Neighbours, float], float]
RULES: dict[str, Rule] = {"edge": edge_threshold, "otsu": otsu_threshold, "even": even_threshold}


def rule_named(name: str) -> Rule:
    """Return a rule for thresholds; UnknownNameError if there is none of that name."""
    if name not in RULES:
        raise UnknownNameError.of("threshold rule", name, RULES)
    return RULES[name]
