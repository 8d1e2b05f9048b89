"""Scoring geometry from sparse points triangulated with the given poses, for scenes without depth."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Tracks, View
from lift3d.errors import ShapeError
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rays import baseline_angle
from lift3d.geometry.rigid import transform
from lift3d.metrics.counting import collect_observations, median_degrees
from lift3d.metrics.protocol import Matches, Observations


@dataclass(frozen=True, slots=True, eq=False)
class _TrackView:
    """What one target view observes: ``row_of_point`` is −1 for points it does not see."""

    camera: Camera
    point: Int[Tensor, " seen"]
    uv: Float[Tensor, "seen 2"]
    row_of_point: Int[Tensor, " point"]


class TrackSurface:
    """Tracked points at the target views: seen where they were observed, not where they merely project.

    Cameras of the target views are at the scored size; observations are in pixels of the views' own sizes.
    """

    def __init__(self, tracks: Tracks, views: Sequence[View], cameras: Sequence[Camera]) -> None:
        if len(views) != len(cameras):
            raise ShapeError(f"{len(views)} target views and {len(cameras)} cameras; expected one camera per view.")
        self._xyz = tracks.points.double()
        self._views = [_track_view(tracks, view, camera) for view, camera in zip(views, cameras, strict=True)]

    @property
    def view_count(self) -> int:
        """How many target views there are."""
        return len(self._views)

    def angle_deg(self, a: int, b: int) -> float:
        """Return the median baseline angle of what a and b both see, NaN if that is too little."""
        return self._median_angle(self._shared_points(a, b), a, b)

    def matches(self, a: int, b: int, limit: int) -> Matches:
        """Return at most ``limit`` points that both views observe.

        ``uv_b_floor`` is the reprojection of the triangulated point into b, whose distance from the
        observation is the error of poses and points.
        """
        first, second = self._views[a], self._views[b]
        shared = self._shared_points(a, b)
        floor, _ = project(transform(second.camera.w2c, self._xyz[shared]), second.camera.K)
        is_usable = is_inside(floor, second.camera.size.height, second.camera.size.width)
        shared, floor = _thin(shared[is_usable], limit), _thin(floor[is_usable], limit)
        uv_a = first.uv[first.row_of_point[shared]]
        uv_b = second.uv[second.row_of_point[shared]]
        return Matches(uv_a, uv_b, floor, self._median_angle(shared, a, b))

    def observations(self, limit: int) -> Observations:
        """Return at most ``limit`` points that several target views observe, with all their observations."""
        seen_count = torch.zeros(len(self._xyz), dtype=torch.long)
        for view in self._views:
            seen_count[view.point] += 1
        is_kept = torch.zeros(len(self._xyz), dtype=torch.bool)
        is_kept[_thin(torch.nonzero(seen_count >= 2)[:, 0], limit)] = True
        kept = [is_kept[view.point] for view in self._views]
        points = [view.point[mine] for view, mine in zip(self._views, kept, strict=True)]
        uvs = [view.uv[mine] for view, mine in zip(self._views, kept, strict=True)]
        return collect_observations(points, range(len(points)), uvs)

    def _shared_points(self, a: int, b: int) -> Int[Tensor, " shared"]:
        first, second = self._views[a], self._views[b]
        return first.point[second.row_of_point[first.point] >= 0]

    def _median_angle(self, point: Tensor, a: int, b: int) -> float:
        centers = self._views[a].camera.center, self._views[b].camera.center
        return median_degrees(baseline_angle(self._xyz[point], *centers))


def _track_view(tracks: Tracks, view: View, camera: Camera) -> _TrackView:
    scale = torch.tensor(
        [camera.size.width / view.camera.size.width, camera.size.height / view.camera.size.height],
        dtype=torch.float64,
    )
    position = tracks.view_ids.index(view.id) if view.id in tracks.view_ids else -1
    is_mine = tracks.view_index == position
    point, uv = tracks.point_index[is_mine].long(), tracks.uv[is_mine].double() * scale
    is_on_image = is_inside(uv, camera.size.height, camera.size.width)
    point, uv = point[is_on_image], uv[is_on_image]
    order = torch.argsort(point, stable=True)
    point, uv = point[order], uv[order]
    is_first = _is_first(point)
    point, uv = point[is_first], uv[is_first]
    row_of_point = torch.full((len(tracks.points),), -1, dtype=torch.long)
    row_of_point[point] = torch.arange(len(point))
    return _TrackView(camera, point, uv, row_of_point)


def _is_first(sorted_numbers: Int[Tensor, " seen"]) -> Bool[Tensor, " seen"]:
    """Mark the first of equal neighbours: a point observed twice in a view keeps its first observation."""
    is_first = torch.ones(len(sorted_numbers), dtype=torch.bool)
    is_first[1:] = sorted_numbers[1:] != sorted_numbers[:-1]
    return is_first


def _thin(values: Tensor, limit: int) -> Tensor:
    """Keep every nth entry so that at most ``limit`` are left."""
    return values[:: max(1, -(-len(values) // limit))]
