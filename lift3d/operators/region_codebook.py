"""A small codebook of region descriptors: weighted k-means that gives the same answer every time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Lloyd's iterations settle long before this on a few thousand regions.
_ITERATION_COUNT = 50


def fit_codebook(
    descriptors: Float[Tensor, "region channel"], sizes: Int[Tensor, " region"], count: int
) -> Float[Tensor, "entry channel"]:
    """Fit at most ``count`` entries to distinct descriptors, each weighted by its region's size in pixels.

    Starts from the largest region and takes, in turn, the region that is worst served (size × squared
    distance), so nothing is drawn at random. Entries are ordered by the size they stand for, largest first.

    Source:
        Lloyd, Least Squares Quantization in PCM, IEEE Trans. Inf. Theory 1982.
    """
    points, weights = descriptors.to(torch.float64), sizes.to(torch.float64)
    chosen = [int(weights.argmax())]
    while len(chosen) < min(count, len(points)):
        distances = torch.cdist(points, points[chosen]).amin(1).square()
        chosen.append(int((weights * distances).argmax()))
    entries = points[chosen]
    for _ in range(_ITERATION_COUNT):
        nearest = nearest_entry(points, entries)
        mass = torch.zeros(len(entries), dtype=torch.float64).index_add(0, nearest, weights)
        total = torch.zeros_like(entries).index_add(0, nearest, weights[:, None] * points)
        moved = torch.where(mass[:, None] > 0, total / mass.clamp(min=1)[:, None], entries)
        if torch.equal(moved, entries):
            break
        entries = moved
    return entries[torch.argsort(mass, descending=True, stable=True)].to(torch.float32)


def nearest_entry(
    descriptors: Float[Tensor, "region channel"], entries: Float[Tensor, "entry channel"]
) -> Int[Tensor, " region"]:
    """Return the index of the nearest entry, the first of equally near ones."""
    return torch.cdist(descriptors, entries.to(descriptors)).argmin(1)
