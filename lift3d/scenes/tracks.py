"""Sparse surface points triangulated from the given poses: scoring geometry for scenes without depth.

SIFT keypoints are matched between neighbouring views, and points triangulated with the poses as they are.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene, Tracks, View
from lift3d.errors import NoOverlapError, SceneFormatError
from lift3d.overlap import ahead
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.tracks_matching import Keypoints, find_keypoints

# Raised when the same views would give other points.
STAGE_VERSION = 5
# Views are looked at in this height at most.
TRACKED_HEIGHT = 360
# Of photographs of 1080×1920, which are decoded at a quarter then and not at half, this finds 13 % more points, no less
# exact, than the oversampling of what is lifted: keypoints repeat better where pixels are no sharper than they can be.
_OVERSAMPLING = 4 / 3
_FEWEST_POINTS = 20


def find_tracks(scene: Scene, *, max_height: int = TRACKED_HEIGHT) -> Tracks:
    """Triangulate sparse surface points, and return where views see them, pixels of the views at their own size.

    Every call with the same scene gives the same points. Only pixels that are valid make observations, at the height
    at which frames are loaded. A point is seen by at least three views (two where the scene has no more) from places
    at least 1.5° apart, and no observation is more than 1.5 pixels of the loaded size off. The scene's own depth is
    not used. NoOverlapError if there are fewer than 20 points; SceneFormatError if the poses would fit far better in
    another convention.
    """
    # COLMAP is large, and most who import this want to know the height or the version.
    from lift3d.scenes.pose_conventions import what_poses_would_fit
    from lift3d.scenes.tracks_triangulation import triangulated

    looked = [look() for look in ahead(partial(_look, max_height), scene.views)]
    keypoints, cameras = [one for one, _ in looked], [camera for _, camera in looked]
    if said := what_poses_would_fit(keypoints, cameras):
        raise SceneFormatError(f"The views of '{scene.id}' do not fit their poses. {said}", scene=scene.id)
    points = triangulated(keypoints, cameras)
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
