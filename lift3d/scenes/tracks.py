"""Sparse surface points triangulated from the given poses: scoring geometry for scenes without depth.

SIFT keypoints are matched between neighbouring views, matches are chained into tracks with one observation
per view, and each track is triangulated with the poses as they are. Nothing of the poses is refined.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene, Tracks
from lift3d.errors import NoOverlapError
from lift3d.geometry.rays import directions_z1
from lift3d.geometry.triangulation import refine_points, reprojection_offsets
from lift3d.scenes.tracks_matching import Keypoints, find_keypoints, match_keypoints, neighbour_pairs

# Raised when the same views would give other points.
STAGE_VERSION = 1
# A keypoint is located to a fraction of a pixel; beyond this an observation belongs to another point.
_REPROJECTION_PX = 1.5
# Below this angle depth is mostly noise (COLMAP's default for its own points).
_SMALLEST_ANGLE_DEG = 1.5
# Two views always agree along the epipolar line; a third one confirms.
_SHORTEST_TRACK = 3
_FEWEST_POINTS = 20
_REFINEMENT_ROUNDS = 3


@dataclass(frozen=True, slots=True, eq=False)
class _Sightings:
    """Observations of points, sorted by point, at most one per point and view; uv are of the loaded size."""

    point: Int[Tensor, " observation"]
    view: Int[Tensor, " observation"]
    uv: Float[Tensor, "observation 2"]

    def kept(self, keep: Bool[Tensor, " observation"]) -> "_Sightings":
        """Return the chosen observations, their points numbered anew without gaps."""
        point = torch.unique(self.point[keep], return_inverse=True)[1]
        return _Sightings(point, self.view[keep], self.uv[keep])


def find_tracks(scene: Scene, *, max_height: int = 640) -> Tracks:
    """Find and triangulate sparse surface points.

    Every call with the same scene gives the same points. Only pixels that are valid make observations. A point is
    seen by at least three views (two where the scene has no more) from places at least 1.5° apart, and no
    observation is more than 1.5 pixels of the loaded size off.

    Args:
        scene: Views with poses; their own depth, if any, is not used.
        max_height: Frames are loaded at this height at most, pixels.

    Returns:
        Points in world coordinates and where views see them, pixels of the views at their own size.

    Raises:
        NoOverlapError: If fewer than 20 points are found.
    """
    keypoints, cameras = [], []
    for view in scene.views:
        frame = view.load(min(max_height, view.camera.size.height))
        keypoints.append(find_keypoints(frame))
        cameras.append(frame.camera)
    found = _triangulated(_chained(keypoints, cameras), cameras)
    points, sightings = _refined(*found, cameras)
    if len(points) < _FEWEST_POINTS:
        raise NoOverlapError(
            f"Sparse tracks: got {len(points)} points from {len(scene.views)} views, expected at least "
            f"{_FEWEST_POINTS}. The views may not overlap, may have no texture, or the poses may not fit the "
            "images; check the poses, or give depth.",
            scene=scene.id,
        )
    sizes = [(view.camera.size, camera.size) for view, camera in zip(scene.views, cameras, strict=True)]
    scale = torch.tensor([[own.width / loaded.width, own.height / loaded.height] for own, loaded in sizes])
    return Tracks(
        points=points,
        point_index=sightings.point,
        view_index=sightings.view,
        uv=sightings.uv * scale[sightings.view],
        view_ids=tuple(view.id for view in scene.views),
    )


def _chained(keypoints: Sequence[Keypoints], cameras: list[Camera]) -> _Sightings:
    """Match neighbouring views and chain the matches into tracks, the most similar first."""
    offsets = np.concatenate([[0], np.cumsum([len(one.uv) for one in keypoints])])
    links, similarities = [torch.zeros(0, 2, dtype=torch.int64)], [torch.zeros(0)]
    for a, b in neighbour_pairs(cameras):
        matches, similarity = match_keypoints(keypoints[a], keypoints[b], (cameras[a], cameras[b]))
        links.append(matches + torch.tensor([offsets[a], offsets[b]]))
        similarities.append(similarity)
    order = torch.cat(similarities).sort(descending=True, stable=True).indices
    # Only keypoints with a match take part; a node is such a keypoint.
    keypoint, ends = np.unique(torch.cat(links)[order].numpy(), return_inverse=True)
    view = np.searchsorted(offsets, keypoint, side="right") - 1
    track = torch.from_numpy(_joined(ends.reshape(-1, 2).tolist(), view.tolist()))
    uv = torch.cat([one.uv for one in keypoints])[torch.from_numpy(keypoint)]
    by_track = track.sort(stable=True).indices
    everything = _Sightings(track[by_track], torch.from_numpy(view)[by_track], uv[by_track])
    length = everything.point.bincount(minlength=1)[everything.point]
    return everything.kept(length >= _shortest(cameras))


def _joined(links: list[list[int]], view: list[int]) -> NDArray[np.int64]:
    """Join linked nodes, in order, unless that would put two nodes of one view together; return roots."""
    parent = list(range(len(view)))
    # One bit per view that a track is seen in; kept at the root.
    seen_in = [1 << number for number in view]

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in links:
        low, high = sorted((root(a), root(b)))
        if low != high and not seen_in[low] & seen_in[high]:
            parent[high] = low
            seen_in[low] |= seen_in[high]
    return np.array([root(node) for node in range(len(parent))], dtype=np.int64)


def _shortest(cameras: list[Camera]) -> int:
    """Fewest views that a point must be seen in."""
    return max(2, min(_SHORTEST_TRACK, len(cameras)))


def _triangulated(
    sightings: _Sightings, cameras: list[Camera]
) -> tuple[Float[Tensor, "point 3"], _Sightings, Bool[Tensor, " observation"]]:
    """Triangulate each track by LO-RANSAC (COLMAP's); return points, their sightings, and which are inliers."""
    options = pycolmap.EstimateTriangulationOptions()
    options.residual_type = pycolmap.TriangulationResidualType.REPROJECTION_ERROR
    options.min_tri_angle = float(np.radians(_SMALLEST_ANGLE_DEG))
    options.ransac.max_error = _REPROJECTION_PX
    options.ransac.random_seed = 0
    lenses = [_colmap_camera(camera) for camera in cameras]
    poses = [pycolmap.Rigid3d(camera.w2c[:3].numpy()) for camera in cameras]
    uv, views = _without_skew(sightings, cameras).numpy(), sightings.view.tolist()
    bounds = np.flatnonzero(np.diff(sightings.point.numpy(), prepend=-1, append=-1)).tolist()
    points: list[NDArray[np.float64]] = []
    is_found, is_inlier = (torch.zeros(len(views), dtype=torch.bool) for _ in range(2))
    for start, end in itertools.pairwise(bounds):
        seen = views[start:end]
        found = pycolmap.estimate_triangulation(
            uv[start:end], [poses[view] for view in seen], [lenses[view] for view in seen], options
        )
        if found is None or found["inliers"].sum() < _shortest(cameras):
            continue
        is_found[start:end] = True
        is_inlier[start:end] = torch.from_numpy(found["inliers"])
        points.append(found["xyz"])
    return torch.from_numpy(np.array(points).reshape(-1, 3)), sightings.kept(is_found), is_inlier[is_found]


def _refined(
    points: Tensor, sightings: _Sightings, is_inlier: Tensor, cameras: list[Camera]
) -> tuple[Tensor, _Sightings]:
    """Move points to their least-squares place; drop what then does not fit or lies behind a camera."""
    K = torch.stack([camera.K for camera in cameras])[sightings.view]
    w2c = torch.stack([camera.w2c for camera in cameras])[sightings.view]
    uv, point = sightings.uv.double(), sightings.point
    # The linear start depends a little on the world frame, and with it who is an inlier; a few rounds forget it.
    for _ in range(_REFINEMENT_ROUNDS):
        points = refine_points(points, point[is_inlier], uv[is_inlier], K[is_inlier], w2c[is_inlier])
        offset, _, z = reprojection_offsets(points[point], uv, K, w2c)
        is_inlier = (offset.norm(dim=-1) <= _REPROJECTION_PX) & (z > 0)
    is_good = point[is_inlier].bincount(minlength=len(points)) >= _shortest(cameras)
    return points[is_good], sightings.kept(is_inlier & is_good[point])


def _without_skew(sightings: _Sightings, cameras: list[Camera]) -> Float[Tensor, "observation 2"]:
    """Pixels of the same rays in cameras without skew, which is what COLMAP's pinhole is."""
    uv = sightings.uv.double()
    for number, camera in enumerate(cameras):
        here = sightings.view == number
        rays = directions_z1(uv[here], camera.K)[:, :2]
        uv[here] = rays * camera.K.diagonal()[:2] + camera.K[:2, 2]
    return uv


def _colmap_camera(camera: Camera) -> pycolmap.Camera:
    K, size = camera.K, camera.size
    params = [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])]
    return pycolmap.Camera(model="PINHOLE", width=size.width, height=size.height, params=params)
