"""Scoring geometry from sparse points triangulated with the given poses, for scenes without depth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Tracks, View
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rigid import transform
from lift3d.metrics.counting import collect_observations, evenly, median_angles, rows_of_views
from lift3d.metrics.protocol import Matches, Observations


@dataclass(frozen=True, slots=True, eq=False)
class _TrackView:
    """What one target view observes: points in ascending order, each once."""

    camera: Camera
    point: Int[Tensor, " seen"]
    uv: Float[Tensor, "seen 2"]

    def uv_of(self, points: Int[Tensor, " some"]) -> Float[Tensor, "some 2"]:
        """Return where points are observed, each of which must be."""
        return self.uv[torch.searchsorted(self.point, points)]


class TrackSurface:
    """Tracked points at the target views: seen where they were observed, not where they merely project.

    Cameras of the target views are at the scored size; observations are in pixels of the views' own sizes.
    """

    def __init__(self, tracks: Tracks, views: Sequence[View], cameras: Sequence[Camera]) -> None:
        self._xyz = tracks.points.double()
        position = {view_id: index for index, view_id in enumerate(tracks.view_ids)}
        by_view = rows_of_views(tracks.view_index.long(), len(position))
        none = torch.zeros(0, dtype=torch.long)
        self._views = [
            _track_view(tracks, by_view[position[view.id]] if view.id in position else none, view, camera)
            for view, camera in zip(views, cameras, strict=True)
        ]
        self.centers = torch.stack([camera.center for camera in cameras])
        counts = [len(view.point) for view in self._views]
        ends = np.cumsum([0, *counts])
        columns = torch.cat([view.point for view in self._views]).numpy()
        from scipy import sparse  # A scene is planned without it.

        # Views by points; dense it would be most of the memory of a long capture.
        seen = sparse.csr_array((np.ones(len(columns), np.int8), columns, ends), (len(counts), len(self._xyz)))
        self._views_of_points = sparse.csc_array(seen)

    @property
    def view_count(self) -> int:
        """How many target views there are."""
        return len(self._views)

    def sights(
        self, a: int, others: Int[Tensor, " view"], limit: int | None = None
    ) -> tuple[Float[Tensor, "point 3"], Bool[Tensor, "view point"]]:
        """Return the points that view a observes, at most ``limit``, and which of the other views observe each."""
        point = self._views[a].point if limit is None else evenly(self._views[a].point, limit)
        seen = self._views_of_points[:, point.numpy()].tocsr()[others.numpy()]
        return self._xyz[point], torch.from_numpy(seen.toarray() > 0)

    def matches(self, a: int, b: int, limit: int) -> Matches:
        """Return at most ``limit`` points that both views observe.

        ``uv_b_floor`` is the reprojection of the triangulated point into b, whose distance from the
        observation is the error of poses and points.
        """
        first, second = self._views[a], self._views[b]
        shared = first.point[torch.isin(first.point, second.point)]
        floor, _ = project(transform(second.camera.w2c, self._xyz[shared]), second.camera.K)
        is_usable = is_inside(floor, second.camera.size.height, second.camera.size.width)
        shared, floor = evenly(shared[is_usable], limit), evenly(floor[is_usable], limit)
        everywhere = torch.ones(1, len(shared), dtype=torch.bool)
        angle = median_angles(self._xyz[shared], self.centers[a], self.centers[b, None], everywhere)
        return Matches(first.uv_of(shared), second.uv_of(shared), floor, float(angle))

    def observations(self, limit: int) -> Observations:
        """Return at most ``limit`` points that several target views observe, with all their observations."""
        seen_count = torch.zeros(len(self._xyz), dtype=torch.long)
        for view in self._views:
            seen_count[view.point] += 1
        is_kept = torch.zeros(len(self._xyz), dtype=torch.bool)
        is_kept[evenly(torch.nonzero(seen_count >= 2)[:, 0], limit)] = True
        kept = [is_kept[view.point] for view in self._views]
        counts = torch.tensor([int(mine.sum()) for mine in kept])
        return collect_observations(
            torch.cat([view.point[mine] for view, mine in zip(self._views, kept, strict=True)]),
            torch.repeat_interleave(torch.arange(len(counts)), counts),
            torch.cat([view.uv[mine] for view, mine in zip(self._views, kept, strict=True)]),
        )


def _track_view(tracks: Tracks, rows: Int[Tensor, " row"], view: View, camera: Camera) -> _TrackView:
    scale = torch.tensor(
        [camera.size.width / view.camera.size.width, camera.size.height / view.camera.size.height],
        dtype=torch.float64,
    )
    point, uv = tracks.point_index[rows].long(), tracks.uv[rows].double() * scale
    is_on_image = is_inside(uv, camera.size.height, camera.size.width)
    point, uv = point[is_on_image], uv[is_on_image]
    order = torch.argsort(point, stable=True)
    point, uv = point[order], uv[order]
    is_first = _is_first(point)
    return _TrackView(camera, point[is_first], uv[is_first])


def _is_first(sorted_numbers: Int[Tensor, " seen"]) -> Bool[Tensor, " seen"]:
    """Mark the first of equal neighbours: a point observed twice in a view keeps its first observation."""
    is_first = torch.ones(len(sorted_numbers), dtype=torch.bool)
    is_first[1:] = sorted_numbers[1:] != sorted_numbers[:-1]
    return is_first
