"""Labels on the surface: the one that most of the witnesses' weight says."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from lift3d.domain.features import FeatureMap
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.sampling import nearest_cells


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
