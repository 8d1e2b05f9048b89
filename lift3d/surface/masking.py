"""Invalid pixels never vote: what a mask hides, a view does not show, whatever others know of its depth there."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry

# A cell most of whose pixels are hidden is hidden.
_HIDDEN = 0.5


def masked(geometry: SceneGeometry, guides: Sequence[SourceGuide]) -> SceneGeometry:
    """Return the geometry without what is hidden from the views that are said to show it; empty cells stay empty."""
    hidden = {one.id: ~one.is_valid for one in guides if not bool(one.is_valid.all())}
    views = {name: _shown(view, hidden[name]) if name in hidden else view for name, view in geometry.views.items()}
    return SceneGeometry(geometry.method, views)


def _shown(view: ViewGeometry, hidden: Bool[Tensor, "height width"]) -> ViewGeometry:
    share = F.interpolate(hidden[None, None].float(), view.grid.shape, mode="area")[0, 0]
    is_hidden = (share > _HIDDEN) & ~torch.isinf(view.z_depth)
    z_depth = view.z_depth.masked_fill(is_hidden, torch.nan)
    return ViewGeometry(view.camera, view.grid, z_depth, view.confidence.masked_fill(is_hidden, 0.0))
