"""Maps of views at points of the surface: the mean over the views that show a point."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.geometry.projection import project
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import sample
from lift3d.surface.scene_surface import SceneSurface


def fused_at(
    surface: SceneSurface, xyz: Float[Tensor, "point 3"], map_of: Callable[[ViewId], FeatureMap]
) -> tuple[Float[Tensor, "point channel"], Float[Tensor, " point"]]:
    """Return the mean of finite maps at points of the world, and how much views count for each in all.

    A view counts by how far it shows the point times how sure it is of its depth there; maps are read bilinearly. Where
    no view shows a point, both are 0.
    """
    total = torch.zeros(len(xyz))
    summed: Tensor | None = None
    for number, view in enumerate(surface.views):
        own = transform(view.camera.w2c, xyz)
        uv = project(own, view.camera.K)[0].float()
        look = surface.part([number]).look(view.camera, uv, own[:, 2].float())
        weight = (look.shown * look.confidence)[:, 0]
        one, seen = map_of(view.id), torch.nonzero(weight)[:, 0]
        if summed is None:
            summed = torch.zeros(len(xyz), one.channel_count)
        read = sample(one.values.float(), uv[seen], *one.grid.placement).T
        summed.index_add_(0, seen, read * weight[seen, None])
        total[seen] += weight[seen]
    if summed is None:
        return torch.zeros(len(xyz), 0), total
    return summed / torch.where(total > 0, total, 1.0)[:, None], total
