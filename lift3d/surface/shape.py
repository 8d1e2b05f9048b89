"""What geometry tells of points of the surface: how high they lie, which way they face, and the shape around them.

Nothing here says where a point is: equal places of a scene have equal numbers, so that what is learned from them holds
for all of their like. No number changes where the world is moved or scaled.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.surface.cloud import SurfacePoints
from lift3d.surface.scene_surface import SceneSurface

# Neighbours, itself included, over which shapes are measured, from details to furniture.
NEIGHBOURS = (16, 64, 256)
# Normals this near to up, by cosine, say more exactly where it is than people hold cameras.
_UPRIGHT, _ROUNDS = 0.9, 5
# Of heights, which of the lowest count as the floor: a few points lie below it.
_FLOOR_SHARE = 0.01


def upward(surface: SceneSurface, normals: Float[Tensor, "point 3"]) -> Float[Tensor, "3"]:
    """Return the direction of up in the world: of the mean camera, then of what faces nearly that way."""
    up = F.normalize(-torch.stack([view.camera.w2c[1, :3] for view in surface.views]).mean(0), dim=0)
    for _ in range(_ROUNDS):
        facing = normals[normals @ up > _UPRIGHT]
        up = F.normalize(facing.mean(0), dim=0) if len(facing) else up
    return up


def shape_inputs(
    points: SurfacePoints, rgb: Float[Tensor, "point 3"], up: Float[Tensor, "3"]
) -> Float[Tensor, "point number"]:
    """Return per point: height, facing and colour; their means, spreads and the cloud's shape around it, per size.

    Heights are over the lowest points, in spreads of the cloud; facing is the cosine of the normal to up, and its size.
    Shapes are the ratios of the axes of the ellipsoid of the neighbours.
    """
    from scipy.spatial import cKDTree

    xyz = points.xyz - points.xyz.mean(0)
    height = xyz @ up
    height = (height - torch.quantile(height, _FLOOR_SHARE)) / xyz.std(0).norm()
    facing = points.normals @ up
    own = torch.cat([torch.stack([height, facing, facing.abs()], 1), rgb.double()], 1)
    tree, columns = cKDTree(xyz.numpy()), [own]
    for count in NEIGHBOURS:
        near = torch.from_numpy(tree.query(xyz.numpy(), k=min(count, len(xyz)))[1])
        around, offsets = own[near], xyz[near] - xyz[near].mean(1, keepdim=True)
        scatter = torch.einsum("pni,pnj->pij", offsets, offsets)
        axes = torch.linalg.eigvalsh(scatter).clamp(min=0).sqrt()
        ratios = axes[:, :2] / axes[:, 2:].clamp(min=torch.finfo(axes.dtype).tiny)
        mean, above = around.mean(1), height[:, None] - around[..., :1].mean(1)
        columns += [ratios, mean, around.std(1), above]
    return torch.cat(columns, 1).float()
