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
from lift3d.scenes.file_limits import MAX_MATRIX_BYTES, require_bytes
from lift3d.scenes.images import FileFrame, image_size
from lift3d.scenes.rotations import rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of

_CENTER_OFFSET_PX = 0.5
_MILLIMETRE = 0.001
_SEVEN_SCENES_POSE = "frame-*.pose.txt"
# Focal length and principal point that the 7-Scenes page gives for its 640×480 images, with half a pixel.
_SEVEN_SCENES_K = ((585.0, 0.0, 320.5), (0.0, 585.0, 240.5), (0.0, 0.0, 1.0))
_SEVEN_SCENES_SIZE = ImageSize(480, 640)
_INTRINSICS_FILE = "camera-intrinsics.txt"
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
        draft = SceneDraft(scene_id_of(folder.root), location)
        K = _intrinsics(folder, "intrinsic/intrinsic_color.txt")
        depth_K = _depth_intrinsics(folder, "intrinsic/intrinsic_depth.txt", K)
        draft.note("Half a pixel was added to the principal points: the format counts from the first pixel's centre.")
        by_stem = {name: {path.stem: path for path in folder.images(name)} for name in ("depth", *_LABEL_FOLDERS)}
        labels = next((by_stem[name] for name in _LABEL_FOLDERS if by_stem[name]), {})
        for image in sorted(folder.images("color"), key=_number_of):
            with draft.dropping(image.stem):
                c2w, was_repaired = _read_pose(folder, f"pose/{image.stem}.txt")
                source = FileFrame(
                    image=str(folder.image(f"color/{image.name}")),
                    depth=_path(folder, by_stem["depth"].get(image.stem)),
                    labels=_path(folder, labels.get(image.stem)),
                    depth_scale=_MILLIMETRE,
                    depth_intrinsics=depth_K,
                    label_ignore=_SCANNET_UNANNOTATED if labels else None,
                )
                camera = Camera(K, inverse(c2w), image_size(image))
                draft.add(image.stem, camera, source, was_repaired=was_repaired)
        return draft.finish()


class SevenScenesReader:
    """Reads one sequence of ``frame-XXXXXX.color.png``, ``.depth.png`` and ``.pose.txt``."""

    def recognizes(self, location: str) -> bool:
        """Whether there is a pose of such a name."""
        return next(Path(location).glob(_SEVEN_SCENES_POSE), None) is not None

    def read(self, location: str) -> Scene:
        """Read cameras and references."""
        folder = SceneFolder(Path(location))
        draft = SceneDraft(scene_id_of(folder.root), location)
        if folder.find(_INTRINSICS_FILE) is not None:
            K, declared = _intrinsics(folder, _INTRINSICS_FILE), None
        else:
            K, declared = torch.tensor(_SEVEN_SCENES_K, dtype=torch.float64), _SEVEN_SCENES_SIZE
            draft.note("The intrinsics are the data set's published ones: 585, 585, 320, 240.")
        draft.note("Half a pixel was added to the principal point: the format counts from the first pixel's centre.")
        for pose in sorted(folder.root.glob(_SEVEN_SCENES_POSE)):
            view_id = pose.name.split(".")[0]
            with draft.dropping(view_id):
                image = folder.image(f"{view_id}.color")
                c2w, was_repaired = _read_pose(folder, pose.name)
                depth = _path(folder, folder.find(f"{view_id}.depth"))
                source = FileFrame(image=str(image), depth=depth, depth_scale=_MILLIMETRE)
                camera = Camera(K, inverse(c2w), declared or image_size(image))
                draft.add(view_id, camera, source, was_repaired=was_repaired)
        return draft.finish()


def _read_pose(folder: SceneFolder, name: str) -> tuple[Float[Tensor, "4 4"], bool]:
    path = folder.find(name)
    if path is None:
        raise CameraError(f"The pose '{name}' is missing.")
    return rigid(_read_matrix(path))


def _path(folder: SceneFolder, path: Path | None) -> str | None:
    return None if path is None else str(folder.image(str(path.relative_to(folder.root))))


def _read_matrix(path: Path) -> Float[ndarray, "row col"]:
    try:
        require_bytes(path, MAX_MATRIX_BYTES)
        return np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise CameraError(f"'{path}' is not readable as a matrix: {error}.") from error


def _intrinsics(folder: SceneFolder, name: str) -> Float[Tensor, "3 3"]:
    """Read a 3×3 or 4×4 K and move its origin to the corner."""
    path = folder.find(name)
    if path is None:
        raise SceneFormatError(f"The intrinsics '{folder.root / name}' are missing.")
    matrix = _read_matrix(path)
    if min(matrix.shape) < 3 or not np.isfinite(matrix[:3, :3]).all():
        raise SceneFormatError(f"'{path}' should be a finite 3×3 or 4×4 matrix, got shape {matrix.shape}.")
    K = torch.from_numpy(matrix[:3, :3].copy())
    K[:2, 2] += _CENTER_OFFSET_PX
    return K


def _depth_intrinsics(
    folder: SceneFolder, name: str, color: Float[Tensor, "3 3"]
) -> tuple[float, float, float, float] | None:
    """Return fx, fy, cx, cy of the depth sensor; None where the depth maps fit the images already."""
    if folder.find(name) is None:
        return None
    K = _intrinsics(folder, name)
    if torch.equal(K, color):
        return None
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])


def _number_of(path: Path) -> tuple[int, str]:
    """Frames are numbered without padding: 2 comes before 10."""
    return (int(path.stem) if path.stem.isdecimal() else 0, path.stem)
