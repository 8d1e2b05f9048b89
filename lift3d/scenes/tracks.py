"""Sparse surface points triangulated from the given poses: scoring geometry for scenes without depth.

SIFT keypoints are matched between neighbouring views; COLMAP chains the matches and triangulates them (Schönberger &
Frahm, CVPR 2016, §4.3) with the poses as they are. Nothing of the poses is refined.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Float64, Int
from numpy import ndarray

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene, Tracks, View
from lift3d.errors import NoOverlapError
from lift3d.geometry.rays import directions_z1
from lift3d.overlap import ahead
from lift3d.scenes.colmap_log import pycolmap, quiet_colmap
from lift3d.scenes.images import FileFrame
from lift3d.scenes.tracks_matching import Keypoints, find_keypoints, match_keypoints, neighbour_pairs

# Raised when the same views would give other points.
STAGE_VERSION = 5
# Views are looked at in this height at most.
TRACKED_HEIGHT = 360
# Of photographs of 1080×1920, which are decoded at a quarter then and not at half, this finds 13 % more points, no less
# exact, than the oversampling of what is lifted: keypoints repeat better where pixels are no sharper than they can be.
_OVERSAMPLING = 4 / 3
# A keypoint is located to a fraction of a pixel; beyond this an observation belongs to another point.
_REPROJECTION_PX = 1.5
# COLMAP's own; at 3° a capture's depth is a tenth better and small scenes have no points.
_SMALLEST_ANGLE_DEG = 1.5
# Two views always agree along the epipolar line; a third one confirms.
_FEWEST_VIEWS = 3
_FEWEST_POINTS = 20
_SEED = 0

# A place in the world and the keypoint that shows it, by view.
_Point = tuple[Float64[ndarray, "3"], dict[int, int]]


def find_tracks(scene: Scene, *, max_height: int = TRACKED_HEIGHT) -> Tracks:
    """Triangulate sparse surface points, and return where views see them, pixels of the views at their own size.

    Every call with the same scene gives the same points. Only pixels that are valid make observations, at the height
    at which frames are loaded. A point is seen by at least three views (two where the scene has no more) from places
    at least 1.5° apart, and no observation is more than 1.5 pixels of the loaded size off. The scene's own depth is
    not used. NoOverlapError if there are fewer than 20 points.
    """
    looked = [look() for look in ahead(partial(_look, max_height), scene.views)]
    keypoints, cameras = [one for one, _ in looked], [camera for _, camera in looked]
    points = _triangulated(keypoints, cameras)
    if len(points) < _FEWEST_POINTS:
        raise NoOverlapError(
            f"Sparse tracks: got {len(points)} points from {len(scene.views)} views, expected at least "
            f"{_FEWEST_POINTS}. The views may not overlap, may have no texture, or the poses may not fit the "
            "images; check the poses, or give depth.",
            scene=scene.id,
        )
    observations = [(point, *place) for point, (_, track) in enumerate(points) for place in track.items()]
    point_index, view_index, keypoint = torch.tensor(observations).unbind(1)
    own = torch.tensor([[view.camera.size.width, view.camera.size.height] for view in scene.views])
    loaded = torch.tensor([[camera.size.width, camera.size.height] for camera in cameras])
    first = torch.tensor([0, *(len(one.uv) for one in keypoints[:-1])]).cumsum(0)
    uv = torch.cat([one.uv for one in keypoints])[first[view_index] + keypoint]
    return Tracks(
        points=torch.from_numpy(np.stack([xyz for xyz, _ in points])),
        point_index=point_index,
        view_index=view_index,
        uv=uv * (own / loaded)[view_index],
        view_ids=tuple(view.id for view in scene.views),
    )


def _look(max_height: int, view: View) -> tuple[Keypoints, Camera]:
    frame = _roughly(view).load(min(max_height, view.camera.size.height))
    return find_keypoints(frame), frame.camera


def _roughly(view: View) -> View:
    if not isinstance(view.source, FileFrame):
        return view
    return replace(view, source=replace(view.source, oversampling=_OVERSAMPLING))


def _triangulated(keypoints: Sequence[Keypoints], cameras: Sequence[Camera]) -> list[_Point]:
    """Return the points that COLMAP triangulates from matches of neighbouring views."""
    if len(cameras) < 2:
        return []
    with TemporaryDirectory() as folder, quiet_colmap():
        database = Path(folder, "database.db")
        model = _write_views(database, keypoints, cameras)
        _write_matches(database, keypoints, cameras)
        found = pycolmap.triangulate_points(model, database, folder, folder, options=_options())
    fewest = max(2, min(_FEWEST_VIEWS, len(cameras)))
    to_world = cameras[0].c2w.numpy()
    points = []
    for _, point in sorted(found.points3D.items()):
        # An image is a view's number plus 1. Two keypoints of one view are no evidence of one point.
        track = {element.image_id - 1: element.point2D_idx for element in point.track.elements}
        if len(track) == point.track.length() >= fewest:
            points.append((to_world[:3, :3] @ point.xyz + to_world[:3, 3], dict(sorted(track.items()))))
    return points


def _options() -> pycolmap.IncrementalPipelineOptions:
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = _SEED
    # Sums over threads depend on their order.
    options.num_threads = options.mapper.num_threads = 1
    options.extract_colors = False
    options.triangulation.ignore_two_view_tracks = False
    options.triangulation.min_angle = options.mapper.filter_min_tri_angle = _SMALLEST_ANGLE_DEG
    options.triangulation.complete_max_reproj_error = options.triangulation.merge_max_reproj_error = _REPROJECTION_PX
    options.mapper.filter_max_reproj_error = _REPROJECTION_PX
    return options


def _write_views(database: Path, keypoints: Sequence[Keypoints], cameras: Sequence[Camera]) -> pycolmap.Reconstruction:
    """Write keypoints to a new database and return a model with the given poses and no points.

    Its world is the first camera's axes, so that it does not matter where the scene's origin lies.
    """
    model = pycolmap.Reconstruction()
    to_world = cameras[0].c2w
    with pycolmap.Database.open(database) as opened, pycolmap.DatabaseTransaction(opened):
        for number, (one, camera) in enumerate(zip(keypoints, cameras, strict=True), start=1):
            fx, fy, cx, cy = (float(camera.K[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
            lens = pycolmap.Camera(
                model="PINHOLE",
                width=camera.size.width,
                height=camera.size.height,
                params=[fx, fy, cx, cy],
                camera_id=number,
            )
            image = pycolmap.Image(name=f"{number:06d}", camera_id=number, image_id=number)
            opened.write_camera(lens, use_camera_id=True)
            opened.write_image(image, use_image_id=True)
            # COLMAP's pinhole has no skew: the pixels of the same rays without it.
            rays = directions_z1(one.uv.double(), camera.K)[:, :2]
            opened.write_keypoints(number, (rays * camera.K.diagonal()[:2] + camera.K[:2, 2]).float().numpy())
            model.add_camera_with_trivial_rig(lens)
            model.add_image_with_trivial_frame(image, pycolmap.Rigid3d((camera.w2c @ to_world)[:3].numpy()))
    return model


def _write_matches(database: Path, keypoints: Sequence[Keypoints], cameras: Sequence[Camera]) -> None:
    def matched(pair: tuple[int, int]) -> Int[ndarray, "match 2"]:
        a, b = pair
        return match_keypoints(keypoints[a], keypoints[b], (cameras[a], cameras[b])).numpy()

    pairs = neighbour_pairs(cameras)
    with pycolmap.Database.open(database) as opened, pycolmap.DatabaseTransaction(opened):
        for (a, b), matches in zip(pairs, ahead(matched, pairs), strict=True):
            pair = pycolmap.TwoViewGeometry()
            pair.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            pair.inlier_matches = matches()
            opened.write_two_view_geometry(a + 1, b + 1, pair)
