"""Record3D's exports: ``metadata`` of all frames beside ``rgbd/`` (an unzipped ``.r3d``) or ``rgb/`` (its EXR export).

Poses are quaternions (scalar last) and positions, c2w with OpenGL axes; the unit is the metre. K is written column by
column, its pixels have corner origin, as Apple's cameras do. The number in an image's name is that of its frame.
Depth is in metres, in the shape of its image, and unknown where its confidence is 0.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene
from lift3d.errors import CameraError, SceneFormatError, brief
from lift3d.extras import install
from lift3d.geometry.rigid import inverse
from lift3d.scenes.camera_checks import stated_size
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.file_limits import read_json
from lift3d.scenes.json_lens import intrinsics, number, numbers
from lift3d.scenes.rgbd import number_of
from lift3d.scenes.rotations import opencv_from_opengl
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids
from lift3d.scenes.trajectory_file import pose_of

_FILES, _IMAGE_FOLDERS, _EXPORT = ("metadata", "metadata.json"), ("rgbd", "rgb"), "EXR_RGBD"
_POSES, _OWN_LENSES = "poses", "perFrameIntrinsicCoeffs"


class Record3dReader:
    """Reads the folder of an export."""

    def recognizes(self, location: str) -> bool:
        """Whether the metadata lie beside images."""
        return _metadata(Path(location)) is not None

    def read(self, location: str) -> Scene:
        """Read cameras."""
        path = _metadata(Path(location))
        if path is None:
            raise SceneFormatError(f"'{location}' holds no '{_FILES[0]}' beside {' or '.join(_IMAGE_FOLDERS)}.")
        found = read_json(path)
        poses = found.get(_POSES) if isinstance(found, dict) else None
        if not isinstance(poses, list):
            raise SceneFormatError(f"'{path}' should be an object with a list '{_POSES}', got {brief(found)}.")
        folder = SceneFolder(path.parent)
        draft = SceneDraft(scene_id_of(Path(location)), location, is_metric=True)
        images = sorted(folder.images(*_IMAGE_FOLDERS), key=number_of)
        for view_id, image in zip(view_ids(one.name for one in images), images, strict=True):
            with draft.dropping(view_id):
                frame = int(image.stem) if image.stem.isdecimal() else len(poses)
                if frame >= len(poses):
                    raise CameraError(f"'{path.name}' has no frame '{image.stem[:40]}', but 0 to {len(poses) - 1}.")
                row = np.array(numbers(poses[frame], 7, _POSES))
                c2w = opencv_from_opengl(pose_of(np.concatenate([row[4:], row[:4]])))
                source = FileFrame(
                    str(folder.image(str(image.relative_to(folder.root)))),
                    depth=_packed(folder, image, ".depth"),
                    depth_scale=1.0,
                    confidence=_packed(folder, image, ".conf"),
                )
                size = stated_size(number(found.get, "h"), number(found.get, "w"))
                draft.add(view_id, Camera(_intrinsics(found, frame), inverse(c2w), size), source)
        if next((folder.root / _IMAGE_FOLDERS[0]).glob("*.depth"), None) and not _unpacks():
            draft.note(f"Depth was not read: it is packed by LZFSE. {install('phone')} brings what unpacks it.")
        if (folder.root / "depth").is_dir():
            draft.note(
                "Depth was not read: it is OpenEXR. Export as .r3d, or write it as NUMBER.npy in metres and name the "
                "folder: --geometry 'depths?path=FOLDER'."
            )
        return draft.finish()


def _unpacks() -> bool:
    return find_spec("imagecodecs") is not None


def _packed(folder: SceneFolder, image: Path, suffix: str) -> str | None:
    """Return the packed map beside an image, if it is there and can be unpacked."""
    found = folder.find(str(image.with_suffix(suffix).relative_to(folder.root))) if _unpacks() else None
    return None if found is None else str(found)


def _metadata(path: Path) -> Path | None:
    """Return the file of metadata in a folder, or in that which the EXR export puts into it."""
    for root in (path, path / _EXPORT):
        if any((root / one).is_dir() for one in _IMAGE_FOLDERS):
            found = next((root / name for name in _FILES if (root / name).is_file()), None)
            if found is not None:
                return found
    return None


def _intrinsics(found: Mapping[str, Any], frame: int) -> Float[Tensor, "3 3"]:
    """Return the intrinsics of a frame: its own, which follow the focus, else those of all."""
    own = found.get(_OWN_LENSES)
    if isinstance(own, list) and frame < len(own):
        return intrinsics(*numbers(own[frame], 4, _OWN_LENSES))
    rows = torch.tensor(numbers(found.get("K"), 9, "K"), dtype=torch.float64).reshape(3, 3).T
    if rows[2].tolist() != [0, 0, 1]:
        raise CameraError(f"'K' should be written column by column: fx 0 0, 0 fy 0, cx cy 1; got {found['K']}.")
    return rows.contiguous()
