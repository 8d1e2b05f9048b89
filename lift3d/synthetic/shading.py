"""How a computed world looks: colours of materials under one light, and views with exact depth and labels."""

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import Frame
from lift3d.synthetic.atlas import Atlas
from lift3d.synthetic.painting import painted
from lift3d.synthetic.surface_points import Points, surface_index, unit_length
from lift3d.synthetic.textures import TILE_PX
from lift3d.synthetic.tracing import Hits, cast
from lift3d.synthetic.world import Lamp, Material, Shape, Sky, World, to_local, to_world

_SAMPLES_PER_AXIS = 2
# Rays that are shaded at a time: small enough to stay in the processor's cache.
_STRIP_RAYS = 4096
# Of the lamp's light: what comes from everywhere, and what falls straight on a surface.
_AMBIENT, _DIFFUSE = 0.55, 0.5
# Of a reflection seen in a rough surface only the coarse parts are left: this level of the sky's pyramid.
_REFLECTION_LEVEL = 2.5
# How much finer the second layer of a tile is.
_DETAIL_RATIO = 5.3


def render(world: World, camera: Camera) -> Frame:
    """Render a world: colour averaged over 2×2 samples; z-depth (NaN in the sky) and labels at the pixel centre."""
    height, width = camera.size.height, camera.size.width
    center = cast(world, camera)
    surface, is_sky = surface_index(world, camera, center), center.solid < 0
    samples = _SAMPLES_PER_AXIS
    fine = camera.resized(ImageSize(samples * height, samples * width))
    color = _shade(world, fine, cast(world, fine, torch.float32))
    color = color.reshape(height, samples, width, samples, 3).mean(dim=(1, 3))
    labels, instances = (
        torch.tensor([getattr(one, name) for one in world.surfaces])[surface].masked_fill(is_sky, -1)
        for name in ("label", "instance")
    )
    return Frame(
        image=color.permute(2, 0, 1).contiguous(),
        is_valid=torch.ones(height, width, dtype=torch.bool),
        camera=camera,
        z_depth=center.z_depth.to(torch.float32).masked_fill(is_sky, torch.nan),
        labels=labels,
        instances=instances,
    )


def _shade(world: World, camera: Camera, hits: Hits) -> Float[Tensor, "row col 3"]:
    """Return the sRGB colour of each ray; ``_SAMPLES_PER_AXIS`` of them share a pixel along each axis."""
    table = _material_table([one.material for one in world.surfaces])
    strip = max(1, _STRIP_RAYS // hits.solid.shape[1])
    parts = []
    for top in range(0, hits.solid.shape[0], strip):
        rows = slice(top, top + strip)
        part = Hits(hits.z_depth[rows], hits.solid[rows], hits.direction[rows])
        parts.append(_shade_strip(world, camera, part, table))
    return torch.cat(parts)


def _material_table(materials: list[Material]) -> dict[str, Tensor]:
    """Each property of the materials and their coats, one entry per surface."""

    def columns(rows: list[Any]) -> dict[str, Tensor]:
        names = [field.name for field in fields(rows[0]) if field.name != "coat"]
        return {name: torch.tensor([getattr(row, name) for row in rows]) for name in names}

    return columns(materials) | columns([one.coat for one in materials])


def _shade_strip(world: World, camera: Camera, hits: Hits, table: dict[str, Tensor]) -> Tensor:
    points, light = Points.of(world, camera, hits), world.light
    surface = 6 * points.solid + points.face
    material = {name: column[surface] for name, column in table.items()}
    if isinstance(light, Lamp):
        color = painted(points, points.steps(world, camera, _SAMPLES_PER_AXIS), material)
        position = torch.tensor(light.position, dtype=torch.float64)
        to_lamp = to_local((position - world.center).float(), world.axes32)[points.solid]
        to_light = unit_length(to_lamp - points.xyz)
        brightness = _AMBIENT + _DIFFUSE * (points.normal * to_light).sum(-1).clamp(min=0)
    else:
        color = tiled(points, light.atlas, 1 / float(camera.K[0, 0]), material)
        to_light = to_local(light.to_sun.float(), world.axes32)[points.solid]
        # Half Lambert: light wraps around, as under a bright sky, and nothing is black.
        wrapped = (0.5 + 0.5 * (points.normal * to_light).sum(-1)).clamp(min=0) ** 1.5
        brightness = 1.15 * (light.ambient + (1 - light.ambient) * wrapped)
    toward = unit_length(points.direction)
    half = unit_length(to_light - toward)
    highlight = material["gloss"] * (points.normal * half).sum(-1).clamp(min=0) ** material["sharpness"]
    lit = color * brightness[:, None] + highlight[:, None]
    if not isinstance(light, Lamp):
        if bool(material["mirror"].max() > 0):
            bounced = toward - 2 * (toward * points.normal).sum(-1, keepdim=True) * points.normal
            around = sky_color(light, to_world(bounced, world.axes32[points.solid]), _REFLECTION_LEVEL)
            lit = torch.lerp(lit, around, material["mirror"][:, None])
        is_sky = hits.solid.reshape(-1, 1) < 0
        if bool(is_sky.any()):
            lit = torch.where(is_sky, sky_color(light, hits.direction.reshape(-1, 3), 0.0), lit)
    return lit.clamp(0, 1).reshape(*hits.solid.shape, 3)


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
