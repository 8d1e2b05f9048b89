"""DTU scenes as IDR and NeuS prepare them: ``cameras*.npz``, ``image/`` and ``mask/``.

``world_mat_i`` is the projection matrix of the i-th image in sorted order, pixels counted from the centre of the
first one. ``scale_mat_i`` takes a unit sphere around the object to the world; the world stays as it is.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import DepthRange, Scene
from lift3d.errors import CameraError, SceneFormatError
from lift3d.geometry.rigid import inverse
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.file_limits import read_matrices
from lift3d.scenes.images import image_size
from lift3d.scenes.rotations import rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids

# NeuS writes the second name; where both are there they differ in the sphere alone.
FILES = ("cameras.npz", "cameras_sphere.npz", "cameras_large.npz")
_IMAGE_FOLDERS, _MASK_FOLDERS = ("image", "images", "rgb"), ("mask", "masks")
_CENTER_OFFSET_PX = 0.5
_SPHERE_MARGIN = 1.1
_MIN_NEAR_SHARE = 0.05

Matrices = dict[str, Float[ndarray, "4 4"]]


class IdrReader:
    """Reads a folder with ``cameras.npz`` or ``cameras_sphere.npz`` and its images."""

    def recognizes(self, location: str) -> bool:
        """Whether a file of cameras is there."""
        return _camera_file(Path(location)) is not None

    def read(self, location: str) -> Scene:
        """Read cameras and references."""
        path = _camera_file(Path(location))
        if path is None:
            raise SceneFormatError(f"'{location}' holds none of {', '.join(FILES)}.")
        folder = SceneFolder(path.parent)
        matrices = _load(path)
        images = folder.images(*_IMAGE_FOLDERS)
        count = sum(name.startswith("world_mat_") and "inv" not in name for name in matrices)
        if len(images) != count:
            raise SceneFormatError(
                f"'{path}' has {count} cameras and there are {len(images)} images in {' or '.join(_IMAGE_FOLDERS)}. "
                "Cameras follow the sorted names, so each image needs its camera."
            )
        draft = SceneDraft(scene_id_of(folder.root), location)
        masks = {_number_of(mask): mask for mask in folder.images(*_MASK_FOLDERS)}
        for index, (view_id, image) in enumerate(zip(view_ids(path.name for path in images), images, strict=True)):
            with draft.dropping(view_id):
                K, c2w, was_repaired = _decompose(matrices, index)
                mask = masks.get(_number_of(image))
                source = FileFrame(
                    image=str(folder.image(f"{image.parent.name}/{image.name}")),
                    mask=None if mask is None else str(folder.image(f"{mask.parent.name}/{mask.name}")),
                    is_silhouette=True,
                )
                camera = Camera(K, inverse(c2w), image_size(image))
                draft.add(view_id, camera, source, was_repaired=was_repaired, states_size=False)
        if masks and len(masks) < len(images):
            draft.note(f"{len(images) - len(masks)} images have no mask; all their pixels count.")
        draft.note("Half a pixel was added to the principal points: the format counts from the first pixel's centre.")
        _read_sphere(draft, matrices)
        return draft.finish()


def _camera_file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.name in FILES else None
    return next((path / name for name in FILES if (path / name).is_file()), None)


def _load(path: Path) -> Matrices:
    found = read_matrices(path, ("world_mat_", "scale_mat_"))
    wrong = [name for name, one in found.items() if one.shape not in ((3, 4), (4, 4)) or one.dtype.kind not in "fiu"]
    if wrong:
        one = found[wrong[0]]
        raise SceneFormatError(f"'{wrong[0]}' of '{path}' should be 4×4 numbers, got {one.dtype} of {one.shape}.")
    return {name: one.astype(np.float64) for name, one in found.items()}


def _decompose(matrices: Matrices, index: int) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"], bool]:
    """Return K with corner origin, c2w, and whether the rotation was repaired.

    Source:
        Hartley & Zisserman, Multiple View Geometry, 2nd ed., §6.2.4 (RQ decomposition).
    """
    import cv2  # Readers are asked in turn whose a scene is: only this one's scenes need it.

    # Keys are not padded, and may have gaps only where images are missing too.
    projection = matrices.get(f"world_mat_{index}")
    if projection is None or not np.isfinite(projection).all():
        raise CameraError(f"'world_mat_{index}' is missing or not finite.")
    projection = projection[:3]
    # A projection matrix has no sign of its own; with a positive determinant, its factors are proper.
    try:
        with np.errstate(all="ignore"):
            projection = projection * np.sign(np.linalg.det(projection[:, :3]) or 1.0)
            K, rotation, center = cv2.decomposeProjectionMatrix(np.ascontiguousarray(projection))[:3]
            signs = np.diag(np.sign(np.diag(K)))
            K, rotation = np.triu(K @ signs), signs @ rotation
            is_finite_camera = abs(K[2, 2]) >= 1e-12 and abs(center[3, 0]) >= 1e-12
            K, center = K / K[2, 2], center[:3] / center[3]
    except (cv2.error, np.linalg.LinAlgError):
        is_finite_camera = False
    if not is_finite_camera:
        raise CameraError(f"'world_mat_{index}' is no projection of a finite camera.")
    K[:2, 2] += _CENTER_OFFSET_PX
    c2w, was_repaired = rigid(np.concatenate([rotation.T, center], axis=1))
    return torch.from_numpy(K), c2w, was_repaired


def _read_sphere(draft: SceneDraft, matrices: Matrices) -> None:
    """Take the depth range from the sphere around the object; cameras inside it say nothing about near."""
    scale = matrices.get("scale_mat_0")
    if scale is None or not np.isfinite(scale).all() or scale[0, 0] <= 0 or not draft.cameras:
        return
    center, radius = torch.from_numpy(scale[:3, 3].copy()), float(scale[0, 0]) * _SPHERE_MARGIN
    z = [float((camera.w2c[:3, :3] @ center + camera.w2c[:3, 3])[2]) for camera in draft.cameras]
    near, far = max(min(z) - radius, _MIN_NEAR_SHARE * max(z)), max(z) + radius
    if min(z) + radius > 0 and 0 < near < far < np.inf:
        draft.depth_range = DepthRange(near, far)
        draft.note("The depth range comes from the sphere of 'scale_mat_0', which is kept out of the world.")


def _number_of(path: Path) -> int | str:
    """Images and masks are padded differently: their numbers join them."""
    digits = "".join(letter for letter in path.stem if letter.isdecimal())
    return int(digits) if digits else path.stem
