"""Which views to lift from: pure planning on cameras, nothing is loaded.

Letters: a probe is a point of the target's frustum; the cost of a view is how differently it sees the probes.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.domain.scene import DepthRange
from lift3d.errors import NoOverlapError
from lift3d.geometry.projection import project, unproject
from lift3d.geometry.rays import baseline_angle
from lift3d.geometry.rigid import transform

# Probes: a 3×3 pattern over the image at three depths, spaced evenly in log z, where surfaces are likely.
_IMAGE_FRACTIONS = (1 / 6, 1 / 2, 5 / 6)
_DEPTH_FRACTIONS = (1 / 4, 1 / 2, 3 / 4)
# Own choice: an angle of 30° costs as much as not seeing the probe at all, since shading and occlusion then differ.
_WORST_ANGLE = math.radians(30)
# Share of the (k+1)-th cost over which the weights of the last sources fade out.
_FADE = 0.25
# Tapers stay positive; a jump of a thousandth at a change of the set cannot be seen.
_MIN_TAPER = 1e-3
# Candidates of which costs are computed at first, per source, and how many times as many while that is not enough.
_FIRST_ASKED, _ASKED_MORE = 4, 4
# More than costs are rounded by.
_ROUNDED = 1e-6
# Cameras whose costs are computed together: a few megabytes of memory.
_AT_ONCE = 1024


def select_sources(
    target: Camera, candidates: Sequence[tuple[ViewId, Camera]], count: int, depth_range: DepthRange
) -> list[tuple[ViewId, float]]:
    """Choose the views that see most nearly what the target sees; return ids and tapers in (0, 1], nearest first.

    The order of candidates, rigid motion of the world and its scale do not matter. Tapers fade to zero at the cost of
    the first view left out, so that weights are continuous when the set of sources changes. Whoever holds the target
    out leaves it out of the candidates; ``depth_range`` is z-depth in the target. NoOverlapError if there is no
    candidate.
    """
    if not candidates:
        raise NoOverlapError("There is no candidate view to lift from; a target needs at least one other view.")
    costs = view_costs(target, [camera for _, camera in candidates], depth_range).tolist()
    ranked = sorted(zip(costs, (view for view, _ in candidates), strict=True))
    chosen, left_out = ranked[:count], ranked[count:]
    if not left_out:
        return [(view, 1.0) for _, view in chosen]
    horizon = left_out[0][0]
    return [(view, _taper(cost, horizon)) for cost, view in chosen]


class Candidates:
    """Views that may be sources of many targets: of thousands, costs are computed of those that stand near alone."""

    def __init__(self, views: Sequence[tuple[ViewId, Camera]]) -> None:
        self._views = views
        self._centers = torch.stack([camera.center for _, camera in views])

    def near(
        self, target: Camera, count: int, depth_range: DepthRange, left_out: int | None = None
    ) -> list[tuple[ViewId, Camera]]:
        """Return candidates, but for one, among which are the ``count`` of least cost and the one after them.

        A camera at the distance d from the target's, of which a probe is D away, differs by |log z| or more, where
        z − 1 is d/D in the plane of the three; so by log(1 + d/D).
        """
        distance = (self._centers - target.center).norm(dim=1)
        total = len(distance) - (left_out is not None)
        if left_out is not None:
            distance[left_out] = math.inf
        probe_distance = (_probes(target, depth_range) - target.center).norm(dim=1)
        asked = _FIRST_ASKED * (count + 1)
        while asked < total:
            near, place = distance.topk(asked, largest=False)
            found = [self._views[one] for one in place.tolist()]
            costs = view_costs(target, [camera for _, camera in found], depth_range)
            if float((near[-1] / probe_distance).log1p().mean()) > float(costs.kthvalue(count + 1).values) + _ROUNDED:
                return found
            asked *= _ASKED_MORE
        return [view for place, view in enumerate(self._views) if place != left_out]


def view_costs(target: Camera, cameras: Sequence[Camera], depth_range: DepthRange) -> Float[Tensor, " view"]:
    """Return how differently each camera sees the target's frustum: 0 for the target itself, continuous.

    Mean over probes of three terms: angle between the rays of the two cameras (as a share of 30°), log ratio of
    the two distances, and how far outside the image the probe falls (as a share of the image, at most 1).
    """
    probes, target_center = _probes(target, depth_range), target.center
    distance = (probes - target_center).norm(dim=-1)

    def cost(w2c: Float[Tensor, "4 4"], K: Float[Tensor, "3 3"], extent: Float[Tensor, "2"]) -> Float[Tensor, ""]:
        center = -w2c[:3, :3].T @ w2c[:3, 3]
        angle = baseline_angle(probes, target_center, center) / _WORST_ANGLE
        scale = ((probes - center).norm(dim=-1).clamp(min=1e-9 * depth_range.near) / distance).log().abs()
        terms: Tensor = angle + scale + _outside(probes, w2c, K, extent)
        return terms.mean()

    costs_of: Callable[..., Tensor] = torch.vmap(cost)
    costs = []
    for start in range(0, len(cameras), _AT_ONCE):
        some = cameras[start : start + _AT_ONCE]
        extents = [[camera.size.width, camera.size.height] for camera in some]
        stacks = [torch.stack([camera.w2c for camera in some]), torch.stack([camera.K for camera in some])]
        costs.append(costs_of(*stacks, target.K.new_tensor(extents)))
    # Costs that differ by rounding alone are equal: ties then go by id in every frame of reference.
    return torch.cat(costs).round(decimals=9)


def nearest_first(target: Camera, cameras: Sequence[Camera], depth_range: DepthRange) -> list[int]:
    """Return the places of cameras by their cost; those that cost the same stay in their order."""
    costs = view_costs(target, cameras, depth_range).tolist() if cameras else []
    return sorted(range(len(cameras)), key=lambda place: costs[place])


def _probes(target: Camera, depth_range: DepthRange) -> Float[Tensor, "probe 3"]:
    fractions = target.K.new_tensor(_IMAGE_FRACTIONS)
    u, v = target.size.width * fractions, target.size.height * fractions
    span = math.log(depth_range.far / depth_range.near)
    z = depth_range.near * (span * target.K.new_tensor(_DEPTH_FRACTIONS)).exp()
    grid = torch.cartesian_prod(u, v, z)
    return transform(target.c2w, unproject(grid[:, :2], grid[:, 2], target.K))


def _outside(
    probes: Float[Tensor, "probe 3"],
    w2c: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    extent: Float[Tensor, "2"],
) -> Float[Tensor, " probe"]:
    """Return how far outside the image probes fall, as a share of its size: at most 1, which is behind, too."""
    uv, is_in_front = project(transform(w2c, probes), K)
    share = uv / extent
    excess = torch.maximum(-share, share - 1).amax(-1).clamp(0, 1)
    return torch.where(is_in_front, excess, torch.ones_like(excess))


def _taper(cost: float, horizon: float) -> float:
    if horizon <= 0:
        return 1.0
    ramp = min(1.0, (horizon - cost) / (_FADE * horizon))
    return max(_MIN_TAPER, ramp * ramp * (3 - 2 * ramp))
