"""The scene as the page places it: its middle at the origin, of size 1, with up where the cameras have it.

Viewers keep sizes, clipping planes and the speed of the mouse in absolute numbers, and graphics cards compute in
float32: a scene in any units, anywhere in the world, is brought to one size first.

Letters: ``page`` coordinates are ``scale · (world − center)``; cameras keep OpenCV's axes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera

# Of the page's camera, vertical.
FIELD_OF_VIEW = math.radians(50)
# How far off a camera its picture stands, in page units: a share of the distance to the next camera, but large enough
# to be seen and clicked where cameras are frames of a video, and small enough to leave the scene free.
_PICTURE_OF_SPACING, _NEAREST_PICTURE, _FARTHEST_PICTURE = 0.6, 0.03, 0.2
# The fewer there are, the larger they may be: for this over the root of their number they overlap and still tell.
_NEAREST_OF_FEW = 0.3
# Of points and cameras; a few strays must not make all others small.
_MOST = 0.9
_FILLING, _NEAREST_EYE, _BEHIND = 0.6, 0.3, 2.2
# Looking down a little shows a scene's ground plan as well as its height.
_DOWN = math.radians(28)
# From which a sphere of radius 1 fills the window.
_DISTANCE = 1.05 / math.sin(FIELD_OF_VIEW / 2)


@dataclass(frozen=True, slots=True, eq=False)
class ViewerTransform:
    """A similarity from the world to the page, and where to look from, in page units.

    ``picture_distance`` is from a camera to its picture; the first look is from ``eye``, at the origin.
    """

    center: Float[Tensor, "3"]
    scale: float
    up: Float[Tensor, "3"]
    picture_distance: float
    eye: Float[Tensor, "3"]

    def __call__(self, world: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Return world points in the page's coordinates."""
        return self.scale * (world.double() - self.center)


def viewer_transform(
    points: Float[Tensor, "point 3"], cameras: Sequence[Camera], views: Int[Tensor, " point"] | None = None
) -> ViewerTransform:
    """Place a scene: nine in ten of its cameras, and of what they look at, lie within a sphere of radius 1.

    What they look at is what many of the views see: a point counts by the square of its ``views``, alike without them.
    """
    centers = torch.stack([one.center for one in cameras])
    seen = points.double() if len(points) else centers
    weight = torch.ones(len(seen)).double() if views is None or not len(points) else views.double().square()
    # torch.quantile takes 16 million values at most, and a tenth of a million tells the same.
    step = max(1, len(seen) // 100_000)
    seen, weight = seen[::step], weight[::step]
    center = torch.stack([_quantile(one, weight, 0.5) for one in seen.T])
    apart = (seen - center).norm(dim=1)
    reach = _quantile(apart, weight, _MOST)
    radius = max(reach, torch.quantile((centers - center).norm(dim=1), _MOST))
    up = _up_of(cameras)
    scale = 1.0 / (float(radius) or 1.0)
    # From behind the cameras most of what they look at fills the window; what lies around may be cut off.
    filling = float(_quantile(apart, weight, _FILLING)) * scale
    behind = _BEHIND * float((centers - center).norm(dim=1).median()) * scale / _DISTANCE
    eye = max(filling, behind, _NEAREST_EYE) * _eye(cameras, up)
    return ViewerTransform(center, scale, up, _picture_distance(centers, scale), eye)


def _quantile(values: Float[Tensor, " value"], weight: Float[Tensor, " value"], share: float) -> Float[Tensor, ""]:
    """Return the value below which there is such a share of the weight; halfway between two if it is both."""
    ordered, order = values.sort()
    total = weight[order].cumsum(0)
    wanted = share * total[-1]
    low, high = (torch.searchsorted(total, wanted, right=right).clamp(max=len(total) - 1) for right in (False, True))
    middle: Tensor = (ordered[low] + ordered[high]) / 2
    return middle


def half_extent(camera: Camera) -> tuple[float, float]:
    """Return half the width and height of a camera's picture at distance 1; the principal point taken as its middle."""
    return camera.size.width / 2 / float(camera.K[0, 0]), camera.size.height / 2 / float(camera.K[1, 1])


def _up_of(cameras: Sequence[Camera]) -> Float[Tensor, "3"]:
    """Return the mean of the cameras' own up; of cameras that look every way, the first one's."""
    ups = torch.stack([-one.c2w[:3, 1] for one in cameras])
    mean = ups.mean(0)
    chosen: Tensor = mean if float(mean.norm()) > 0.2 else ups[0]
    unit: Tensor = chosen / chosen.norm()
    return unit


def _eye(cameras: Sequence[Camera], up: Tensor) -> Float[Tensor, "3"]:
    """Return a place behind the middle camera, raised, from which the sphere of radius 1 fills the window."""
    forward = cameras[len(cameras) // 2].c2w[:3, 2]
    level = forward - (forward @ up) * up
    if float(level.norm()) < 1e-3:  # it looks straight down or up
        level = cameras[len(cameras) // 2].c2w[:3, 0]
        level = level - (level @ up) * up
    eye: Tensor = _DISTANCE * (math.sin(_DOWN) * up - math.cos(_DOWN) * level / level.norm())
    return eye


def _picture_distance(centers: Float[Tensor, "camera 3"], scale: float) -> float:
    """Return how far pictures stand off: as large as they can be without hiding each other or the scene."""
    if len(centers) < 2:
        return _FARTHEST_PICTURE
    apart = torch.cdist(centers, centers)
    apart.fill_diagonal_(torch.inf)
    spacing = float(np.median(apart.min(dim=1).values.numpy())) * scale
    least = max(_NEAREST_PICTURE, _NEAREST_OF_FEW / math.sqrt(len(centers)))
    return min(_FARTHEST_PICTURE, max(least, _PICTURE_OF_SPACING * spacing))
