"""Few points of a scene for a page: evenly spread, closer together where many views look."""

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lift3d.viewer.raster import RasterPoints

# So many views, of those that see a point, are many: fewer than one in ten points has more.
_MANY, _SAMPLE = 0.9, 20_000
# Of what fewer than such a share of many views see, so much of the points, and discs so many times as wide at most:
# wider ones would hide what the capture is of, which comes last.
_PARTS = ((0.25, 0.12, 3.0), (0.5, 0.33, 2.0), (math.inf, 0.55, math.inf))
# Points stand anywhere in their cubes: so wide, no gap is left between them.
_FILLED = 1.7
# Of the points that are wanted, a lattice has nearly all, found in a few tries; each is so much wider at least.
_ENOUGH, _TRIES, _WIDER = 0.9, 16, 1.5


def in_focus(points: RasterPoints, views: Int[Tensor, " every"], most: int) -> RasterPoints:
    """Return ``most`` points at most, or all, with the radius to draw them with; ``views`` see each of the cloud.

    One of each cube of a lattice, that which most views see; where few look, the cubes are larger.
    """
    if len(points.index) <= most:
        return points
    seen = views[points.index]
    order = torch.argsort(seen, stable=True)
    many = float(seen[:: max(1, len(seen) // _SAMPLE)].float().quantile(_MANY))
    ends = [int((seen < share * many).sum()) for share, _, _ in _PARTS]
    parts, begin = [], 0
    for end, wanted in zip(ends, _shared(most, [end - begin for begin, end in pairwise([0, *ends])]), strict=True):
        # The most seen first.
        parts.append(_thinned(points.only(order[begin:end].flip(0)), wanted))
        begin = end
    least = float(parts[-1].radius.amin())
    drawn = [
        replace(part, radius=part.radius.clamp(max=widest * least))
        for part, (_, _, widest) in zip(parts, _PARTS, strict=True)
    ]
    return RasterPoints(*(torch.cat([getattr(part, one.name) for part in drawn], dim=-1) for one in fields(points)))


def _shared(most: int, there: Sequence[int]) -> list[int]:
    """Return how many of each part are wanted: what one of them lacks, others have, the last first."""
    wanted = [min(count, round(share * most)) for count, (_, share, _) in zip(there, _PARTS, strict=True)]
    for number in reversed(range(len(wanted))):
        wanted[number] += min(most - sum(wanted), there[number] - wanted[number])
    return wanted


def _thinned(points: RasterPoints, most: int) -> RasterPoints:
    """Return the first point of each cube, of such a width that there are ``most`` at most, and nearly as many."""
    if len(points.index) <= most:
        return points
    place = points.xyz - points.xyz.amin(1, keepdim=True)
    # A surface has as many cubes as the square of their width goes into it.
    width = 2 / _FILLED * float(points.radius.median()) * math.sqrt(len(points.index) / most)
    narrow, wide, first = 0.0, math.inf, torch.zeros(0, dtype=torch.int64)
    for _ in range(_TRIES):
        column, row, layer = (place / width).long().clamp(max=2**20 - 1).numpy()
        _, found = np.unique((column << 40) | (row << 20) | layer, return_index=True)
        if len(found) > most:
            narrow = width
        else:
            wide, first = width, torch.from_numpy(found)
            if len(found) >= _ENOUGH * most:
                break
        if wide < math.inf:
            width = (narrow + wide) / 2
        else:
            width *= max(_WIDER, math.sqrt(len(found) / most))
    if not len(first):
        return points.first(most)
    some = points.only(first)
    return replace(some, radius=some.radius.clamp(min=_FILLED / 2 * wide))
