"""RGB-D sequences: ScanNet's exported folders and 7-Scenes.

Both write c2w with OpenCV axes in one text file per frame, and count pixels from the centre of the first one:
half a pixel is added to their principal points here. Depth is 16-bit millimetres. Files are joined by stem.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import Scene
from lift3d.errors import CameraError, SceneFormatError
from lift3d.geometry.rigid import inverse
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.file_limits import MAX_MATRIX_BYTES, read_text
from lift3d.scenes.images import image_size
from lift3d.scenes.rotations import rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids

CENTER_OFFSET_PX = 0.5
MILLIMETRE = 0.001
_SEVEN_SCENES_POSE = "frame-*.pose.txt"
# What is published of 7-Scenes' 640×480 images, with half a pixel. 585 is the focal length of the depth sensor; the
# colour camera, to which depth was not registered, has a Kinect's 525.
_SEVEN_SCENES_SIZE, _SEVEN_SCENES_CENTRE = ImageSize(480, 640), (320.5, 240.5)
_SEVEN_SCENES_COLOR_FOCAL, _SEVEN_SCENES_DEPTH_FOCAL = 525.0, 585.0
INTRINSICS_FILE, _DEPTH_INTRINSICS = "camera-intrinsics.txt", "intrinsic/intrinsic_depth.txt"
_LABEL_FOLDERS = ("label-filt", "label")
_SCANNET_UNANNOTATED = 0


class ScanNetReader:
    """Reads ``color/``, ``depth/``, ``pose/`` and ``intrinsic/``, and ``label-filt/`` or ``label/``."""

    def recognizes(self, location: str) -> bool:
        """Whether the folders are there."""
        return all((Path(location) / name).is_dir() for name in ("color", "pose", "intrinsic"))

    def read(self, location: str) -> Scene:
        """Read cameras and references."""
        folder = SceneFolder(Path(location))
        draft = SceneDraft(scene_id_of(folder.root), location, is_metric=True)
        K = _intrinsics(folder, "intrinsic/intrinsic_color.txt")
        depth_K = _intrinsics(folder, _DEPTH_INTRINSICS) if folder.find(_DEPTH_INTRINSICS) else K
        draft.note("Half a pixel was added to the principal points: the format counts from the first pixel's centre.")
        depths = {path.stem: path for path in folder.images("depth")}
        labels = {path.stem: path for path in folder.images(*_LABEL_FOLDERS)}
        images = sorted(folder.images("color"), key=number_of)
        for view_id, image in zip(view_ids(path.name for path in images), images, strict=True):
            with draft.dropping(view_id):
                c2w, was_repaired = _read_pose(folder, f"pose/{image.stem}.txt")
                source = FileFrame(
                    image=str(folder.image(f"color/{image.name}")),
                    depth=_path(folder, depths.get(image.stem)),
                    labels=_path(folder, labels.get(image.stem)),
                    depth_scale=MILLIMETRE,
                    # Where they are the same, the depth maps fit the images already.
                    depth_intrinsics=None if torch.equal(depth_K, K) else _four(depth_K),
                    label_ignore=_SCANNET_UNANNOTATED if labels else None,
                )
                camera = Camera(K, inverse(c2w), image_size(image))
                draft.add(view_id, camera, source, was_repaired=was_repaired, states_size=False)
        return draft.finish()


class SevenScenesReader:
    """Reads one sequence of ``frame-XXXXXX.color.png``, ``.depth.png`` and ``.pose.txt``."""

    def recognizes(self, location: str) -> bool:
        """Whether there is a pose of such a name."""
        return next(Path(location).glob(_SEVEN_SCENES_POSE), None) is not None

    def read(self, location: str) -> Scene:
        """Read cameras and references."""
        folder = SceneFolder(Path(location))
        draft = SceneDraft(scene_id_of(folder.root), location, is_metric=True)
        K = calibration(folder)
        if K is not None and folder.find(INTRINSICS_FILE) is None:
            draft.note(f"The intrinsics are those of '{INTRINSICS_FILE}' in the folder above.")
        if K is None:
            draft.note("The intrinsics are the data set's published ones: 525 for colour, 585 for depth, 320, 240.")
        draft.note("Half a pixel was added to the principal point: the format counts from the first pixel's centre.")
        for pose in sorted(folder.root.glob(_SEVEN_SCENES_POSE)):
            view_id = pose.name.split(".")[0]
            with draft.dropping(view_id):
                image = folder.image(f"{view_id}.color")
                c2w, was_repaired = _read_pose(folder, pose.name)
                depth = _path(folder, folder.find(f"{view_id}.depth"))
                own_K = _published(_SEVEN_SCENES_COLOR_FOCAL, _SEVEN_SCENES_SIZE) if K is None else K
                depth_K = None
                if K is None and depth is not None:
                    depth_K = _four(_published(_SEVEN_SCENES_DEPTH_FOCAL, image_size(depth)))
                source = FileFrame(str(image), depth=depth, depth_scale=MILLIMETRE, depth_intrinsics=depth_K)
                camera = Camera(own_K, inverse(c2w), _SEVEN_SCENES_SIZE if K is None else image_size(image))
                draft.add(view_id, camera, source, was_repaired=was_repaired, states_size=K is None)
        return draft.finish()


def calibration(folder: SceneFolder) -> Float[Tensor, "3 3"] | None:
    """Return the intrinsics of a sequence: its own, or those of the folder that holds several (3DMatch)."""
    for one in (folder, SceneFolder(folder.root.parent)):
        if (one.root / INTRINSICS_FILE).is_file():
            return _intrinsics(one, INTRINSICS_FILE)
    return None


def _published(focal: float, size: ImageSize) -> Float[Tensor, "3 3"]:
    """Return what is published of 7-Scenes for images of a size."""
    scale_u, scale_v = size.width / _SEVEN_SCENES_SIZE.width, size.height / _SEVEN_SCENES_SIZE.height
    cx, cy = _SEVEN_SCENES_CENTRE
    rows = [[focal * scale_u, 0.0, cx * scale_u], [0.0, focal * scale_v, cy * scale_v], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float64)


def _four(K: Float[Tensor, "3 3"]) -> tuple[float, float, float, float]:
    """Return fx, fy, cx, cy."""
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])


def _read_pose(folder: SceneFolder, name: str) -> tuple[Float[Tensor, "4 4"], bool]:
    path = folder.find(name)
    if path is None:
        raise CameraError(f"The pose '{name}' is missing.")
    return rigid(_read_matrix(path))


def _path(folder: SceneFolder, path: Path | None) -> str | None:
    return None if path is None else str(folder.image(str(path.relative_to(folder.root))))


def _read_matrix(path: Path) -> Float[ndarray, "row col"]:
    try:
        rows = [line.split() for line in read_text(path, MAX_MATRIX_BYTES).splitlines()]
        return np.array([row for row in rows if row and not row[0].startswith("#")], dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise CameraError(f"'{path}' is not readable as a matrix: {error}.") from error


def _intrinsics(folder: SceneFolder, name: str) -> Float[Tensor, "3 3"]:
    """Read a 3×3 or 4×4 K and move its origin to the corner."""
    path = folder.find(name)
    if path is None:
        raise SceneFormatError(f"The intrinsics '{folder.root / name}' are missing.")
    matrix = _read_matrix(path)
    if matrix.ndim != 2 or min(matrix.shape) < 3 or not np.isfinite(matrix[:3, :3]).all():
        raise SceneFormatError(f"'{path}' should be a finite 3×3 or 4×4 matrix, got shape {matrix.shape}.")
    K = torch.from_numpy(matrix[:3, :3].copy())
    K[:2, 2] += CENTER_OFFSET_PX
    return K


def number_of(path: Path) -> tuple[int, str]:
    """Frames are numbered without padding: 2 comes before 10."""
    return (int(path.stem) if path.stem.isdecimal() else 0, path.stem)
