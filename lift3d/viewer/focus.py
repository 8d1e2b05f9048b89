"""Few points of a scene for a page: evenly spread, closer together where many views look."""

import math
from dataclasses import fields, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lift3d.viewer.raster import RasterPoints

# So many views, of those that see a point, are many: fewer than one in ten points has more.
_MANY, _SAMPLE = 0.9, 20_000
# What lies around, and is seen by fewer than such a share of many views, has so much of the points, and discs so many
# times as wide at most: wider ones would hide what the capture is of, which has all other points.
_AROUND = ((0.25, 0.12, 3.0), (0.5, 0.33, 2.0))
# Points stand anywhere in their cubes: so wide, no gap is left between them.
_FILLED = 1.7
# Of the points that are wanted, a lattice has nearly all, found in a few tries.
_ENOUGH, _TRIES = 0.9, 12


def in_focus(points: RasterPoints, views: Int[Tensor, " every"], most: int) -> RasterPoints:
    """Return ``most`` points at most, or all, with the radius to draw them with; ``views`` see each of the cloud.

    One of each cube of a lattice, that which most views see; where few look, the cubes are larger.
    """
    if len(points.index) <= most:
        return points
    seen = views[points.index]
    order = torch.argsort(seen, stable=True)
    many = float(seen[:: max(1, len(seen) // _SAMPLE)].float().quantile(_MANY))
    parts, begin, left = [], 0, most
    for share, of_points, widest in (*_AROUND, (math.inf, 1.0, math.inf)):
        end = int((seen < share * many).sum())
        # The most seen first.
        part = _thinned(points.only(order[begin:end].flip(0)), min(left, max(1, round(of_points * most))))
        parts.append((part, widest))
        begin, left = end, left - len(part.index)
    least = float(parts[-1][0].radius.amin())
    every = [replace(part, radius=part.radius.clamp(max=widest * least)) for part, widest in parts]
    columns = (torch.cat([getattr(part, one.name) for part in every], dim=-1) for one in fields(RasterPoints))
    return RasterPoints(*columns)


def _thinned(points: RasterPoints, most: int) -> RasterPoints:
    """Return the first point of each cube, of such a width that there are ``most`` at most, and nearly as many."""
    if len(points.index) <= most:
        return points
    place = points.xyz - points.xyz.amin(1, keepdim=True)
    # A surface has as many cubes as the square of their width goes into it.
    width = 2 / _FILLED * float(points.radius.median()) * math.sqrt(len(points.index) / most)
    narrow, wide, first = 0.0, math.inf, torch.zeros(1, dtype=torch.int64)
    for _ in range(_TRIES):
        column, row, layer = (place / width).long().clamp(max=2**20 - 1).numpy()
        _, found = np.unique((column << 40) | (row << 20) | layer, return_index=True)
        if len(found) > most:
            narrow = width
        else:
            wide, first = width, torch.from_numpy(found)
            if len(found) >= _ENOUGH * most:
                break
        width *= math.sqrt(len(found) / ((1 + _ENOUGH) / 2 * most))
        if not narrow < width < wide:
            width = (narrow + wide) / 2 if wide < math.inf else 2 * narrow
    some = points.only(first)
    return replace(some, radius=some.radius.clamp(min=_FILLED / 2 * wide))
