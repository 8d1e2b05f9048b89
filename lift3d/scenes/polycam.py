"""Polycam's raw export: ``keyframes/`` with one JSON of a camera, an image and a depth map per time.

Poses are c2w with OpenGL axes, row by row as ``t_00`` to ``t_23``; the unit is the metre. Pixels have corner origin, as
Apple's cameras do. Depth is 16-bit millimetres. Files are joined by stem.
"""

from pathlib import Path

import numpy as np
import torch

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene
from lift3d.errors import CameraError, SceneFormatError, brief
from lift3d.geometry.rigid import inverse
from lift3d.scenes.camera_checks import stated_size
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.file_limits import read_json
from lift3d.scenes.images import image_size
from lift3d.scenes.json_lens import intrinsics, number, positive
from lift3d.scenes.rgbd import MILLIMETRE, number_of
from lift3d.scenes.rotations import opencv_from_opengl, rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids

_KEYFRAMES, _DEPTH, _CONFIDENCE = "keyframes", "depth", "confidence"
_CORRECTED, _ORIGINAL = ("corrected_images", "corrected_cameras"), ("images", "cameras")
_MATRIX = [[f"t_{row}{column}" for column in range(4)] for row in range(3)]


class PolycamReader:
    """Reads a folder with ``keyframes/``, or that folder: what Polycam corrected, if it did."""

    def recognizes(self, location: str) -> bool:
        """Whether images and cameras of keyframes are there."""
        return _keyframes(Path(location)) is not None

    def read(self, location: str) -> Scene:
        """Read cameras and references."""
        root = _keyframes(Path(location))
        if root is None:
            raise SceneFormatError(f"'{location}' holds no '{_KEYFRAMES}' with {' and '.join(_ORIGINAL)}.")
        folder = SceneFolder(root)
        images, cameras = _kind(root)
        draft = SceneDraft(scene_id_of(Path(location)), location, is_metric=True)
        if (images, cameras) == _ORIGINAL:
            draft.note("Polycam corrected neither poses nor lenses of this capture; its original ones were read.")
        paths = sorted(folder.images(images), key=number_of)
        for view_id, path in zip(view_ids(one.name for one in paths), paths, strict=True):
            with draft.dropping(view_id):
                image = folder.image(f"{images}/{path.name}")
                camera, was_repaired = _camera(folder, f"{cameras}/{path.stem}.json")
                depth, confidence = (folder.find(f"{one}/{path.stem}.png") for one in (_DEPTH, _CONFIDENCE))
                source = FileFrame(
                    str(image),
                    depth=None if depth is None else str(depth),
                    depth_scale=MILLIMETRE,
                    depth_intrinsics=None if depth is None else _of_depth(folder, path.stem, camera, depth),
                    confidence=None if depth is None or confidence is None else str(confidence),
                )
                draft.add(view_id, camera, source, was_repaired=was_repaired)
        return draft.finish()


def _keyframes(path: Path) -> Path | None:
    root = path if path.name == _KEYFRAMES else path / _KEYFRAMES
    return root if _kind(root) else None


def _kind(root: Path) -> tuple[str, str] | tuple[()]:
    """Return the folders of images and cameras that are read; none if there are none."""
    return next((kind for kind in (_CORRECTED, _ORIGINAL) if all((root / one).is_dir() for one in kind)), ())


def _camera(folder: SceneFolder, name: str) -> tuple[Camera, bool]:
    path = folder.find(name)
    if path is None:
        raise CameraError(f"The camera '{name}' is missing. Export the capture again.")
    found = read_json(path)
    if not isinstance(found, dict):
        raise SceneFormatError(
            f"'{path}' should be an object with fx, fy, cx, cy and t_00 to t_23, got {brief(found)}."
        )
    K = intrinsics(
        *(positive(found.get, one) for one in ("fx", "fy")), *(number(found.get, one) for one in ("cx", "cy"))
    )
    size = stated_size(number(found.get, "height"), number(found.get, "width"))
    matrix = np.array([[number(found.get, key) for key in row] for row in _MATRIX])
    c2w, was_repaired = rigid(matrix)
    return Camera(K, inverse(opencv_from_opengl(c2w)), size), was_repaired


def _of_depth(folder: SceneFolder, stem: str, camera: Camera, depth: Path) -> tuple[float, float, float, float] | None:
    """Return the intrinsics of a depth map: those of the image before it was corrected, at the map's size."""
    name = f"{_ORIGINAL[1]}/{stem}.json"
    original = _camera(folder, name)[0] if folder.has(name) else camera
    if torch.equal(original.K, camera.K) and original.size == camera.size:
        return None
    K = original.resized(image_size(depth)).K
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
