"""Where cameras stand: orbits from outside and inside, forward-facing spreads, hand-held walks, loose views.

World z is up, as far as a world has an up; examples turn the whole world afterwards.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import normalize

from lift3d.domain.camera import Camera, ImageSize
from lift3d.synthetic.world import Vector

_Vector = Float[ndarray, "3"]
# A camera as it is placed: its centre and the point it looks at.
_Aim = tuple[_Vector, _Vector]


@dataclass(frozen=True, slots=True, eq=False)
class CameraBounds:
    """Where the cameras of a world may be: from ``low`` to ``high``, at about a distance from ``focus``, its middle.

    ``trajectories`` are names of those that suit the world; forward-facing cameras look along ``heading``, radians
    about z.
    """

    focus: Vector
    distance: float
    low: Vector
    high: Vector
    trajectories: tuple[str, ...]
    heading: float = np.pi / 2


def draw_cameras(
    rng: np.random.Generator, bounds: CameraBounds, view_count: int, size: ImageSize
) -> tuple[Camera, ...]:
    """Draw a trajectory and its cameras: one field of view for all, 35 to 80 degrees along the longer side."""
    trajectory = bounds.trajectories[int(rng.integers(len(bounds.trajectories)))]
    aims = [*TRAJECTORIES[trajectory](rng, bounds, view_count)]
    half_view = np.radians(rng.uniform(35, 80)) / 2
    focal = max(size.height, size.width) / (2 * np.tan(half_view))
    middle = np.array([size.width, size.height]) * (0.5 + rng.uniform(-0.02, 0.02, 2))
    K = torch.tensor([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]], dtype=torch.float64)
    roll = np.radians(rng.uniform(0, 6))
    cameras = []
    for center, target in aims:
        inside = torch.from_numpy(center.clip(bounds.low, bounds.high))
        w2c = look_at(inside, torch.from_numpy(target), float(rng.normal(0, roll)))
        cameras.append(Camera(K, w2c, size))
    return tuple(cameras)


def look_at(center: Float[Tensor, "3"], target: Float[Tensor, "3"], roll: float = 0.0) -> Float[Tensor, "4 4"]:
    """Return w2c of a camera at a place that looks at another; upright (world z is up) but for the roll, radians."""
    forward = normalize(target - center, dim=0)
    up = [0.0, 0.0, 1.0] if abs(float(forward[2])) < 0.99 else [0.0, 1.0, 0.0]
    right = normalize(torch.linalg.cross(forward, torch.tensor(up, dtype=torch.float64)), dim=0)
    down = torch.linalg.cross(forward, right)
    if roll:
        cos, sin = math.cos(roll), math.sin(roll)
        right, down = cos * right + sin * down, cos * down - sin * right
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3] = torch.stack([right, down, forward])
    w2c[:3, 3] = -w2c[:3, :3] @ center
    return w2c


def _heading(angle: float, rise: float = 0.0) -> _Vector:
    return np.array([np.cos(angle), np.sin(angle), rise])


def _outside_in(rng: np.random.Generator, bounds: CameraBounds, view_count: int) -> Iterator[_Aim]:
    """An arc around the focus, on one or several heights."""
    step, radius = np.radians(rng.uniform(2, 14)), bounds.distance * rng.uniform(0.75, 1.3)
    middle, rise = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(5, 50))
    wave, jitter = np.radians(rng.uniform(0, 12)), rng.uniform(0.01, 0.08)
    for number in range(view_count):
        angle = middle + step * (number - view_count / 2 + rng.uniform(-0.3, 0.3))
        lift = rise + wave * np.sin(1.7 * number)
        offset = np.append(np.cos(lift) * _heading(angle)[:2], np.sin(lift))
        center = bounds.focus + radius * (1 + rng.normal(0, jitter)) * offset
        yield center, bounds.focus + rng.normal(0, jitter * radius, 3)


def _inside_out(rng: np.random.Generator, bounds: CameraBounds, view_count: int) -> Iterator[_Aim]:
    """A small circle around the focus, looking outwards."""
    step, radius = np.radians(rng.uniform(3, 16)), bounds.distance * rng.uniform(0.15, 0.6)
    start, dip = rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.1)
    for number in range(view_count):
        angle = start + step * number
        center = bounds.focus + radius * _heading(angle) + rng.normal(0, 0.06 * bounds.distance, 3)
        gaze = _heading(angle + rng.normal(0, 0.12), dip + rng.normal(0, 0.08))
        yield center, center + gaze


def _forward(rng: np.random.Generator, bounds: CameraBounds, view_count: int) -> Iterator[_Aim]:
    """A spread across the line of sight; all cameras look nearly the same way."""
    ahead = _heading(bounds.heading)
    across = np.array([-ahead[1], ahead[0], 0.0])
    spread = bounds.distance * np.exp(rng.uniform(np.log(0.05), np.log(0.5)))
    turn, toe_in = np.radians(rng.uniform(0, 5)), rng.uniform(0, 0.8)
    eye = bounds.focus - bounds.distance * ahead
    for number in range(view_count):
        # The golden ratio spaces the views evenly along one side; the other is random.
        side, height = 2 * ((number * 0.618034) % 1) - 1, rng.uniform(-0.6, 0.6)
        center = eye + spread * (side * across + height * np.array([0, 0, 1])) + rng.normal(0, 0.1) * spread * ahead
        gaze = bounds.focus + (1 - toe_in) * (center - eye) - center
        noise = rng.normal(0, turn, 3) * bounds.distance
        yield center, center + gaze + noise


def _walk(rng: np.random.Generator, bounds: CameraBounds, view_count: int) -> Iterator[_Aim]:
    """A walk past or towards the focus, heading and gaze swaying."""
    heading = bounds.heading + rng.normal(0, 0.3)
    step = bounds.distance * rng.uniform(0.03, 0.12)
    gaze = heading + rng.uniform(-1.2, 1.2)
    dip = rng.uniform(-0.3, 0.1)
    center = bounds.focus - bounds.distance * _heading(gaze) - step * view_count / 2 * _heading(heading)
    for number in range(view_count):
        heading += rng.normal(0, 0.08)
        center = center + step * _heading(heading, 0.15 * np.sin(1.3 * number))
        center = center.clip(bounds.low, bounds.high)
        sway = gaze + 0.12 * np.sin(0.6 * number) + rng.normal(0, 0.04)
        yield center, center + _heading(sway, dip + rng.normal(0, 0.03))


def _loose(rng: np.random.Generator, bounds: CameraBounds, view_count: int) -> Iterator[_Aim]:
    """Anywhere in a part of the bounds, looking roughly at the focus."""
    reach, away = rng.uniform(0.25, 0.8), rng.uniform(0, 2 * np.pi)
    middle = bounds.focus + bounds.distance * _heading(away, rng.uniform(0, 0.7))
    for _ in range(view_count):
        center = (middle + reach * bounds.distance * rng.uniform(-0.6, 0.6, 3)).clip(bounds.low, bounds.high)
        yield center, bounds.focus + rng.normal(0, 0.12 * bounds.distance, 3)


TRAJECTORIES: dict[str, Callable[[np.random.Generator, CameraBounds, int], Iterator[_Aim]]] = {
    "outside-in": _outside_in,
    "inside-out": _inside_out,
    "forward": _forward,
    "walk": _walk,
    "loose": _loose,
}
