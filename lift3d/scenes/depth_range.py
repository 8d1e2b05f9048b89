"""Nearest and farthest depth of a scene, from the best evidence its files hold."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import DepthRange, View
from lift3d.errors import ImageError
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rigid import transform
from lift3d.scenes.array_frame import ArrayFrame
from lift3d.scenes.file_frame import FileFrame

_PERCENTILES = (1.0, 99.0)
# Points are sparse and percentiles cut, so the surface goes on a little on both sides.
_MARGIN = 1.25
_MIN_POINTS_PER_VIEW = 20
_DEPTH_VIEWS = 8
_DEPTH_HEIGHT = 120
# Without geometry: what a view sees is between these multiples of its distance to the common focus. Captures
# walk around something with room behind it; planes are even in inverse depth, where the far end costs little.
_NEAR_OF_FOCUS, _FAR_OF_FOCUS = 0.3, 8.0
# Views that look in parallel have no focus: then multiples of how far the cameras are spread; beyond the far
# one, the whole baseline is a hundredth of the depth.
_NEAR_OF_SPREAD, _FAR_OF_SPREAD = 0.5, 50.0


def estimate_depth_range(views: Sequence[View], points: Float[Tensor, "point 3"] | None) -> tuple[DepthRange, str]:
    """Return the range and a sentence that says where it comes from.

    Points that the cameras see come first, then depth maps of a few views, then the cameras alone.
    """
    if points is not None:
        found = _of_points([view.camera for view in views], points)
        if found is not None:
            return found, "The depth range comes from the sparse points."
    found = _of_depth_maps(views)
    if found is not None:
        return found, "The depth range comes from the depth maps."
    return depth_range_of_cameras([view.camera for view in views])


def _of_points(cameras: Sequence[Camera], points: Tensor) -> DepthRange | None:
    spans = []
    for camera in cameras:
        xyz = transform(camera.w2c, points.to(torch.float64))
        uv, is_in_front = project(xyz, camera.K)
        z = xyz[is_in_front & is_inside(uv, camera.size.height, camera.size.width), 2]
        if len(z) >= _MIN_POINTS_PER_VIEW:
            spans.append(np.percentile(z.numpy(), _PERCENTILES))
    return _widened(spans)


def _of_depth_maps(views: Sequence[View]) -> DepthRange | None:
    sources = [(view, view.source) for view in views if isinstance(view.source, FileFrame | ArrayFrame)]
    with_depth = [(view, source) for view, source in sources if source.has_depth]
    step = max(1, len(with_depth) // _DEPTH_VIEWS)
    spans = []
    for view, source in with_depth[::step][:_DEPTH_VIEWS]:
        size = view.camera.size.with_height(min(_DEPTH_HEIGHT, view.camera.size.height))
        # A map that does not decode fails its own view when that is loaded, and not the scene.
        with suppress(ImageError):
            z = source.load_depth(view.camera, size)
            known = z[torch.isfinite(z)] if z is not None else torch.empty(0)
            if len(known) >= _MIN_POINTS_PER_VIEW:
                spans.append(np.percentile(known.numpy(), _PERCENTILES))
    return _widened(spans)


def _widened(spans: Sequence[np.ndarray]) -> DepthRange | None:
    if not spans:
        return None
    near, far = min(float(span[0]) for span in spans), max(float(span[1]) for span in spans)
    return DepthRange(near / _MARGIN, far * _MARGIN) if near > 0 else None


def depth_range_of_cameras(cameras: Sequence[Camera]) -> tuple[DepthRange, str]:
    """Guess from where the optical axes meet, or from the spread of the centres where they do not."""
    # One after the other: ten thousand small tensors at once are megabytes.
    centers, axes = torch.empty(2, len(cameras), 3, dtype=torch.float64).unbind()
    for number, camera in enumerate(cameras):
        centers[number], axes[number] = camera.center, camera.w2c[2, :3]
    spread = float((centers - centers.mean(0)).norm(dim=-1).max())
    focus = _nearest_point_to_lines(centers, axes)
    if focus is not None:
        distance = ((focus - centers) * axes).sum(-1)
        # A focus behind many cameras means that they look outwards, so that the axes meet where nothing is.
        if float((distance > 1e-3 * max(spread, 1e-12)).double().mean()) > 0.9:
            ahead = distance[distance > 0]
            near = float(torch.quantile(ahead, 0.05)) * _NEAR_OF_FOCUS
            far = float(torch.quantile(ahead, 0.95)) * _FAR_OF_FOCUS
            return DepthRange(near, far), "The depth range is a guess from where the cameras' axes meet."
    if spread > 0:
        guess = DepthRange(_NEAR_OF_SPREAD * spread, _FAR_OF_SPREAD * spread)
        return guess, "The depth range is a guess from the distance between the cameras."
    return DepthRange(0.1, 100.0), "The depth range is 0.1 to 100 world units: the files say nothing about it."


def _nearest_point_to_lines(
    origins: Float[Tensor, "line 3"], directions: Float[Tensor, "line 3"]
) -> Float[Tensor, "3"] | None:
    """Return the point with the least squared distance to all lines; None where the lines are near parallel.

    Source:
        Normal equations of point-to-line distance, Σ(I − ddᵀ) p = Σ(I − ddᵀ) o.
    """
    across = torch.eye(3, dtype=origins.dtype) - directions[:, :, None] * directions[:, None, :]
    normal = across.mean(0)
    # The smallest eigenvalue is the mean squared sine of the lines to their common direction: 2.5 degrees.
    if float(torch.linalg.eigvalsh(normal)[0]) < 2e-3:
        return None
    focus: Tensor = torch.linalg.solve(normal, (across @ origins[:, :, None]).mean(0))[:, 0]
    return focus
