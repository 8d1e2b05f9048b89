"""Colours of tiled surfaces, and of the sky."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.synthetic.atlas import Atlas
from lift3d.synthetic.surface_points import Points
from lift3d.synthetic.textures import TILE_PX
from lift3d.synthetic.world import Shape, Sky

# How much finer the second layer of a tile is.
_DETAIL_RATIO = 5.3


def tiled(points: Points, atlas: Atlas, pixel: float, tiling: dict[str, Tensor]) -> Float[Tensor, "point 3"]:
    """Return the colours of surface points: tile, finer detail and tint; each face starts elsewhere in the tile.

    ``pixel`` is the size of a pixel at distance 1, ``tiling`` has each property of the tiling at each point.
    """
    u, v = _face_coordinates(points)
    cos, sin, length = tiling["turn"].cos(), tiling["turn"].sin(), tiling["length"]
    offset = tiling["shift"] + points.face[:, None] * torch.tensor([0.37, 0.61])
    st = torch.stack([cos * u + sin * v, cos * v - sin * u], dim=-1) / length[:, None] + offset
    # World units per pixel, the geometric mean over the two directions of the stretched footprint.
    distance = points.direction.norm(dim=-1)
    cosine = ((points.normal * points.direction).sum(-1).abs() / distance).clamp(0.05, 1)
    spacing = points.z_depth[:, 0] * distance * pixel / cosine.sqrt()
    level = (spacing / length * TILE_PX).clamp(min=1e-6).log2()
    mean = atlas.means[tiling["tile"]]
    color = torch.lerp(atlas.read(tiling["tile"], st, level), mean, tiling["flatness"][:, None])
    fine = atlas.read(tiling["tile"], st * _DETAIL_RATIO, level + float(np.log2(_DETAIL_RATIO)))
    return (color + tiling["detail"][:, None] * (fine - mean)) * tiling["tint"]


def sky_color(sky: Sky, direction: Float[Tensor, "point 3"], level: float) -> Float[Tensor, "point 3"]:
    """Return the sky's tile along longitude and latitude, mirrored in the north and at the date line.

    Directions are in world axes, of any length; further levels of the tile's pyramid are smoother.
    """
    x, y, z = direction.unbind(-1)
    st = torch.stack([torch.atan2(y, x), (z / direction.norm(dim=-1)).clamp(-1, 1).arccos()], dim=-1) / torch.pi
    return sky.atlas.read(torch.full(x.shape, sky.tile), st, torch.full(x.shape, level))


def _face_coordinates(points: Points) -> tuple[Float[Tensor, " point"], Float[Tensor, " point"]]:
    """Two lengths along the surface: the other two axes of the face, or the way around a tube."""
    x, y, z = points.xyz.unbind(-1)
    axis = points.face // 2
    is_around = (points.shape == Shape.TUBE) & (axis == 0)
    around = torch.atan2(y, x) * (x * x + y * y).sqrt()
    return torch.where(is_around, around, torch.where(axis == 0, y, x)), torch.where(axis == 2, y, z)
