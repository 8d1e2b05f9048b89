"""Dense workspaces of COLMAP: undistorted images, their cameras under ``sparse/``, depth maps under ``stereo/``."""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.errors import CameraError, SceneFormatError
from lift3d.scenes.colmap import posed
from lift3d.scenes.colmap_model import read_model, suffixes
from lift3d.scenes.file_limits import require_bytes
from lift3d.scenes.images import MAX_FILE_BYTES
from lift3d.scenes.scene_folder import SceneFolder, view_ids

DEPTH_MAPS = Path("stereo", "depth_maps")
# In order of preference: other views were asked, or a view's own match alone.
KINDS = ("geometric", "photometric")
_HEADER = re.compile(rb"(\d{1,9})&(\d{1,9})&(\d{1,9})&")
_HEADER_BYTES = 32


@dataclass(frozen=True, slots=True)
class DenseView:
    """An image of a workspace: its camera, and its depth map with what kind that is; None without one."""

    camera: Camera
    depth_map: Path | None
    kind: str


def read_workspace(root: Path) -> dict[ViewId, DenseView]:
    """Return a workspace's images by their ids in a scene; SceneFormatError without cameras or depth maps."""
    folders = [folder for folder in (root / "sparse", root / "sparse" / "0") if suffixes(folder)]
    if not folders:
        raise SceneFormatError(f"'{root}' holds no cameras of a dense workspace: a COLMAP model in 'sparse'.")
    model = read_model(folders[0])
    images = sorted(model.images, key=lambda image: image.name)
    views, maps = {}, SceneFolder(root / DEPTH_MAPS)
    for view_id, image in zip(view_ids(image.name for image in images), images, strict=True):
        # A scene has no such view either.
        with suppress(CameraError, SceneFormatError):
            views[view_id] = DenseView(posed(model, image)[0], *_depth_map(maps, image.name))
    if not any(view.depth_map for view in views.values()):
        raise SceneFormatError(
            f"'{root / DEPTH_MAPS}' holds no depth map of the {len(views)} images of its model, such as "
            f"'{images[0].name if images else '…'}.{KINDS[0]}.bin'. Run patch_match_stereo there first."
        )
    return views


def _depth_map(maps: SceneFolder, name: str) -> tuple[Path | None, str]:
    for kind in KINDS:
        path = maps.find(f"{name}.{kind}.bin")
        if path is not None:
            return path, kind
    return None, ""


def read_depth_map(path: Path) -> Float32[ndarray, "height width"]:
    """Return the z-depth of each pixel, NaN where unknown; SceneFormatError if the file is none, or of another size."""
    try:
        require_bytes(path, MAX_FILE_BYTES)
        with path.open("rb") as stream:
            head = _HEADER.match(stream.read(_HEADER_BYTES))
            width, height, channels = map(int, head.groups()) if head else (0, 0, 0)
            got = path.stat().st_size - (head.end() if head else 0)
            if channels != 1 or got != 4 * width * height or not got:
                raise SceneFormatError(
                    f"'{path}' is no depth map of COLMAP: expected 'WIDTH&HEIGHT&1&' and 4 bytes a pixel, got "
                    f"{width}×{height} pixels of {channels} channels in {got} bytes. Write it again."
                )
            stream.seek(head.end() if head else 0)
            z_depth = np.fromfile(stream, dtype="<f4").reshape(height, width)
    except OSError as error:
        raise SceneFormatError(f"The depth map '{path}' cannot be read: {error}.") from error
    return np.where(np.isfinite(z_depth) & (z_depth > 0), z_depth, np.float32(np.nan))
