"""What a click meant: the first point, or the first camera's picture, along a ray of the page."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.viewer.transform import ViewerTransform, half_extent

# Tangents. The first is about seven pixels of a window 800 pixels high; what the eye takes for a hit.
_NEAR_ENOUGH, _HOPELESS = 0.01, 0.03


def pick_point(
    points: Float[Tensor, "point 3"], origin: Float[Tensor, "3"], direction: Float[Tensor, "3"]
) -> tuple[int, float] | None:
    """Return the foremost point near a ray, and its distance along it in units of the points; None if none is near."""
    ray = direction / direction.norm()
    offset = points - origin
    along = offset @ ray
    tangent = (offset - along[:, None] * ray).norm(dim=1) / along.clamp(min=1e-9)
    tangent = torch.where(along > 0, tangent, torch.inf)
    if len(points) == 0 or float(tangent.min()) > _HOPELESS:
        return None
    best = int(tangent.argmin())
    if float(tangent[best]) <= _NEAR_ENOUGH:
        foremost = float(along[tangent <= _NEAR_ENOUGH].min())
        # Of one surface, the point nearest to the ray.
        is_there = (tangent <= _NEAR_ENOUGH) & (along <= 1.03 * foremost)
        best = int(torch.where(is_there, tangent, torch.inf).argmin())
    return best, float(along[best])


def pick_picture(
    cameras: Sequence[Camera], to_page: ViewerTransform, origin: Float[Tensor, "3"], direction: Float[Tensor, "3"]
) -> tuple[int, float] | None:
    """Return the camera whose picture a ray hits first, and the distance along the unit ray; None if it hits none."""
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
    is_hit = (along > 0) & torch.isfinite(along) & (at[:, :2].abs() <= half).all(1)
    if not bool(is_hit.any()):
        return None
    best = int(torch.where(is_hit, along, torch.inf).argmin())
    return best, float(along[best])
