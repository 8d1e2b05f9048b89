"""What all views together say of the depth that each of them sees.

Letters: a hypothesis is a depth of one view's cell, of its own or carried over from another view; hypotheses vote for
depths near them. Disparity is 1 / z_depth.
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
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.geometry.cost_aggregation import semi_global
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import cells_at, read_planes, taken

# Bins of log depth per tolerance; and the most there are, whatever the depths.
_BINS_PER_TOLERANCE, _MOST_BINS = 2, 128
# Weight of undecidedness, in votes: a cell with this weight of votes for one depth is half decided.
_UNDECIDED = 2.0
# Price of a step of one bin and of a jump along the image, in shares of the votes; contrast that makes a jump cheap.
_JUMP_PENALTIES, _EDGE_SCALE = (0.1, 1.0), 0.1
# Votes, less those of views that see through the surface, at which a depth is as sure as not.
HALF_SURE = 4.0
# Below this weight of votes, a hundredth of a view that is sure, nothing is known.
_FEWEST_VOTES = 0.05
# Times that the mean of the votes near a depth takes its place: once is enough on coarse cells.
_SETTLINGS = 2


@dataclass(frozen=True, slots=True, eq=False)
class DepthVotes:
    """What one view says of depth, before the others are heard.

    Attributes:
        camera: Of the view.
        grid: Its cells.
        depth_and_weight: One beside the other, as other views read them.
    """

    camera: Camera
    grid: FeatureGrid
    depth_and_weight: Float[Tensor, "2 row col"]

    @property
    def z_depth(self) -> Float[Tensor, "row col"]:
        """NaN where unknown."""
        return self.depth_and_weight[0]

    @property
    def weight(self) -> Float[Tensor, "row col"]:
        """In [0, 1], how much each depth counts."""
        return self.depth_and_weight[1]


def fuse(
    view: DepthVotes, color: Float[Tensor, "3 row col"], others: Sequence[DepthVotes], tolerance: float
) -> ViewGeometry:
    """Return the depth of one view that most views agree on, and how surely.

    Every other view's surface is carried over and votes, where it is in front, for depths near its own. Votes are
    made smooth along the image except across its edges, and the winner is settled.

    Args:
        view: The view.
        color: Mean colour of each of its cells: depth jumps where it does.
        others: Views that see the same places, in an order that depends on nothing but them.
        tolerance: Relative difference of depths at which two of them no longer speak of one surface.

    Source:
        Votes of depth maps and visibility violations: Merrell et al., Real-time visibility-based fusion of depth
        maps, ICCV 2007.
    """
    depths, weights = _carried_over(others, view)
    z_depth = torch.cat([view.z_depth[None], depths])
    is_known = torch.isfinite(z_depth)
    weight = torch.where(is_known, torch.cat([view.weight[None], weights]), 0.0)
    winner = _most_voted(torch.where(is_known, 1 / z_depth, 1.0), weight, color, tolerance)
    return _settled(view, others, winner, tolerance, 1)


def settled(view: DepthVotes, others: Sequence[DepthVotes], tolerance: float) -> ViewGeometry:
    """Return the depth that views agree on around a view's own, which is nearly right, and how surely.

    Points are looked up in the other views: where those see a surface near by, it votes for its place on the ray. The
    answer is the mean of what is within the tolerance; its confidence counts the weight of that against the weight of
    views that see through it. Where nothing votes, nothing is known. Arguments as for ``fuse``.
    """
    return _settled(
        view, others, torch.where(torch.isfinite(view.z_depth), 1 / view.z_depth, 1.0), tolerance, _SETTLINGS
    )


def _settled(
    view: DepthVotes, others: Sequence[DepthVotes], disparity: Float[Tensor, "row col"], tolerance: float, times: int
) -> ViewGeometry:
    own = torch.where(torch.isfinite(view.z_depth), 1 / view.z_depth, disparity)
    uv = cell_centers(*view.grid.lattice)
    sweeps = Sweep.through(uv, view.camera, [other.camera for other in others])
    for _ in range(times):
        votes = view.weight * _nearness(own, disparity, tolerance)
        total, against = votes * own, torch.zeros_like(votes)
        for sweep, other in zip(sweeps, others, strict=True):
            met, weight, is_through = _met(sweep, other.depth_and_weight, disparity, tolerance)
            against += torch.where(is_through, weight, 0.0)
            weight *= _nearness(met, disparity, tolerance)
            votes += weight
            total += weight * met
        disparity = torch.where(votes > 0, total / votes.clamp(min=1e-9), disparity)
    is_heard = votes > _FEWEST_VOTES
    z_depth = torch.where(is_heard, 1 / disparity, torch.nan)
    confidence = torch.where(is_heard, votes / (votes + against + HALF_SURE), 0.0)
    return ViewGeometry(view.camera, view.grid, z_depth, confidence)


def _nearness(
    found: Float[Tensor, "row col"], disparity: Float[Tensor, "row col"], tolerance: float
) -> Float[Tensor, "row col"]:
    """Return 1 where two disparities are one, 0 from the tolerance on."""
    return (1 - ((found - disparity) / (tolerance * disparity)).square()).clamp_(min=0)


def _met(
    sweep: Sweep, surface: Float[Tensor, "2 other_row other_col"], disparity: Float[Tensor, "row col"], tolerance: float
) -> tuple[Float[Tensor, "row col"], Float[Tensor, "row col"], Bool[Tensor, "row col"]]:
    """Return the disparities at which rays meet what another view sees there, its weight, and where that sees through.

    A surface is met as if it had one depth in the other view around where it is looked up. No comparison with what is
    unknown holds.
    """
    at, ratio = sweep.at(disparity[None])
    z, weight = read_planes(surface, at, "zeros", "nearest")[:, 0]
    slope, offset = sweep.start[2], sweep.step[2]
    is_met = (z > offset) & (slope > 0) & (z > 0)
    met = torch.where(is_met, slope / (z - offset), disparity)
    return met, torch.where(is_met, weight, 0.0), ratio[0] < z * disparity * (1 - 1.5 * tolerance)


def _carried_over(
    others: Sequence[DepthVotes], view: DepthVotes
) -> tuple[Float[Tensor, "view row col"], Float[Tensor, "view row col"]]:
    """Return other views' surfaces as this view sees them, NaN where they show none, and their weights."""
    count = view.grid.cell_count
    shape = (len(others), *view.grid.shape)
    if not others:
        return torch.zeros(shape), torch.zeros(shape)
    cells, depths = [], []
    for place, other in enumerate(others):
        is_known = torch.isfinite(other.z_depth)
        known = torch.where(is_known, other.z_depth, 1.0)
        uv = cell_centers(*other.grid.lattice)
        at, ratio = Sweep.between(uv, other.camera, view.camera).at(1 / known[None])
        cell = cells_at(at[0], *view.grid.shape)
        cells.append(torch.where(is_known & (cell >= 0), cell + place * count, len(others) * count).flatten())
        depths.append((ratio[0] * known).flatten())
    cell, z = torch.cat(cells), torch.cat(depths)
    front = torch.full((len(others) * count + 1,), torch.inf).scatter_reduce_(0, cell, z, "amin")
    weight = torch.where(z == taken(front, cell), torch.cat([other.weight.flatten() for other in others]), 0.0)
    carried = torch.zeros(len(front)).scatter_reduce_(0, cell, weight, "amax")
    return torch.where(torch.isinf(front), torch.nan, front)[:-1].reshape(shape), carried[:-1].reshape(shape)


