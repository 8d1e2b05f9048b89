"""Images beside one file of their poses: TUM RGB-D, Replica as NICE-SLAM and iMAP have it, what SLAM systems write.

Poses are c2w with OpenCV axes. Timestamps join images, depth and poses; poses without are of the frame with the number
of their row. Pixels are counted from the centre of the first one, as of 7-Scenes.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import shown
from lift3d.domain.scene import Scene
from lift3d.errors import CameraError, SceneFormatError, brief
from lift3d.geometry.rigid import inverse
from lift3d.scenes.camera_checks import stated_size
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.file_limits import read_json
from lift3d.scenes.images import image_size
from lift3d.scenes.json_lens import number, positive
from lift3d.scenes.rgbd import CENTER_OFFSET_PX, INTRINSICS_FILE, MILLIMETRE, calibration
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids
from lift3d.scenes.trajectory_file import Trajectory, finite, nearest_time, read_rows, read_trajectory

# TUM's, Replica's, and those of ORB-SLAM and others.
_TRAJECTORIES = (
    *("groundtruth.txt", "traj.txt", "trajectory.txt", "pose.txt", "poses.txt"),
    *("CameraTrajectory.txt", "KeyFrameTrajectory.txt", "traj_w_c.txt"),
)
_RGB_LIST, _DEPTH_LIST, _CAMERA_FILE = "rgb.txt", "depth.txt", "cam_params.json"
_RESULTS, _IMAGE_FOLDERS, _DEPTH_FOLDER = "results", ("rgb", "color", "images", "image"), "depth"
# TUM's depth holds five thousand to the metre, and is registered to colour with these intrinsics of 640×480 pixels.
_TUM_UNIT, _TUM_SIZE, _TUM_FOCAL, _TUM_CENTRE = 1 / 5000, ImageSize(480, 640), 525.0, (319.5, 239.5)
# A time, or a frame's number, and the name of a file.
_Timed = tuple[float, str]
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?=\D*$)")


@dataclass(frozen=True, slots=True, eq=False)
class _Lens:
    """K with corner origin, the size that it is of (None: of the images as they are), and metres per depth number."""

    K: Float[Tensor, "3 3"]
    size: ImageSize | None
    unit: float


class TrajectoryReader:
    """Reads a folder with one file of poses, and its images and depth by timestamps or numbers."""

    def recognizes(self, location: str) -> bool:
        """Whether a file of poses lies beside images, or beside a list of them."""
        folder = Path(location)
        has_images = any((folder / name).exists() for name in (_RGB_LIST, _RESULTS, *_IMAGE_FOLDERS))
        return has_images and _trajectory_in(folder) is not None

    def read(self, location: str) -> Scene:
        """Read cameras and references."""
        folder = SceneFolder(Path(location))
        path = _trajectory_in(folder.root)
        if path is None:
            raise SceneFormatError(f"'{location}' holds none of {', '.join(_TRAJECTORIES)}.")
        trajectory = read_trajectory(path)
        draft = SceneDraft(scene_id_of(folder.root), location)
        images, depths = _listed(folder, _RGB_LIST), _listed(folder, _DEPTH_LIST) or []
        is_tum = images is not None
        if images is None:
            images, depths = _in_folders(folder, draft)
        lens = _lens(folder, draft, is_tum=is_tum)
        draft.note("Half a pixel was added to the principal point: the format counts from the first pixel's centre.")
        # Depth is in metres, and so are the poses it goes with.
        draft.is_metric = bool(depths)
        times = [time for time, _ in depths]
        for view_id, (time, name) in zip(view_ids(name for _, name in images), images, strict=True):
            with draft.dropping(view_id):
                c2w, was_repaired = trajectory.at(time)
                image, at = folder.image(name), nearest_time(times, time)
                depth = None if at is None else folder.find(depths[at][1])
                source = FileFrame(str(image), depth=None if depth is None else str(depth), depth_scale=lens.unit)
                camera = Camera(lens.K, inverse(c2w), lens.size or image_size(image))
                draft.add(view_id, camera, source, was_repaired=was_repaired, states_size=lens.size is not None)
        _note_left(draft, trajectory, len(images))
        return draft.finish()


def _trajectory_in(folder: Path) -> Path | None:
    return next((folder / name for name in _TRAJECTORIES if (folder / name).is_file()), None)


def _listed(folder: SceneFolder, name: str) -> list[_Timed] | None:
    """Return the files of a list of timestamps and names, by time; None if there is no such list."""
    path = folder.find(name)
    if path is None:
        return None
    found = []
    for row in read_rows(path):
        try:
            found.append((finite(row[0]), row[1]))
        except (ValueError, IndexError):
            raise SceneFormatError(f"'{path}' should have a time and a file in each row, got {brief(row)}.") from None
    return sorted(found)


def _in_folders(folder: SceneFolder, draft: SceneDraft) -> tuple[list[_Timed], list[_Timed]]:
    """Return images and depth maps by the last number in their names: a timestamp, or that of the frame.

    An image without a number is dropped.
    """
    both = folder.images(_RESULTS)
    is_depth = [one.name.startswith(_DEPTH_FOLDER) for one in both]
    images = [one for one, is_map in zip(both, is_depth, strict=True) if not is_map] or folder.images(*_IMAGE_FOLDERS)
    depths = [one for one, is_map in zip(both, is_depth, strict=True) if is_map] or folder.images(_DEPTH_FOLDER)
    for one in images:
        if not _NUMBER.search(one.stem):
            message = "Its name has no number or timestamp, by which images and poses are joined."
            draft.drop(shown(one.stem), CameraError.reason, message)
    found = ([(_NUMBER.search(one.stem), one) for one in files] for files in (images, depths))
    images_by_time, depths_by_time = (
        sorted((float(match.group()), str(one.relative_to(folder.root))) for match, one in files if match)
        for files in found
    )
    return images_by_time, depths_by_time


def _lens(folder: SceneFolder, draft: SceneDraft, *, is_tum: bool) -> _Lens:
    """Return the intrinsics of a sequence: its own file's, that of the folder above, or those published of TUM."""
    for root in (folder.root, folder.root.parent):
        if (root / _CAMERA_FILE).is_file():
            return _of_json(root / _CAMERA_FILE)
    K, unit = calibration(folder), _TUM_UNIT if is_tum else MILLIMETRE
    draft.note(f"Depth, if there is any, has {1 / unit:g} to the metre, as no '{_CAMERA_FILE}' says otherwise.")
    if K is not None:
        return _Lens(K, None, unit)
    if is_tum:
        draft.note("The intrinsics are those that TUM registers depth with: 525, 319.5, 239.5, without distortion.")
        return _Lens(_pinhole(_TUM_FOCAL, _TUM_FOCAL, *_TUM_CENTRE), _TUM_SIZE, unit)
    raise SceneFormatError(
        f"'{folder.root}' has no intrinsics: expected '{INTRINSICS_FILE}' (a 3×3 matrix, pixels counted from the "
        f"centre of the first one) or '{_CAMERA_FILE}', here or in the folder above."
    )


