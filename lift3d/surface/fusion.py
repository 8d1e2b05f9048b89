"""What all views together say of the depth that each of them sees.

Letters: a hypothesis is a depth of one view's cell, of its own or carried over from another view; hypotheses vote for
depths near them. Disparity is 1 / z_depth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.geometry.cost_aggregation import semi_global
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import cells_at

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


@dataclass(frozen=True, slots=True, eq=False)
class DepthVotes:
    """What one view says of depth, before the others are heard.

    Attributes:
        camera: Of the view.
        grid: Its cells.
        color: Mean colour of each cell: depth jumps where it does.
        z_depth: NaN where unknown.
        weight: In [0, 1], how much each depth counts.
    """

    camera: Camera
    grid: FeatureGrid
    color: Float[Tensor, "3 row col"]
    z_depth: Float[Tensor, "row col"]
    weight: Float[Tensor, "row col"]


def fuse(view: DepthVotes, others: Sequence[DepthVotes], tolerance: float) -> ViewGeometry:
    """Return the depth of one view that most views agree on, and how surely.

    Every other view's surface is carried over and votes, where it is in front, for depths near its own. Votes are
    made smooth along the image except across its edges. The answer is the mean of the hypotheses around the winner;
    its confidence counts their weight against that of the views that see through it.

    Args:
        view: The view.
        others: Views that see the same places, in an order that depends on nothing but them.
        tolerance: Relative difference of depths at which two of them no longer speak of one surface.

    Source:
        Votes of depth maps and visibility violations: Merrell et al., Real-time visibility-based fusion of depth
        maps, ICCV 2007.
    """
    disparity, weight = _hypotheses(view, others)
    winner = _most_voted(disparity, weight, view.color, tolerance)
    for _ in range(2):
        near = weight * (1 - ((disparity - winner) / (tolerance * winner)).square()).clamp_(min=0)
        votes = near.sum(0)
        winner = torch.where(votes > 0, (near * disparity).sum(0) / votes.clamp(min=1e-9), winner)
    z_depth = 1 / winner
    against = torch.stack([_seen_through(view, other, z_depth, tolerance) for other in others]).sum(0) if others else 0
    confidence = votes / (votes + against + HALF_SURE)
    is_known = votes > _FEWEST_VOTES
    return ViewGeometry(
        view.camera, view.grid, torch.where(is_known, z_depth, torch.nan), torch.where(is_known, confidence, 0.0)
    )


def _hypotheses(
    view: DepthVotes, others: Sequence[DepthVotes]
) -> tuple[Float[Tensor, "hypothesis row col"], Float[Tensor, "hypothesis row col"]]:
    """Return disparities that may be true, and their weights: 0 where there is none."""
    depths, weights = [view.z_depth], [view.weight]
    for other in others:
        depth, weight = _carried_over(other, view)
        depths.append(depth)
        weights.append(weight)
    z_depth = torch.stack(depths)
    is_known = torch.isfinite(z_depth)
    return torch.where(is_known, 1 / z_depth, 1.0), torch.where(is_known, torch.stack(weights), 0.0)


def _carried_over(other: DepthVotes, view: DepthVotes) -> tuple[Float[Tensor, "row col"], Float[Tensor, "row col"]]:
    """Return another view's surface as this view sees it, NaN where it shows none, and its weight."""
    cell, z = _cells_of(other, view, other.z_depth)
    count = view.grid.cell_count
    front = torch.full((count + 1,), torch.inf).scatter_reduce_(0, cell, z, "amin")
    weight = torch.where(z == front[cell], other.weight.flatten(), 0.0)
    carried = torch.zeros(count + 1).scatter_reduce_(0, cell, weight, "amax")
    z_depth = torch.where(torch.isinf(front), torch.nan, front)
    return z_depth[:count].reshape(view.grid.shape), carried[:count].reshape(view.grid.shape)


def _cells_of(
    a: DepthVotes, b: DepthVotes, z_depth: Float[Tensor, "row col"]
) -> tuple[Int[Tensor, " cell"], Float[Tensor, " cell"]]:
    """Return in which of b's cells a's points lie, and their depth in b; outside, the cell is one past the last."""
    is_known = torch.isfinite(z_depth)
    known = torch.where(is_known, z_depth, 1.0)
    size = (b.camera.size.height, b.camera.size.width)
    uv = cell_centers(*a.grid.lattice)
    at, ratio = Sweep.between(uv, (a.camera.K, a.camera.w2c), (b.camera.K, b.camera.w2c), size).at(1 / known[None])
    cell = cells_at(at[0], *b.grid.shape)
    is_inside = is_known & (cell >= 0)
    return torch.where(is_inside, cell, b.grid.cell_count).flatten(), (ratio[0] * known).flatten()


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
    return torch.exp(low + width * smooth.argmin(0))


def _seen_through(
    view: DepthVotes, other: DepthVotes, z_depth: Float[Tensor, "row col"], tolerance: float
) -> Float[Tensor, "row col"]:
    """Return the weight with which another view sees through a surface to what is behind it."""
    cell, z = _cells_of(view, other, z_depth)
    behind, weight = (F.pad(one.flatten(), (0, 1)) for one in (other.z_depth, other.weight))
    is_through = z < behind[cell] * (1 - 1.5 * tolerance)
    return torch.where(is_through, weight[cell], 0.0).reshape(view.grid.shape)
