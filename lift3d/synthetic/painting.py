"""Colours of painted surfaces: band-limited noise and regular patterns.

A colour is a function of the surface point, smoothed to the pixel's footprint on the surface, so that
images of any size agree and do not alias. Letters: ``step_u`` and ``step_v`` are how far the surface point
moves per pixel to the right and down.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.synthetic.surface_points import Points
from lift3d.synthetic.world import Pattern, Shape

# Standard deviation of the pixel filter, pixels. With the spread of 2×2 samples it halves the contrast near
# Nyquist and leaves 3 % at the sampling frequency, where a wave would alias to a constant.
_FILTER_PX = 0.35
_OCTAVES = 7
_WAVES_PER_OCTAVE = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Waves:
    """Plane waves that add up to noise: cycles per longest wavelength, radians, and what goes to each colour."""

    frequency: Float[Tensor, "3 wave"]
    phase: Float[Tensor, " wave"]
    share: Float[Tensor, "wave 3"]


@functools.lru_cache(maxsize=1)
def _waves() -> _Waves:
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
    return _Waves(*(torch.tensor(values, dtype=torch.float32) for values in tensors))


def painted(
    points: Points, steps: tuple[Float[Tensor, "point 3"], Float[Tensor, "point 3"]], paint: dict[str, Tensor]
) -> Float[Tensor, "point 3"]:
    """Return the colours of surface points, given how far each moves per pixel and its paint, property by property."""
    uv, uv_step = _face_coordinates(points, steps)
    amount, tint = _pattern(paint["pattern"], uv, uv_step, paint["period"])
    color = torch.lerp(paint["color"], paint["accent"], amount[:, None]) * (1 + 0.25 * tint[:, None])
    return color * (1 + paint["grain"][:, None] * _noise(points.xyz, steps, paint["grain_size"], paint["shift"]))


def _face_coordinates(points: Points, steps: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Two lengths along the surface, and how much each changes per pixel."""
    x, y, z = points.xyz.unbind(-1)
    width_x, width_y, width_z = (steps[0] ** 2 + steps[1] ** 2).sqrt().unbind(-1)
    along, is_round = points.normal.abs(), (points.shape == Shape.BALL) | (points.shape == Shape.TUBE)
    is_flat_top = (along[:, 2] > along[:, :2].amax(-1)) & ~is_round
    faces_x = along[:, 0] > along[:, 1]
    u = torch.where(is_flat_top | ~faces_x, x, y)
    u_step = torch.where(is_flat_top | ~faces_x, width_x, width_y)
    around = torch.atan2(y, x) * (x * x + y * y).sqrt()
    u = torch.where(is_round, around, u)
    u_step = torch.where(is_round, torch.maximum(width_x, width_y), u_step)
    v, v_step = torch.where(is_flat_top, y, z), torch.where(is_flat_top, width_y, width_z)
    return torch.stack([u, v], -1), torch.stack([u_step, v_step], -1)


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


def _noise(xyz: Tensor, steps: tuple[Tensor, Tensor], grain_size: Tensor, shift: Tensor) -> Tensor:
    """Sum of plane waves, each damped by what a Gaussian pixel filter leaves of it on the tangent plane."""
    waves = _waves()
    scale = 1 / grain_size[:, None]
    cycles_u, cycles_v = ((step * scale) @ waves.frequency for step in steps)
    # The Gaussian of width σ passes exp(−2π²σ²f²) of a wave of f cycles per pixel.
    gain = torch.exp((cycles_u.square_() + cycles_v.square_()) * (-2 * np.pi**2 * _FILTER_PX**2))
    phase = ((xyz * scale + shift) @ waves.frequency).mul_(2 * np.pi).add_(waves.phase)
    return (phase.cos_() * gain) @ waves.share