def _most_voted(
    disparity: Float[Tensor, "hypothesis row col"],
    weight: Float[Tensor, "hypothesis row col"],
    color: Float[Tensor, "3 row col"],
    tolerance: float,
) -> Float[Tensor, "row col"]:
    """Return the disparity with most votes near it, smooth along the image."""
    voted = weight > 0
    if not bool(voted.any()):
        return torch.ones(weight.shape[1:])
    log_disparity = disparity.log()
    low, high = float(log_disparity[voted].min()), float(log_disparity[voted].max())
    count = min(_MOST_BINS, max(2, math.ceil((high - low) * _BINS_PER_TOLERANCE / tolerance) + 1))
    width = max(high - low, 1e-6) / (count - 1)
    at = ((log_disparity - low) / width).clamp(0, count - 1)
    left = at.floor().clamp_(max=count - 2)
    votes = torch.zeros(count, *weight.shape[1:])
    votes.scatter_add_(0, left.long(), weight * (1 - (at - left)))
    votes.scatter_add_(0, left.long() + 1, weight * (at - left))
    for _ in range(_BINS_PER_TOLERANCE):
        padded = F.pad(votes, (0, 0, 0, 0, 1, 1))
        votes = 0.25 * padded[:-2] + 0.5 * votes + 0.25 * padded[2:]
    cost = -votes / (votes.sum(0) + _UNDECIDED)
    smooth = semi_global(cost[None], color[None], _JUMP_PENALTIES, _EDGE_SCALE)[0]
    return torch.exp(low + width * smooth.min(0).indices)
