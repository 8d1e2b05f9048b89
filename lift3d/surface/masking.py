"""Invalid pixels never vote: what a mask hides, a view does not show, whatever others know of its depth there."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.sampling import nearest_cells, taken
from lift3d.surface.anchors import GUESSED

# A cell most of whose pixels are hidden is hidden.
_HIDDEN = 0.5


def masked(geometry: SceneGeometry, guides: Sequence[SourceGuide]) -> SceneGeometry:
    """Return the geometry without what is hidden from the views that are said to show it; empty cells stay empty."""
    hidden = {one.id: ~one.is_valid for one in guides if not bool(one.is_valid.all())}
    views = {name: _shown(view, hidden[name]) if name in hidden else view for name, view in geometry.views.items()}
    return SceneGeometry(geometry.method, views)


def without_invalid(
    weights: BlendingWeights, valid_of: Callable[[ViewId], Bool[Tensor, "height width"]]
) -> BlendingWeights:
    """Return weights by which no invalid pixel answers where the surface is a guess; without any other, none does.

    What a view has there was filled from the pixels around. Where the surface is known none answers anyway, since
    invalid pixels have no depth.
    """
    guessed = torch.nonzero((weights.coverage > 0) & (weights.coverage <= GUESSED))[:, 0]
    if not len(guessed):
        return weights
    uv, source, kept = weights.uv[guessed], weights.source[guessed], weights.weight[guessed]
    # A device is not waited for to tell whom to ask.
    asked = torch.unique(source[kept > 0]).tolist() if kept.is_cpu else range(len(weights.source_ids))
    for place in asked:
        is_valid = valid_of(weights.source_ids[place])
        at = nearest_cells(uv, *is_valid.shape)
        may_vote = (at >= 0) & taken(is_valid.flatten(), at.clamp(min=0))
        kept = torch.where((source == place) & ~may_vote, 0.0, kept)
    total = kept.sum(1, keepdim=True)
    weight, coverage = weights.weight.clone(), weights.coverage.clone()
    weight[guessed] = kept / torch.where(total > 0, total, 1.0)
    coverage[guessed] *= total[:, 0] > 0
    return replace(weights, weight=weight, coverage=coverage)


def _shown(view: ViewGeometry, hidden: Bool[Tensor, "height width"]) -> ViewGeometry:
    share = F.interpolate(hidden[None, None].float(), view.grid.shape, mode="area")[0, 0]
    is_hidden = (share > _HIDDEN) & ~torch.isinf(view.z_depth)
    z_depth = view.z_depth.masked_fill(is_hidden, torch.nan)
    return ViewGeometry(view.camera, view.grid, z_depth, view.confidence.masked_fill(is_hidden, 0.0))
