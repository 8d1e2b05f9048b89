"""How the surfaces of a procedural world look: band-limited noise, regular patterns, one light.

A colour is a function of the surface point, smoothed to the pixel's footprint on the surface, so that
images of any size agree and do not alias. Letters: ``step_u`` and ``step_v`` are how far the surface point
moves per pixel to the right and down.
"""

import functools
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.synthetic.world import Hits, Paint, Pattern, Shape, World, to_local

# Standard deviation of the pixel filter, pixels. With the spread of 2×2 samples it halves the contrast near
# Nyquist and leaves 3 % at the sampling frequency, where a wave would alias to a constant.
_FILTER_PX = 0.35
_OCTAVES = 7
_WAVES_PER_OCTAVE = 4
# Rays that are shaded at a time: small enough to stay in the processor's cache.
_STRIP_RAYS = 4096
_AMBIENT, _DIFFUSE = 0.55, 0.5
_SHININESS = 24


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """Plane waves that add up to noise.

    Attributes:
        frequency: Cycles per longest wavelength.
        phase: Radians.
        share: How much of the wave goes to red, green and blue.
    """

    frequency: Float[Tensor, "3 wave"]
    phase: Float[Tensor, " wave"]
    share: Float[Tensor, "wave 3"]


@functools.lru_cache(maxsize=1)
def waves() -> Waves:
    """Return the waves that every world shares; surfaces differ by where they lie in them."""
    rng = np.random.default_rng(20240501)
    count = _OCTAVES * _WAVES_PER_OCTAVE
    octave = np.repeat(np.arange(_OCTAVES), _WAVES_PER_OCTAVE)
    axis = rng.normal(size=(count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    length = 2.0**octave * rng.uniform(0.75, 1.3, count)
    # Luminance carries most of the contrast, every octave nearly the same: there is detail at any distance.
    share = (0.8 + 0.22 * rng.normal(size=(count, 3))) * (0.92**octave)[:, None] / np.sqrt(_WAVES_PER_OCTAVE)
    tensors = (axis.T * length, rng.uniform(0, 2 * np.pi, count), share)
    return Waves(*(torch.tensor(values, dtype=torch.float32) for values in tensors))


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """Surface points in the axes of their solids, and what is needed to paint and light them."""

    xyz: Float[Tensor, "point 3"]
    step_u: Float[Tensor, "point 3"]
    step_v: Float[Tensor, "point 3"]
    normal: Float[Tensor, "point 3"]
    to_eye: Float[Tensor, "point 3"]
    to_light: Float[Tensor, "point 3"]
    is_round: Tensor
    face: Int[Tensor, " point"]


def surface_index(world: World, camera: Camera, hits: Hits) -> Int[Tensor, "row col"]:
    """Return which of the world's surfaces each pixel shows."""
    solid = hits.solid.reshape(-1)
    xyz_world = camera.center + (hits.direction * hits.z_depth[..., None]).reshape(-1, 3).to(torch.float64)
    local = to_local(xyz_world - world.center[solid], world.yaw[solid])
    return (6 * solid + _faces(local / world.half_size[solid])).reshape(hits.solid.shape)


def shade(world: World, camera: Camera, hits: Hits, samples_per_pixel_axis: int) -> Float[Tensor, "row col 3"]:
    """Return the sRGB colour of each ray.

    Args:
        world: The world that was hit.
        camera: The camera of the rays; its pixels are the samples.
        hits: Where the rays end.
        samples_per_pixel_axis: How many rays share a pixel along each axis; sets the width of the filter.
    """
    table = _paint_table(world)
    strip = max(1, _STRIP_RAYS // hits.solid.shape[1])
    parts = []
    for top in range(0, hits.solid.shape[0], strip):
        rows = slice(top, top + strip)
        part = Hits(hits.z_depth[rows], hits.solid[rows], hits.direction[rows])
        parts.append(_shade_strip(world, camera, part, samples_per_pixel_axis, table))
    return torch.cat(parts)


def _paint_table(world: World) -> dict[str, Tensor]:
    """Each property of the paints, one entry per surface."""
    paints = [one.paint for one in world.surfaces]
    return {field.name: torch.tensor([getattr(paint, field.name) for paint in paints]) for field in fields(Paint)}


def _shade_strip(world: World, camera: Camera, hits: Hits, samples: int, table: dict[str, Tensor]) -> Tensor:
    points = _surface_points(world, camera, hits, float(samples))
    surface = 6 * hits.solid.reshape(-1) + points.face
    paint = {name: column[surface] for name, column in table.items()}
    uv, uv_step = _face_coordinates(points)
    amount, tint = _pattern(paint["pattern"], uv, uv_step, paint["period"])
    color = torch.lerp(paint["color"], paint["accent"], amount[:, None]) * (1 + 0.25 * tint[:, None])
    color = color * (1 + paint["grain"][:, None] * _noise(points, paint["grain_size"], paint["shift"]))
    lambert = (points.normal * points.to_light).sum(-1).clamp(min=0)
    half = _unit(points.to_light + points.to_eye)
    highlight = paint["gloss"] * (points.normal * half).sum(-1).clamp(min=0) ** _SHININESS
    lit = color * (_AMBIENT + _DIFFUSE * lambert)[:, None] + highlight[:, None]
    return lit.clamp(0, 1).reshape(*hits.solid.shape, 3)


def _faces(unit: Tensor) -> Tensor:
    """Face (−x, +x, −y, +y, −z, +z) of a unit box that each point lies on."""
    axis = unit.abs().argmax(-1)
    return 2 * axis + (unit.gather(-1, axis[..., None])[..., 0] > 0).long()


def _surface_points(world: World, camera: Camera, hits: Hits, samples: float) -> _Points:
    solid, t = hits.solid.reshape(-1), hits.z_depth.reshape(-1, 1).float()
    yaw, half_size = world.yaw.float()[solid], world.half_size.float()[solid]
    direction = to_local(hits.direction.reshape(-1, 3).float(), yaw)
    eye = to_local((camera.center - world.center).float(), world.yaw.float())[solid]
    light = torch.tensor(world.light, dtype=torch.float64)
    to_light = to_local((light - world.center).float(), world.yaw.float())[solid]
    xyz = eye + t * direction
    normal = _normals(xyz / half_size, half_size, world.shape[solid])
    # Normals face the viewer: a shell is seen from inside.
    normal = normal * torch.where((normal * direction).sum(-1, keepdim=True) > 0, -1.0, 1.0)
    # The tangent plane's point moves by t (δ − d (n·δ)/(n·d)) when the ray direction moves by δ.
    slope = (normal * direction).sum(-1, keepdim=True).clamp(max=-0.02)
    axes = (samples * camera.w2c[:2, :3] / camera.K.diagonal()[:2, None]).float()
    steps = []
    for axis in axes:
        delta = to_local(axis.expand_as(direction), yaw)
        steps.append(t * (delta - direction * (normal * delta).sum(-1, keepdim=True) / slope))
    return _Points(
        xyz=xyz,
        step_u=steps[0],
        step_v=steps[1],
        normal=normal,
        to_eye=-_unit(direction),
        to_light=_unit(to_light - xyz),
        is_round=(world.shape[solid] >= Shape.BALL),
        face=_faces(xyz / half_size),
    )


def _normals(unit: Tensor, half_size: Tensor, shape: Tensor) -> Tensor:
    face = torch.nn.functional.one_hot(unit.abs().argmax(-1), 3).to(unit)
    radial = unit / half_size
    is_side = unit[:, 2].abs() < (unit[:, 0].square() + unit[:, 1].square()).sqrt()
    side = torch.where(is_side[:, None], radial * torch.tensor([1.0, 1, 0]), torch.tensor([0.0, 0, 1]))
    flat = torch.where((shape == Shape.TUBE)[:, None], side, face * unit.sign())
    return _unit(torch.where((shape == Shape.BALL)[:, None], radial, flat))


def _face_coordinates(points: _Points) -> tuple[Tensor, Tensor]:
    """Two lengths along the surface, and how much each changes per pixel."""
    x, y, z = points.xyz.unbind(-1)
    width_x, width_y, width_z = (points.step_u**2 + points.step_v**2).sqrt().unbind(-1)
    along = points.normal.abs()
    is_flat_top = (along[:, 2] > along[:, :2].amax(-1)) & ~points.is_round
    faces_x = along[:, 0] > along[:, 1]
    u = torch.where(is_flat_top | ~faces_x, x, y)
    u_step = torch.where(is_flat_top | ~faces_x, width_x, width_y)
    around = torch.atan2(y, x) * (x * x + y * y).sqrt()
    u = torch.where(points.is_round, around, u)
    u_step = torch.where(points.is_round, torch.maximum(width_x, width_y), u_step)
    v, v_step = torch.where(is_flat_top, y, z), torch.where(is_flat_top, width_y, width_z)
    return torch.stack([u, v], -1), torch.stack([u_step, v_step], -1)


def _unit(xyz: Tensor) -> Tensor:
    """Vectors scaled to length 1, several times faster than the general norm for three components."""
    x, y, z = xyz.unbind(-1)
    return xyz * torch.rsqrt(x * x + y * y + z * z)[:, None]


def _wrapped(x: Tensor, period: int) -> Tensor:
    """What is left of x after whole periods; several times faster than the general remainder."""
    return x - period * (x / period).floor()


def _soft_square(x: Tensor, step: Tensor) -> Tensor:
    """A square wave of period 2 and values ±1, averaged over ``step``; 0 where the step nears the period."""
    to_edge = 0.5 - (_wrapped(x, 2) - 1).abs()
    contrast = (2 - 2 * step).clamp(0, 1)
    return contrast * (2 * to_edge / step.clamp(min=1e-6)).clamp(-1, 1)


def _soft_line(x: Tensor, step: Tensor, width: float) -> Tensor:
    """1 within ``width`` of an integer, averaged over ``step``; its mean where the step nears the period."""
    to_line = 0.5 - (_wrapped(x, 1) - 0.5).abs()
    sharp = ((width - to_line) / step.clamp(min=1e-6) + 0.5).clamp(0, 1)
    return torch.lerp(sharp, torch.full_like(sharp, 2 * width), (2 * step - 1).clamp(0, 1))


def _pattern(pattern: Tensor, uv: Tensor, uv_step: Tensor, period: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the accent colour, and a tint of each cell of the pattern in [−1, 1]."""
    (u, v), (du, dv) = (uv / period[:, None]).unbind(-1), (uv_step / period[:, None]).unbind(-1)
    square_u, square_v = _soft_square(u, du), _soft_square(v, dv)
    # Bricks are twice as long as high; every second course is shifted by half a brick.
    course = (2 * v).floor()
    brick_u = u + 0.5 * _wrapped(course, 2)
    joints = torch.maximum(_soft_line(brick_u, du, 0.04), _soft_line(2 * v, 2 * dv, 0.08))
    window = (1 - _soft_line(u, du, 0.22)) * (1 - _soft_line(v, dv, 0.25))
    none = torch.zeros_like(u)
    amount = torch.stack([none, 0.5 + 0.5 * square_u * square_v, 0.5 + 0.5 * square_u, joints, window])
    cell_u, cell_v = (
        torch.where(pattern == Pattern.BRICKS, brick_u, u + 0.5),
        torch.where(pattern == Pattern.BRICKS, course, v + 0.5),
    )
    cell_v = torch.where(pattern == Pattern.STRIPES, none, cell_v)
    # Tints of cells that are only a few pixels wide would alias; they fade first.
    fade = (1.5 - 3 * torch.maximum(du, torch.where(pattern == Pattern.STRIPES, none, 2 * dv))).clamp(0, 1)
    tint = torch.where(pattern == Pattern.PLAIN, none, fade * _cell_tint(cell_u, cell_v))
    return amount.gather(0, pattern[None])[0], tint


def _cell_tint(u: Tensor, v: Tensor) -> Tensor:
    """A fixed number in [−1, 1] per cell: the usual integer hash by large primes."""
    mixed = (u.floor().long() * 73856093) ^ (v.floor().long() * 19349663)
    return ((mixed ^ (mixed >> 7)) & 255).float() / 127.5 - 1


def _noise(points: _Points, grain_size: Tensor, shift: Tensor) -> Tensor:
    """Sum of plane waves, each damped by what a Gaussian pixel filter leaves of it on the tangent plane."""
    one = waves()
    scale = 1 / grain_size[:, None]
    cycles_u = (points.step_u * scale) @ one.frequency
    cycles_v = (points.step_v * scale) @ one.frequency
    # The Gaussian of width σ passes exp(−2π²σ²f²) of a wave of f cycles per pixel.
    gain = torch.exp((cycles_u.square_() + cycles_v.square_()) * (-2 * np.pi**2 * _FILTER_PX**2))
    phase = ((points.xyz * scale + shift) @ one.frequency).mul_(2 * np.pi).add_(one.phase)
    return (phase.cos_() * gain) @ one.share
