"""LLFF's ``poses_bounds.npy``: one row per image in sorted name order, and near and far depths.

A row is a 3×5 matrix, c2w with axes (down, right, back) and (height, width, focal), then near and far.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lift3d.domain.camera import Camera
from lift3d.domain.scene import DepthRange, Scene
from lift3d.errors import CameraError, SceneFormatError
from lift3d.geometry.rigid import inverse
from lift3d.scenes.camera_checks import stated_size
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.file_limits import map_array
from lift3d.scenes.rotations import rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids

FILE = "poses_bounds.npy"
_IMAGE_FOLDERS = ("images", "images_2", "images_4", "images_8")
_COLUMNS = 17
# The bounds are percentiles of the sparse points, so the surface goes on a little.
_MARGIN = 1.1


class LlffReader:
    """Reads a folder with ``poses_bounds.npy`` and ``images``, or smaller copies of them."""

    def recognizes(self, location: str) -> bool:
        """Whether the file of poses is there."""
        return (_root(location) / FILE).is_file()

    def read(self, location: str) -> Scene:
        """Read cameras and references."""
        root = _root(location)
        rows = _load(root / FILE)
        folder = SceneFolder(root)
        images = folder.images(*_IMAGE_FOLDERS)
        if len(images) != len(rows):
            raise SceneFormatError(
                f"'{FILE}' of '{root.name}' has {len(rows)} rows and there are {len(images)} images. The rows "
                "follow the sorted names, so each image needs its row: remove those that were not registered."
            )
        draft = SceneDraft(scene_id_of(root), location)
        for view_id, image, row in zip(view_ids(path.name for path in images), images, rows, strict=True):
            with draft.dropping(view_id):
                path = folder.image(str(image.relative_to(root)))
                camera, was_repaired = _camera(row)
                draft.add(view_id, camera, FileFrame(image=str(path)), was_repaired=was_repaired)
        draft.depth_range = _bounds(rows)
        if draft.depth_range is not None:
            draft.note("The depth range comes from the file's bounds.")
        return draft.finish()


def _root(location: str) -> Path:
    path = Path(location)
    return path.parent if path.name == FILE else path


def _load(path: Path) -> Float[ndarray, "view 17"]:
    rows = map_array(path)
    if rows.ndim != 2 or rows.shape[1] != _COLUMNS or rows.dtype.kind not in "fiu":
        raise SceneFormatError(f"'{path}' should be numbers of shape (views, 17), got {rows.dtype} of {rows.shape}.")
    return np.array(rows, dtype=np.float64)


def _camera(row: Float[ndarray, "17"]) -> tuple[Camera, bool]:
    matrix = row[:15].reshape(3, 5)
    down, right, back, center = (torch.from_numpy(matrix[:, index].copy()) for index in range(4))
    c2w, was_repaired = rigid(torch.stack([right, down, -back, center], dim=1))
    height, width, focal = matrix[:, 4]
    if not np.isfinite(matrix[:, 4]).all():
        raise CameraError(f"Height, width and focal length should be positive, got {matrix[:, 4].tolist()}.")
    size = stated_size(round(float(height)), round(float(width)))
    # The format has no principal point: it is the centre.
    rows = [[focal, 0.0, size.width / 2], [0.0, focal, size.height / 2], [0.0, 0.0, 1.0]]
    return Camera(torch.tensor(rows, dtype=torch.float64), inverse(c2w), size), was_repaired


def _bounds(rows: Float[ndarray, "view 17"]) -> DepthRange | None:
    bounds = rows[np.isfinite(rows[:, 15:]).all(axis=1), 15:]
    if len(bounds) == 0 or not 0 < bounds[:, 0].min() < bounds[:, 1].max():
        return None
    return DepthRange(float(bounds[:, 0].min()) / _MARGIN, float(bounds[:, 1].max()) * _MARGIN)
