"""How a computed world looks: paint under one lamp, and views with exact depth and labels."""

from dataclasses import fields

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import Frame
from lift3d.synthetic.painting import painted
from lift3d.synthetic.surface_points import Points, surface_index, unit_length
from lift3d.synthetic.tracing import Hits, cast
from lift3d.synthetic.world import Paint, World, to_local

_SAMPLES_PER_AXIS = 2
# Rays that are shaded at a time: small enough to stay in the processor's cache.
_STRIP_RAYS = 4096
# Of the lamp's light: what comes from everywhere, and what falls straight on a surface.
_AMBIENT, _DIFFUSE = 0.55, 0.5
# Exponent of highlights.
_SHARPNESS = 24.0


def render(world: World, camera: Camera) -> Frame:
    """Render a world: colour averaged over 2×2 samples; z-depth and labels at the pixel centre."""
    height, width = camera.size.height, camera.size.width
    center = cast(world, camera)
    surface = surface_index(world, camera, center)
    samples = _SAMPLES_PER_AXIS
    fine = camera.resized(ImageSize(samples * height, samples * width))
    color = _shade(world, fine, cast(world, fine, torch.float32))
    color = color.reshape(height, samples, width, samples, 3).mean(dim=(1, 3))
    labels, instances = (
        torch.tensor([getattr(one, name) for one in world.surfaces])[surface] for name in ("label", "instance")
    )
    return Frame(
        image=color.permute(2, 0, 1).contiguous(),
        is_valid=torch.ones(height, width, dtype=torch.bool),
        camera=camera,
        z_depth=center.z_depth.to(torch.float32),
        labels=labels,
        instances=instances,
    )


def _shade(world: World, camera: Camera, hits: Hits) -> Float[Tensor, "row col 3"]:
    """Return the sRGB colour of each ray; ``_SAMPLES_PER_AXIS`` of them share a pixel along each axis."""
    names = [field.name for field in fields(Paint)]
    paints = {name: torch.tensor([getattr(one.paint, name) for one in world.surfaces]) for name in names}
    strip = max(1, _STRIP_RAYS // hits.solid.shape[1])
    parts = []
    for top in range(0, hits.solid.shape[0], strip):
        rows = slice(top, top + strip)
        part = Hits(hits.z_depth[rows], hits.solid[rows], hits.direction[rows])
        parts.append(_shade_strip(world, camera, part, paints))
    return torch.cat(parts)


def _shade_strip(world: World, camera: Camera, hits: Hits, paints: dict[str, Tensor]) -> Tensor:
    points = Points.of(world, camera, hits)
    surface = 6 * points.solid + points.face
    paint = {name: column[surface] for name, column in paints.items()}
    color = painted(points, points.steps(world, camera, _SAMPLES_PER_AXIS), paint)
    lamp = torch.tensor(world.lamp, dtype=torch.float64)
    to_lamp = to_local((lamp - world.center).float(), world.axes32)[points.solid]
    to_light = unit_length(to_lamp - points.xyz)
    brightness = _AMBIENT + _DIFFUSE * (points.normal * to_light).sum(-1).clamp(min=0)
    half = unit_length(to_light - unit_length(points.direction))
    highlight = paint["gloss"] * (points.normal * half).sum(-1).clamp(min=0) ** _SHARPNESS
    lit = color * brightness[:, None] + highlight[:, None]
    return lit.clamp(0, 1).reshape(*hits.solid.shape, 3)
