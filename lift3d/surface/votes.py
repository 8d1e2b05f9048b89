"""Votes on the surface: the label that most of the witnesses' weight says, and masks as fine as witnesses agree."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.features import FeatureMap
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.sampling import nearest_cells
from lift3d.surface.depth_map import EDGE

# Votes on a place that differ by so much tell half of it, and the votes around it the other half: of a twentieth of the
# picture's height to either side. Found on two networks' masks of two captures, of sensors' and of searched depth.
DISAGREEMENT, REACH_SHARE = 0.1, 1 / 20


def voted(weights: BlendingWeights, labels: Sequence[FeatureMap]) -> Int[Tensor, "row col"]:
    """Return per cell the label of the greatest weight, −1 where nothing is covered; ties go to the smaller label.

    Those of each source, in the order of ``weights.source_ids``, have one channel, −1 where it says nothing.
    """
    said = torch.full(weights.source.shape, -1, dtype=torch.long)
    for index, one in enumerate(labels):
        is_own = (weights.source == index) & (weights.weight > 0)
        at = nearest_cells(weights.uv[is_own], *one.grid.lattice)
        said[is_own] = torch.where(at >= 0, one.values.reshape(-1)[at.clamp(min=0)].long(), -1)
    share = torch.where(said >= 0, weights.weight, 0.0)
    total = ((said[:, :, None] == said[:, None, :]) * share[:, None, :]).sum(-1)
    total = torch.where(said >= 0, total, -1.0)
    most = total.amax(1, keepdim=True)
    winner = torch.where(total >= most - 1e-6, said, torch.iinfo(torch.long).max).amin(1)
    return torch.where(most[:, 0] > 0, winner, -1).reshape(weights.grid.shape)


def agreed_masks(
    mean: Float[Tensor, "mask row col"], spread: Float[Tensor, "mask row col"], z_depth: Float[Tensor, "row col"]
) -> Float[Tensor, "mask row col"]:
    """Return masks that are as those around on the same surface where votes disagree: no network errs in grains.

    ``spread`` is the variance of the votes. Where all agree nothing changes, be it ever so fine; an unknown depth is of
    no surface.
    """
    around = _on_surface(spread, z_depth, 1)
    unknown = around / (around + DISAGREEMENT**2)
    return mean + unknown * (_on_surface(mean, z_depth, round(REACH_SHARE * len(z_depth))) - mean)


def _on_surface(
    values: Float[Tensor, "mask row col"], z_depth: Float[Tensor, "row col"], reach: int
) -> Float[Tensor, "mask row col"]:
    """Return means over the cells of a square that lie on the surface of the one in its middle, along either axis."""
    for axis in (0, 1):
        total, count = values.clone(), torch.ones_like(z_depth)
        for step in range(1, min(reach, z_depth.shape[axis] - 1) + 1):
            length = z_depth.shape[axis] - step
            before, after = (one.narrow(axis, start, length) for one, start in ((z_depth, 0), (z_depth, step)))
            is_one = ((after / before - 1).abs() < EDGE).float()
            for to, of in ((0, step), (step, 0)):
                total.narrow(axis + 1, to, length).add_(values.narrow(axis + 1, of, length) * is_one)
                count.narrow(axis, to, length).add_(is_one)
        values = total / count
    return values
