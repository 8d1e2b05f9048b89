"""Scoring geometry from the depth of the target views themselves (ground truth or sensor).

Letters: a is the view whose points are asked about, b the view they are looked up in.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Frame
from lift3d.errors import ConfigError
from lift3d.geometry.projection import MIN_Z, transfer, unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import bilinear_corners, nearest_cells
from lift3d.metrics.counting import collect_observations, median_angles
from lift3d.metrics.protocol import Matches, Observations

# 2 % of the depth, the order of a depth sensor's error.
RELATIVE_TOLERANCE = 0.02
# Enough to tell a median angle to a fraction of a degree.
ANGLE_POINTS = 256
# With very many views those that give surface points give this many each.
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
        z_depth = self.z_depth[start::step, start::step].reshape(-1).double()
        is_known = torch.isfinite(z_depth)
        return uv[is_known], z_depth[is_known]

    def in_world(self, uv: Float[Tensor, "point 2"], z_depth: Float[Tensor, " point"]) -> Float[Tensor, "point 3"]:
        return transform(self.camera.c2w, unproject(uv, z_depth, self.camera.K))


class DepthSurface:
    """The surfaces that the target views' own depth maps show. Depth of invalid pixels is not used."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        # Of a frame nothing else is held.
        cameras, depths = zip(*((frame.camera, _known_depth(frame).reshape(-1)) for frame in frames), strict=True)
        # Of all views one after the other, so that many are asked at once: depth, world to pixels, sizes.
        self._depths = torch.cat(depths)
        self._to_pixels = torch.stack([camera.K @ camera.w2c[:3] for camera in cameras]).to(self._depths.device)
        self._sizes = torch.tensor([[camera.size.width, camera.size.height] for camera in cameras])
        areas = self._sizes.prod(1)
        self._offsets = areas.cumsum(0) - areas
        held = torch.split(self._depths, [camera.size.height * camera.size.width for camera in cameras])
        self._views = [
            _DepthView(camera, depth.view(camera.size.height, camera.size.width))
            for camera, depth in zip(cameras, held, strict=True)
        ]
        self.centers = torch.stack([camera.center for camera in cameras]).to(self._depths.device)

    @property
    def view_count(self) -> int:
        """How many target views there are."""
        return len(self._views)

    def sights(
        self, a: int, others: Int[Tensor, " view"], limit: int = ANGLE_POINTS
    ) -> tuple[Float[Tensor, "point 3"], Bool[Tensor, "view point"]]:
        """Return at most ``limit`` points of view a, evenly over it, and which of the other views see each."""
        xyz = self._views[a].in_world(*self._views[a].lattice(limit))
        return xyz, self._look_up(xyz, others)[1]

    def matches(self, a: int, b: int, limit: int) -> Matches:
        """Return at most ``limit`` pixels of a that b sees too, on an even lattice over a.

        ``uv_b_floor`` takes the depth of the same surface from b instead of a: the point of b's surface at
        uv_b has some depth z' in a, and the pixel of a is taken to b once more with z'. It equals uv_b where
        both depth maps agree, and moves along the epipolar line by as much as they disagree.
        """
        first, second = self._views[a], self._views[b]
        uv_a, z_a = first.lattice(limit)
        xyz = first.in_world(uv_a, z_a)
        (uv_b,), (is_seen,) = self._look_up(xyz, torch.tensor([b]))
        uv_a, uv_b = uv_a[is_seen], uv_b[is_seen]
        _, z_in_a = transfer(uv_b, _surface_depth(uv_b, second.z_depth), second.matrices, first.matrices)
        uv_b_floor, _ = transfer(uv_a, z_in_a, first.matrices, second.matrices)
        angle = median_angles(xyz, self.centers[a], self.centers[b, None], is_seen[None])
        return Matches(uv_a, uv_b, uv_b_floor, float(angle))

    def observations(self, limit: int) -> Observations:
        """Return lattice pixels of evenly chosen views, about ``limit`` in all, with every view that sees them."""
        count = self.view_count
        home_count = min(count, max(1, limit // MIN_POINTS_PER_VIEW))
        points, views, uvs, offset = [], [], [], 0
        for home in (number * count // home_count for number in range(home_count)):
            own, z_depth = self._views[home].lattice(max(MIN_POINTS_PER_VIEW, limit // count))
            uv, is_seen = self._look_up(self._views[home].in_world(own, z_depth), torch.arange(count))
            uv[home], is_seen[home] = own, True
            view, point = is_seen.nonzero().T
            points.append(offset + point)
            views.append(view)
            uvs.append(uv[is_seen])
            offset += len(own)
        return collect_observations(torch.cat(points), torch.cat(views), torch.cat(uvs))

    def _look_up(
        self, xyz: Float[Tensor, "point 3"], views: Int[Tensor, " view"]
    ) -> tuple[Float[Tensor, "view point 2"], Bool[Tensor, "view point"]]:
        """Project points of the world into views, and say where a view's own depth there is the point's.

        Depth is read at the nearest pixel, since it must not be interpolated over an edge.
        """
        to_pixels, size = self._to_pixels[views], self._sizes[views][:, None]
        uvz = xyz @ to_pixels[..., :3].transpose(-1, -2) + to_pixels[:, None, :, 3]
        z_depth = uvz[..., 2]
        uv = torch.where((z_depth > MIN_Z)[..., None], uvz[..., :2] / z_depth[..., None], torch.nan)
        is_inside = ((uv >= 0) & (uv <= size)).all(-1)
        # A pixel exactly on the far edge belongs to the last cell.
        col, row = torch.where(is_inside[..., None], torch.minimum(uv.floor(), size - 1), 0).long().unbind(-1)
        seen_z = self._depths[self._offsets[views, None] + row * size[..., 0] + col].double()
        return uv, is_inside & ((z_depth - seen_z).abs() < RELATIVE_TOLERANCE * z_depth)


def _known_depth(frame: Frame) -> Float[Tensor, "height width"]:
    if frame.z_depth is None:
        raise ConfigError("Scoring by depth needs depth in every target view. Score by tracks or not at all.")
    return torch.where(frame.is_valid, frame.z_depth, torch.nan)


def _surface_depth(uv: Float[Tensor, "point 2"], z_depth: Float[Tensor, "height width"]) -> Float[Tensor, " point"]:
    """Return depth between pixel centres: linear in 1/z (exact on planes), nearest pixel across an edge."""
    height, width = z_depth.shape
    depths = z_depth.reshape(-1)
    nearest = depths[nearest_cells(uv, height, width)].double()
    index, weight = bilinear_corners(uv, height, width)
    between = 1 / (weight / depths[index].double()).sum(-1)
    is_smooth = (between - nearest).abs() < RELATIVE_TOLERANCE * nearest
    return torch.where(is_smooth, between, nearest)
