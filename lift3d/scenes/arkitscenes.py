"""ARKitScenes as Apple ships it: images of the wide camera by time, their ``.pincam``, and ``lowres_wide.traj``.

A row of the trajectory is a time, an axis times its angle and a translation, w2c with OpenCV axes in metres. Pixels
have corner origin, as Apple's cameras do. Depth is 16-bit millimetres. Times in names join the files.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import shown
from lift3d.domain.scene import Scene
from lift3d.errors import CameraError, SceneFormatError, brief
from lift3d.geometry.rigid import inverse
from lift3d.scenes.camera_checks import stated_size
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.file_limits import MAX_MATRIX_BYTES, read_text
from lift3d.scenes.json_lens import intrinsics
from lift3d.scenes.rgbd import MILLIMETRE
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids
from lift3d.scenes.trajectory_file import Trajectory, finite, read_rows

_TRAJECTORY = "lowres_wide.traj"
# One camera at three sizes; the largest that is there is read.
_IMAGES = ("wide", "vga_wide", "lowres_wide")
_DEPTHS = ("highres_depth", "lowres_depth")
# Poses come ten times a second.
_BETWEEN_POSES_S = 0.2
# Names have milliseconds, which are rounded one way or the other.
_ROUNDED_S = (0.0, -0.001, 0.001)
_NAME = re.compile(r"(?P<video>.+)_(?P<time>\d{1,12}(?:\.\d{1,9})?)")
_COLUMNS, _LENS = 7, "width, height, fx, fy, cx, cy"


@dataclass(frozen=True, slots=True)
class _Name:
    """What files of one moment are called: a video, and a time in seconds."""

    video: str
    time: float

    def find(self, folder: SceneFolder, below: str, suffix: str) -> Path | None:
        names = (f"{below}/{self.video}_{self.time + away:.3f}{suffix}" for away in _ROUNDED_S)
        return next(filter(None, map(folder.find, names)), None)


class ArkitScenesReader:
    """Reads the folder of one video, of the raw data set or of that for 3D object detection."""

    def recognizes(self, location: str) -> bool:
        """Whether the trajectory lies there, or in the folder of frames."""
        return _root(Path(location)) is not None

    def read(self, location: str) -> Scene:
        """Read cameras and references."""
        root = _root(Path(location))
        if root is None:
            raise SceneFormatError(f"'{location}' holds no '{_TRAJECTORY}'.")
        folder = SceneFolder(root)
        trajectory = _read_trajectory(root / _TRAJECTORY)
        draft = SceneDraft(scene_id_of(Path(location)), location, is_metric=True)
        images = sorted(_named(draft, folder.images(*_IMAGES)), key=lambda one: one[0].time)
        for view_id, (name, path) in zip(view_ids(path.name for _, path in images), images, strict=True):
            with draft.dropping(view_id):
                image = folder.image(str(path.relative_to(root)))
                c2w, was_repaired = trajectory.at(name.time)
                K, size = _lens(folder, f"{path.parent.name}_intrinsics", name)
                depth = next(filter(None, (name.find(folder, one, ".png") for one in _DEPTHS)), None)
                is_sensor = depth is not None and depth.parent.name == _DEPTHS[1]
                confidence = name.find(folder, "confidence", ".png") if is_sensor else None
                source = FileFrame(
                    str(image),
                    depth=None if depth is None else str(depth),
                    depth_scale=MILLIMETRE,
                    confidence=None if confidence is None else str(confidence),
                )
                draft.add(view_id, Camera(K, inverse(c2w), size), source, was_repaired=was_repaired)
        return draft.finish()


def _root(path: Path) -> Path | None:
    """Return the folder with the trajectory: that which is given, or the one of frames in it."""
    roots = (path, path / f"{path.name}_frames")
    return next((root for root in roots if (root / _TRAJECTORY).is_file()), None)


def _named(draft: SceneDraft, paths: Iterable[Path]) -> Iterator[tuple[_Name, Path]]:
    for path in paths:
        match = _NAME.fullmatch(path.stem)
        if match:
            yield _Name(match["video"], float(match["time"])), path
        else:
            message = "Its name has no time, as in VIDEO_12.345.png, by which images and poses are joined."
            draft.drop(shown(path.stem), CameraError.reason, message)


def _read_trajectory(path: Path) -> Trajectory:
    """Read the rows that are poses, as c2w by time; SceneFormatError if there are none."""
    from scipy.spatial.transform import Rotation  # A scene is planned without it.

    found = []
    words = read_rows(path)
    for row in words:
        with suppress(ValueError):
            found.append([finite(word) for word in row] if len(row) == _COLUMNS else [])
    rows = np.array(sorted(filter(None, found)), dtype=np.float64).reshape(-1, _COLUMNS)
    if not len(rows):
        first = brief(words[0]) if words else "none"
        raise SceneFormatError(
            f"'{path}' should have a time, an axis times its angle and a translation in each row: {_COLUMNS} finite "
            f"numbers, got {first}."
        )
    c2w = Rotation.from_rotvec(rows[:, 1:4]).inv()
    poses = np.concatenate([-c2w.apply(rows[:, 4:]), c2w.as_quat()], axis=1)
    return Trajectory(path.name, rows[:, 0], poses, _BETWEEN_POSES_S)


def _lens(folder: SceneFolder, below: str, name: _Name) -> tuple[Float[Tensor, "3 3"], ImageSize]:
    path = name.find(folder, below, ".pincam")
    if path is None:
        raise CameraError(f"The intrinsics '{below}/{name.video}_{name.time:.3f}.pincam' are missing.")
    try:
        width, height, fx, fy, cx, cy = map(finite, read_text(path, MAX_MATRIX_BYTES).split())
    except (OSError, ValueError) as error:
        raise CameraError(f"'{path}' should have one row: {_LENS}: {error}.") from error
    return intrinsics(fx, fy, cx, cy), stated_size(height, width)
