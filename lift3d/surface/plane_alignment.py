"""How well the photographs of other views agree with planes, and the plane near another with which they agree best.

One cell without texture tells no depth. All cells of a wall together do: light falls off along it, and it has an
outline. Letters: differences are colours that other views show of a place less those that a view itself shows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import read_planes
from lift3d.surface.planes import Plane

# A difference of colours, in [0, 1], that is none at all.
TRUNCATION = 0.03
# A plane is moved by hundredths of its distance, and tilted by as much at half of its extent; how far it is sought
# along its normal, in those, and in how many steps.
_STEP, _SPAN, _OFFSETS = 0.01, 10.0, 21
# Times that the scale of differences is found anew, and steps of each; the least scale and the largest.
_STAGES, _STEPS, _SCALES = 4, 8, (3e-4, 0.02)
# By how much a derivative steps, the longest step, both in hundredths; and a gain too small to go on.
_DERIVATIVE, _LONGEST, _LEAST_GAIN = 0.2, 6.0, 1e-3
# Damping at which no step helps; share of the differences that must be seen for their mean to count.
_MOST_DAMPING, _FEWEST_SEEN = 30.0, 0.2
# Exposures are compared at so many cells at least, that are not darker than this; they are the same if they differ by
# less than is told of them, and differ by a factor at most.
_FEWEST_SURE, _DARKEST, _LEAST_CHANGE, _MOST_GAIN = 100, 0.05, 0.02, 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A view as planes are compared in it.

    Attributes:
        camera: Of the view, at the size that is lifted.
        grid: Its cells.
        color: Mean colour of each cell; NaN where any pixel is invalid.
        z_depth: As far as it is known, world units.
        is_sure: Whether it is sure there.
        partners: Places, among all views, of those that it is compared with.
    """

    camera: Camera
    grid: FeatureGrid
    color: Float[Tensor, "3 row col"]
    z_depth: Float[Tensor, "row col"]
    is_sure: Bool[Tensor, "row col"]
    partners: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Places of a view, with the sweeps of its partners through them, and what those show as this view is exposed."""

    camera: Camera
    uv: Float[Tensor, "row col 2"]
    color: Float[Tensor, "3 row col"]
    sweeps: Sequence[Sweep]
    shown: Sequence[Float[Tensor, "3 other_row other_col"]]

    @classmethod
    def of(cls, photos: Sequence[Photo], own: int) -> "Places":
        """Return all cells of a view."""
        photo, others = photos[own], [photos[place] for place in photos[own].partners]
        uv = cell_centers(*photo.grid.lattice).to(photo.color)
        sweeps = Sweep.through(uv, photo.camera, [one.camera for one in others])
        known = torch.where(photo.is_sure, 1 / photo.z_depth, torch.nan)[None]
        shown = [one.color / _exposure(photo, one, sweep, known) for one, sweep in zip(others, sweeps, strict=True)]
        return cls(photo.camera, uv, photo.color, sweeps, shown)

    def at(self, cells: Int[Tensor, " cell"]) -> "Places":
        """Return some of the places, by their row-major index, as one row."""
        sweeps = [Sweep(one.start.flatten(1)[:, None, cells], one.step) for one in self.sweeps]
        uv, color = self.uv.reshape(1, -1, 2)[:, cells], self.color.flatten(1)[:, None, cells]
        return Places(self.camera, uv, color, sweeps, self.shown)

    def differences(self, disparity: Float[Tensor, "plane row col"]) -> Float[Tensor, "partner 3 plane row col"]:
        """Return differences at surfaces of some disparity; NaN where a partner does not see it, or there is none."""
        found = []
        for sweep, color in zip(self.sweeps, self.shown, strict=True):
            at, _ = sweep.at(disparity)
            is_seen = (at.abs() < 1).all(-1) & (disparity > 0)
            found.append(torch.where(is_seen, read_planes(color, at) - self.color[:, None], torch.nan))
        return torch.stack(found)

    def cost(self, disparity: Float[Tensor, "plane row col"]) -> Float[Tensor, "plane row col"]:
        """Return the mean truncated difference of the better half of the partners; truncated where none sees it.

        The other half may be hidden from what is seen here (Kang, Szeliski & Chai, CVPR 2001, §3).
        """
        off = self.differences(disparity).abs().mean(1).clamp(max=TRUNCATION)
        # NaN is sorted last.
        ranked, seen = off.sort(0).values, torch.isfinite(off).sum(0)
        half = (seen + 1) // 2
        rank = torch.arange(len(off)).reshape(-1, 1, 1, 1).to(half)
        total = torch.where(rank < half, ranked, 0.0).sum(0)
        return torch.where(seen > 0, total / half.clamp(min=1), TRUNCATION)


def aligned(plane: Plane, places: Sequence[Places], is_new: bool) -> Plane:
    """Return the plane near one with which photographs agree best, at places that may lie on it.

    A new one is sought along its normal first. Gauss-Newton on Geman and McClure's function of the differences, whose
    scale falls with them: first outlines count, then light alone.

    Source:
        Lucas & Kanade, IJCAI 1981, on the homographies of a plane; Geman & McClure, 1985.
    """
    problem = _Problem.of(plane, places)
    if problem is None:
        return plane
    at = problem.sought() if is_new else np.zeros(3)
    for _ in range(_STAGES):
        at = problem.descended(at)
    return problem.plane(at)


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """A plane, moved and tilted by hundredths (``unit``) about a point on it, and the places where it is compared."""

    start: Plane
    places: Sequence[Places]
    center: Float64[ndarray, "3"]
    unit: Float64[ndarray, "3"]

    @classmethod
    def of(cls, start: Plane, places: Sequence[Places]) -> "_Problem | None":
        """Return None if the plane is met at none of the places."""
        every, distances = [np.zeros((0, 3))], []
        for one in places:
            disparity = start.disparity(one.camera, one.uv).flatten().double().cpu()
            rays = directions_z1(one.uv.reshape(-1, 2).double().cpu(), one.camera.K)[disparity > 0]
            every.append(transform(one.camera.c2w, rays / disparity[disparity > 0, None]).numpy())
            distances.append(abs(float(start.normal @ one.camera.center.numpy()) - start.offset))
        met = np.concatenate(every)
        if not len(met):
            return None
        center = np.median(met, axis=0)
        step = _STEP * float(np.median(distances))
        tilt = step / max(float(np.median(np.linalg.norm(met - center, axis=1))), 1e-12)
        return cls(start, places, center, np.array([step, tilt, tilt]))

    def plane(self, at: Float64[ndarray, "3"]) -> Plane:
        """Return the plane at so many hundredths."""
        return self.start.moved(self.center, at * self.unit)

    def differences(self, at: Float64[ndarray, "3"]) -> Float[Tensor, " difference"]:
        """Return all differences there; NaN where none is seen."""
        plane = self.plane(at)
        found = [one.differences(plane.disparity(one.camera, one.uv)[None]).flatten() for one in self.places]
        return torch.cat(found).double()

    def sought(self) -> Float64[ndarray, "3"]:
        """Return where along the normal the truncated differences are least."""
        offsets = [np.array([offset, 0.0, 0.0]) for offset in np.linspace(-_SPAN, _SPAN, _OFFSETS)]
        costs = [_mean(self.differences(one).abs().clamp(max=TRUNCATION)) for one in offsets]
        # Of equals the nearest.
        return min(zip(costs, offsets, strict=True), key=lambda pair: (pair[0], abs(pair[1][0])))[1]

    def descended(self, at: Float64[ndarray, "3"]) -> Float64[ndarray, "3"]:
        """Return where differences are least from here, by the scale that they have here."""
        here = self.differences(at)
        scale = float((1.5 * here.abs().nanmedian()).clamp(*_SCALES))
        cost, damping = _robust(here, scale), 1e-4
        for _ in range(_STEPS):
            slopes = torch.stack(
                [(self.differences(at + step) - here) / _DERIVATIVE for step in _DERIVATIVE * np.eye(3)]
            )
            is_seen = torch.isfinite(here) & torch.isfinite(slopes).all(0)
            off, slope = here[is_seen], slopes[:, is_seen]
            weighted = slope * (scale**2 / (off**2 + scale**2)) ** 2
            normal, gradient = (weighted @ slope.T).numpy(force=True), (weighted @ off).numpy(force=True)
            gain = 0.0
            while damping < _MOST_DAMPING:
                damped = normal + damping * np.diag(np.diag(normal)) + 1e-12 * np.eye(3)
                step = at - np.linalg.solve(damped, gradient).clip(-_LONGEST, _LONGEST)
                there = self.differences(step)
                gain = cost - _robust(there, scale)
                if gain > 0:
                    at, here, cost, damping = step, there, cost - gain, damping / 4
                    break
                damping = 8 * max(damping, 1e-3)
            if gain < _LEAST_GAIN * cost:
                break
        return at


def _exposure(
    photo: Photo, other: Photo, sweep: Sweep, disparity: Float[Tensor, "1 row col"]
) -> Float[Tensor, "3 1 1"]:
    """Return how many times brighter each channel of another photograph is, where depth is sure; 1 if few see it."""
    at, _ = sweep.at(disparity.nan_to_num(0.0))
    is_seen = (at.abs() < 1).all(-1) & (disparity > 0) & (photo.color > _DARKEST).all(0)
    ratio = torch.where(is_seen[0], read_planes(other.color, at)[:, 0] / photo.color, torch.nan).flatten(1)
    is_told = torch.isfinite(ratio).sum(1) > _FEWEST_SURE
    gain = torch.where(is_told, ratio.nanmedian(1).values, 1.0).clamp(1 / _MOST_GAIN, _MOST_GAIN)
    return torch.where((gain - 1).abs() > _LEAST_CHANGE, gain, 1.0)[:, None, None]


def _mean(values: Float[Tensor, " difference"]) -> float:
    """Return the mean of what is seen; infinity if that is little."""
    is_seen = torch.isfinite(values)
    return float(values[is_seen].mean()) if float(is_seen.double().mean()) > _FEWEST_SEEN else math.inf


def _robust(values: Float[Tensor, " difference"], scale: float) -> float:
    return _mean(values**2 / (values**2 + scale**2))
