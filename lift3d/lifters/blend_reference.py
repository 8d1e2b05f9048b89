"""The blend as one would write it on paper: dense, slow, and what ``blend`` must equal."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureMap
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.sampling import sample


def blend_reference(weights: BlendingWeights, maps: Sequence[FeatureMap]) -> Float[Tensor, "channel row col"]:
    """Return ``Σ_tap weight · G_source(uv)`` per cell, NaN where not covered; differentiable.

    Args:
        weights: Taps of every cell.
        maps: The sources' features, in the order of ``weights.source_ids``.
    """
    blended = maps[0].values.new_zeros(maps[0].channel_count, weights.grid.cell_count)
    for index, source in enumerate(maps):
        grid = source.grid
        sampled = sample(source.values, weights.uv, (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v))
        share = torch.where(weights.source == index, weights.weight, 0.0)
        blended = blended + (sampled * share).sum(-1)
    blended = torch.where(weights.coverage > 0, blended, torch.nan)
    return blended.reshape(-1, weights.grid.rows, weights.grid.cols)
