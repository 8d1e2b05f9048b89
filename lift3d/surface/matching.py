"""How well neighbouring photographs agree with a view at each of its cells and depths, without training.

Letters: the pattern of a photograph is its brightness, normalised in small windows, so that neither exposure nor
shading matters; a view's cells are compared with the patterns of its neighbours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.geometry.box_mean import BoxMean
from lift3d.geometry.holes import fill_from_nearest
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import read_planes
from lift3d.surface.free_space import WHOLE, empty_cells

# Samples of the pattern per cell and axis: a pattern of the cells' own size loses a twentieth of the accuracy.
_FINENESS = 2
# Half width of the windows that a pattern is normalised in, samples; and the variance of a window without texture.
_NORMALIZING_RADIUS, _FLAT_VARIANCE = 2, 1e-4
# Added to patterns, which stay below 6; what is read below the second is outside the image or invalid by an eighth.
_LEVEL, _LEAST_READABLE = 64.0, 56.0
# Half width in cells of the windows that are compared.
_MATCHING_RADIUS = 1
# Difference of patterns at which two samples simply do not match; 1 to 2 give the same.
_TRUNCATION = 1.5
# Scale of the soft minimum over neighbours, in units of the cost.
_SOFTNESS = 0.2
# Weight, in neighbours, of no evidence.
_FAINT = 0.01
# Cost of a place where a neighbour sees that there is nothing: more than that of any match.
_EMPTY_COST = 2 * _TRUNCATION
# A cell at the outline of what is seen before nothing is seen if so much of it is.
_LEAST_SHOWN = 0.5
# Planes held at once, to stay in cache.
_PLANE_TILE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """A view as it is matched.

    Attributes:
        camera: Of the view, at the size that is lifted.
        grid: Its cells.
        color: Mean colour of each cell.
        own: Mean pattern of each cell, plus the level.
        pattern: What neighbours look up, twice as fine as the cells: plus a level far above all patterns, and 0 where
            invalid, so that one reading tells both what is seen and whether anything is. A second channel is 1 where
            there is nothing, if that is anywhere.
        is_valid: Cells of which every pixel is valid, or empty, and most are valid.
    """

    camera: Camera
    grid: FeatureGrid
    color: Float[Tensor, "3 row col"]
    own: Float[Tensor, "row col"]
    pattern: Float[Tensor, "channel fine_row fine_col"]
    is_valid: Bool[Tensor, "row col"]

    @classmethod
    def of(cls, view: SourceGuide, grid: FeatureGrid) -> "Photograph":
        """Reduce a view to a grid; nothing of an invalid pixel reaches the pattern around it."""
        fine = (_FINENESS * grid.rows, _FINENESS * grid.cols)
        is_whole = _means(view.is_valid[None].float(), fine)[0] > WHOLE
        image = fill_from_nearest(_means(view.image.float(), fine), is_whole)
        brightness, box = image.mean(0), BoxMean(*fine, _NORMALIZING_RADIUS)
        mean = box(brightness)
        variance = (box(brightness * brightness) - mean * mean).clamp_(min=0)
        pattern = ((brightness - mean) / (variance + _FLAT_VARIANCE).sqrt())[None]
        known = view.is_valid if view.is_empty is None else view.is_valid | view.is_empty
        shares = _means(torch.stack([known, view.is_valid]).float(), grid.shape)
        is_valid = (shares[0] > WHOLE) & (shares[1] > _LEAST_SHOWN)
        own = _means(pattern, grid.shape)[0] + _LEVEL
        readable = torch.where(is_whole, pattern + _LEVEL, 0.0)
        if view.is_empty is not None:
            readable = torch.cat([readable, empty_cells(view.is_empty, fine)[None].float()])
        return cls(view.camera, grid, _means(image, grid.shape), own, readable, is_valid)


def matching_cost(
    view: Photograph, neighbours: Sequence[Photograph], disparity: Float[Tensor, " plane"]
) -> Float[Tensor, "plane row col"]:
    """Return how badly a view's neighbours match it at each of its cells and planes, at most the truncation.

    Patterns are compared by truncated absolute differences, averaged over 3×3 cells for each neighbour; neighbours
    are combined by a soft minimum, so that one that the point is hidden from does not outvote those that see it. What
    no neighbour sees costs the truncation, on all planes alike; where one sees nothing at all there can be no surface.

    Source:
        Normalised brightness as in zero-mean normalised cross-correlation (Hannah 1974); best neighbours only: Kang,
        Szeliski & Chai, Handling occlusions in dense multi-view stereo, CVPR 2001, §3, in its smooth form.
    """
    cameras = [neighbour.camera for neighbour in neighbours]
    sweeps = Sweep.through(cell_centers(*view.grid.lattice), view.camera, cameras)
    box = BoxMean(*view.grid.shape, _MATCHING_RADIUS)
    least = _FAINT * math.exp(-_TRUNCATION / _SOFTNESS)
    tiles = []
    for planes in torch.split(disparity[:, None, None], _PLANE_TILE):
        shape = (len(planes), *view.grid.shape)
        likelihood, total = torch.full(shape, least), torch.full(shape, _FAINT)
        is_empty = torch.zeros(shape, dtype=torch.bool)
        for neighbour, sweep in zip(neighbours, sweeps, strict=True):
            at, _ = sweep.at(planes)
            found, *emptiness = read_planes(neighbour.pattern, at, "zeros")
            for one in emptiness:
                is_empty |= one > WHOLE
            seen = (found > _LEAST_READABLE).float()
            difference = found.sub_(view.own).abs_()
            likelihood.addcmul_(seen, box(difference.clamp_(max=_TRUNCATION)).div_(-_SOFTNESS).exp_())
            total += seen
        tiles.append(likelihood.div_(total).log_().mul_(-_SOFTNESS).masked_fill_(is_empty, _EMPTY_COST))
    cost = torch.cat(tiles)
    return cost if bool(view.is_valid.all()) else torch.where(view.is_valid, cost, _TRUNCATION)


def match_quality(cost: Float[Tensor, "*cell"], bounds: tuple[float, float]) -> Float[Tensor, "*cell"]:
    """Return 1 for costs up to the first bound, 0 from the second on, linear between."""
    good, bad = bounds
    return ((bad - cost) / (bad - good)).clamp_(0, 1)


def _means(values: Float[Tensor, "channel height width"], size: tuple[int, int]) -> Float[Tensor, "channel row col"]:
    return F.interpolate(values[None], size=size, mode="area")[0]
