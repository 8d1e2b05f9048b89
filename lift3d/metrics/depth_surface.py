"""Scoring geometry from the depth of the target views themselves (ground truth or sensor).

Letters: a is the view whose points are asked about, b the view they are looked up in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Frame
from lift3d.errors import ConfigError
from lift3d.geometry.projection import transfer, unproject
from lift3d.geometry.rays import baseline_angle, cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import bilinear_corners, nearest_cells
from lift3d.geometry.visibility import agrees_with_depth
from lift3d.metrics.counting import collect_observations, median_degrees
from lift3d.metrics.protocol import Matches, Observations

# 2 % of the depth, the order of a depth sensor's error.
RELATIVE_TOLERANCE = 0.02
# Enough to tell a median angle to a fraction of a degree, few enough to ask for every pair of a scene.
ANGLE_POINTS = 256
# With very many views each still contributes this many surface points.
MIN_POINTS_PER_VIEW = 16


@dataclass(frozen=True, slots=True, eq=False)
class _DepthView:
    camera: Camera
    z_depth: Float[Tensor, "height width"]

    @property
    def matrices(self) -> tuple[Tensor, Tensor]:
        return self.camera.K, self.camera.w2c

    def lattice(self, limit: int) -> tuple[Float[Tensor, "point 2"], Float[Tensor, " point"]]:
        """Return at most ``limit`` pixel centres with known depth, evenly spaced, and their depth."""
        height, width = self.z_depth.shape
        step = max(1, math.ceil(math.sqrt(height * width / limit)))
        start = step // 2
        uv = cell_centers(height, width).double()[start::step, start::step].reshape(-1, 2)
        z_depth = self.z_depth[start::step, start::step].reshape(-1)
        is_known = torch.isfinite(z_depth)
        return uv[is_known], z_depth[is_known]


class DepthSurface:
    """The surfaces that the target views' own depth maps show. Depth of invalid pixels is not used."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._views = [_depth_view(frame) for frame in frames]

    @property
    def view_count(self) -> int:
        """How many target views there are."""
        return len(self._views)

    def angle_deg(self, a: int, b: int) -> float:
        """Return the median baseline angle of what a and b both see, NaN if that is too little."""
        return self.matches(a, b, ANGLE_POINTS).angle_deg

    def matches(self, a: int, b: int, limit: int) -> Matches:
        """Return at most ``limit`` pixels of a that b sees too, on an even lattice over a.

        ``uv_b_floor`` takes the depth of the same surface from b instead of a: the point of b's surface at
        uv_b has some depth z' in a, and the pixel of a is taken to b once more with z'. It equals uv_b where
        both depth maps agree, and moves along the epipolar line by as much as they disagree.
        """
        first, second = self._views[a], self._views[b]
        uv_a, z_a = first.lattice(limit)
        uv_b, is_seen = _look_up(uv_a, z_a, first, second)
        uv_a, z_a, uv_b = uv_a[is_seen], z_a[is_seen], uv_b[is_seen]
        _, z_in_a = transfer(uv_b, _surface_depth(uv_b, second.z_depth), second.matrices, first.matrices)
        uv_b_floor, _ = transfer(uv_a, z_in_a, first.matrices, second.matrices)
        return Matches(uv_a, uv_b, uv_b_floor, _median_angle(uv_a, z_a, first, second))

    def observations(self, limit: int) -> Observations:
        """Return lattice pixels of every view, about ``limit`` in all, with every view that sees them."""
        per_view = max(MIN_POINTS_PER_VIEW, limit // max(1, self.view_count))
        points, views, uvs, offset = [], [], [], 0
        for home, first in enumerate(self._views):
            uv, z_depth = first.lattice(per_view)
            number = offset + torch.arange(len(uv))
            offset += len(uv)
            for index, second in enumerate(self._views):
                if index == home:
                    found, is_seen = uv, torch.ones(len(uv), dtype=torch.bool)
                else:
                    found, is_seen = _look_up(uv, z_depth, first, second)
                points.append(number[is_seen])
                views.append(index)
                uvs.append(found[is_seen])
        return collect_observations(points, views, uvs)


def _depth_view(frame: Frame) -> _DepthView:
    if frame.z_depth is None:
        raise ConfigError("Scoring by depth needs depth in every target view. Score by tracks or not at all.")
    return _DepthView(frame.camera, torch.where(frame.is_valid, frame.z_depth.double(), torch.nan))


def _look_up(
    uv: Float[Tensor, "point 2"], z_depth: Float[Tensor, " point"], a: _DepthView, b: _DepthView
) -> tuple[Float[Tensor, "point 2"], Bool[Tensor, " point"]]:
    uv_b, z_b = transfer(uv, z_depth, a.matrices, b.matrices)
    return uv_b, agrees_with_depth(uv_b, z_b, b.z_depth, RELATIVE_TOLERANCE)


def _surface_depth(uv: Float[Tensor, "point 2"], z_depth: Float[Tensor, "height width"]) -> Float[Tensor, " point"]:
    """Return depth between pixel centres: linear in 1/z (exact on planes), nearest pixel across an edge."""
    height, width = z_depth.shape
    nearest = z_depth.reshape(-1)[nearest_cells(uv, height, width)]
    index, weight = bilinear_corners(uv, height, width)
    between = 1 / (weight / z_depth.reshape(-1)[index]).sum(-1)
    is_smooth = (between - nearest).abs() < RELATIVE_TOLERANCE * nearest
    return torch.where(is_smooth, between, nearest)


def _median_angle(uv: Tensor, z_depth: Tensor, a: _DepthView, b: _DepthView) -> float:
    xyz_world = transform(a.camera.c2w, unproject(uv, z_depth, a.camera.K))
    return median_degrees(baseline_angle(xyz_world, a.camera.center, b.camera.center))
