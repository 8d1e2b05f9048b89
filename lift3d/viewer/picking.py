"""What a click meant: the first point, or the first camera's picture, along a ray of the page."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.viewer.raster import PageCamera, RasterPoints, projected, seen_points
from lift3d.viewer.transform import ViewerTransform, half_extent

# Tangents. The first is about seven pixels of a window 800 pixels high; what the eye takes for a hit.
_NEAR_ENOUGH, _HOPELESS = 0.01, 0.03
# A point is hit within a pixel or two, however small it is drawn.
_LEAST = 0.002
# Depths that differ by less than this share are of one surface.
_SAME_SURFACE = 0.04


def pick_point(
    xyz: Float[Tensor, "3 point"],
    origin: Float[Tensor, "3"],
    direction: Float[Tensor, "3"],
    radius: Float[Tensor, " point"] | None = None,
) -> tuple[int, float] | None:
    """Return the foremost point near a ray, and its distance along it in units of the points; None if none is near.

    A point is as wide as its ``radius``, so that nobody looks between two of a surface.
    """
    axes = _axes(direction).to(xyz)
    across, down, along = torch.addmm(-(axes @ origin.to(xyz))[:, None], axes, xyz)
    near = along.clamp(min=1e-9)
    tangent = across.square_().add_(down.square_()).sqrt_() / near
    tangent = torch.where(along > 0, tangent, torch.inf)
    if not len(tangent) or float(tangent.min()) > _HOPELESS:
        return None
    best = int(tangent.argmin())
    wide = torch.full_like(tangent, _NEAR_ENOUGH)
    if radius is not None:
        wide = wide.minimum((radius / near).clamp(min=_LEAST))
    is_near = tangent <= wide
    if bool(is_near.any()):
        foremost = float(along[is_near].min())
        # Of one surface, the point nearest to the ray.
        is_there = is_near & (along <= 1.03 * foremost)
        best = int(torch.where(is_there, tangent, torch.inf).argmin())
    return best, float(along[best])


def _axes(direction: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Return unit axes, rows, of which the last is a direction."""
    ahead = torch.nn.functional.normalize(direction.double(), dim=0)
    aside = torch.zeros(3, dtype=torch.float64)
    aside[ahead.abs().argmin()] = 1.0
    across = torch.nn.functional.normalize(torch.linalg.cross(ahead, aside), dim=0)
    return torch.stack([across, torch.linalg.cross(ahead, across), ahead])


def points_in_box(
    points: RasterPoints, camera: PageCamera, low: Sequence[float], high: Sequence[float]
) -> Int[Tensor, " chosen"]:
    """Return the points of the cloud that are seen in a rectangle of the window, and those just around them.

    Corners are shares of the window, from 0 to 1.
    """
    seen = seen_points(points, camera)
    rows = slice(int(low[1] * camera.height), max(1, math.ceil(high[1] * camera.height)))
    cols = slice(int(low[0] * camera.width), max(1, math.ceil(high[0] * camera.width)))
    near = seen.z_depth[rows, cols]
    u, v, z = projected(points.xyz, camera)
    col, row = u.floor().long() - cols.start, v.floor().long() - rows.start
    is_inside = (z > 0) & (col >= 0) & (row >= 0) & (col < near.shape[1]) & (row < near.shape[0])
    at = torch.nonzero(is_inside)[:, 0]
    # What a coarse picture shows stands for all points of the same surface.
    on_it = (z[at] / near[row[at], col[at]] - 1).abs() < _SAME_SURFACE
    return points.index[at[on_it]]


def pick_picture(
    cameras: Sequence[Camera],
    to_page: ViewerTransform,
    origin: Float[Tensor, "3"],
    direction: Float[Tensor, "3"],
    largest: float = math.inf,
) -> tuple[int, float] | None:
    """Return the camera whose picture a ray hits first, and the distance along the unit ray; None if it hits none.

    Of pictures that are larger than a tangent, as seen from the origin, none is hit: one looks through their outlines.
    """
    if not cameras:
        return None
    w2c = torch.stack([one.w2c for one in cameras])
    centers = to_page(torch.stack([one.center for one in cameras]))
    ray = (direction / direction.norm()).double()
    start = ((origin.double() - centers)[:, None] @ w2c[:, :3, :3].transpose(1, 2))[:, 0]
    heading = ray @ w2c[:, :3, :3].transpose(1, 2)
    along = (to_page.picture_distance - start[:, 2]) / heading[:, 2]
    at = start + along[:, None] * heading
    half = to_page.picture_distance * torch.tensor([half_extent(one) for one in cameras], dtype=torch.float64)
    is_hit = (along > 0) & torch.isfinite(along) & (at[:, :2].abs() <= half).all(1) & (half[:, 0] <= largest * along)
    if not bool(is_hit.any()):
        return None
    best = int(torch.where(is_hit, along, torch.inf).argmin())
    return best, float(along[best])
