"""Who owns a place on the surface: the first keyframe that sees it well, and softly so where that changes.

Letters: a share is that of the cells around one, on the same surface, that a view sees well.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.surface.culling import Asked
from lift3d.surface.depth_map import EDGE
from lift3d.surface.keyframes import is_seen_well
from lift3d.surface.look import Look

# Owners of a place at most, the last of which has a few percent.
OWNER_COUNT = 3
# Cells around one that have a say, so that a view owns whole places and not grains of them.
WINDOW = 5
# A view takes all that is left of a place if it sees so many of the cells around well, and less if fewer.
WHOLE_SHARE = 0.5


def owners(
    look: Look,
    asked: Asked,
    surety: Float[Tensor, "cell view"],
    order: tuple[int, ...],
    z_depth: Float[Tensor, "row col"],
) -> tuple[Int[Tensor, "cell owner"], Float[Tensor, "cell owner"]]:
    """Return the views that own each cell, the heaviest first, and their shares, with sum 1 or 0.

    Each keyframe in turn takes of what those before it left; the rest is that of the first keyframe that sees the cell
    at all, else of the surest view. The order is the scene's, so that owners do not depend on who looks.
    """
    everyone = torch.tensor(order)
    keyframes, place = _among_asked(everyone, asked)
    share = _share_around(is_seen_well(look)[:, place].float(), z_depth)
    taken = (share / WHOLE_SHARE).clamp(max=1)
    left = torch.cat([torch.ones_like(surety[:, :1]), (1 - taken).cumprod(1)], dim=1)
    owned = torch.zeros_like(surety)
    owned[:, keyframes] = taken * left[:, :-1]
    sees = (surety > 0)[:, everyone]
    last = torch.where(sees.any(1), everyone[sees.float().argmax(1)], surety.argmax(1))
    owned.scatter_add_(1, last[:, None], left[:, -1:])
    weight, owner = (owned * (surety.sum(1, keepdim=True) > 0)).topk(min(OWNER_COUNT, owned.shape[1]), dim=1)
    return owner, weight / weight.sum(1, keepdim=True).clamp(min=1e-9)


def _among_asked(keyframes: Int[Tensor, " keyframe"], asked: Asked) -> tuple[Tensor, Tensor]:
    """Return the keyframes that are asked, in their order, and their places among those that are."""
    place = torch.full((asked.count,), -1)
    place[asked.views] = torch.arange(len(asked.views))
    is_asked = place[keyframes] >= 0
    return keyframes[is_asked], place[keyframes[is_asked]]


def _share_around(values: Float[Tensor, "cell view"], z_depth: Float[Tensor, "row col"]) -> Float[Tensor, "cell view"]:
    """Return means over a window's cells at about the depth of the one in its middle."""
    (rows, cols), pad = z_depth.shape, WINDOW // 2
    maps = F.pad(values.T.reshape(-1, rows, cols), (pad,) * 4)
    depths = F.pad(z_depth, (pad,) * 4, value=torch.nan)
    total, count = torch.zeros(len(maps), rows, cols), torch.zeros(rows, cols)
    for row in range(WINDOW):
        for col in range(WINDOW):
            there = (slice(row, row + rows), slice(col, col + cols))
            is_alike = ((depths[there] / z_depth - 1).abs() < EDGE).float()
            total += maps[:, *there] * is_alike
            count += is_alike
    return (total / count.clamp(min=1)).flatten(1).T