def _of_json(path: Path) -> _Lens:
    """Read intrinsics as they come with Replica: w, h, fx, fy, cx, cy, and depth numbers per metre."""
    document = read_json(path)
    found = document.get("camera", document) if isinstance(document, dict) else None
    names = ("w", "h", "fx", "fy", "cx", "cy", "scale")
    if not isinstance(found, dict) or not all(name in found for name in names):
        raise SceneFormatError(f"'{path}' should have a 'camera' with {', '.join(names)}, got {brief(document)}.")
    try:
        fx, fy, scale = (positive(found.get, name, 1.0) for name in ("fx", "fy", "scale"))
        cx, cy, width, height = (number(found.get, name, 0.0) for name in ("cx", "cy", "w", "h"))
        return _Lens(_pinhole(fx, fy, cx, cy), stated_size(height, width), 1 / scale)
    except CameraError as error:
        raise SceneFormatError(f"'{path}': {error}") from error


def _pinhole(fx: float, fy: float, cx: float, cy: float) -> Float[Tensor, "3 3"]:
    rows = [[fx, 0.0, cx + CENTER_OFFSET_PX], [0.0, fy, cy + CENTER_OFFSET_PX], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float64)


def _note_left(draft: SceneDraft, trajectory: Trajectory, image_count: int) -> None:
    if not trajectory.is_timed and len(trajectory.times) > image_count:
        draft.note(
            f"'{trajectory.name}' has {len(trajectory.times)} poses for {image_count} images, which were joined by the "
            "numbers in their names."
        )
