"""``transforms.json`` as instant-ngp, nerfstudio and the Blender synthetic scenes write it.

Poses are camera-to-world with OpenGL axes; pixels have corner origin. The world stays as the file has it.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene
from lift3d.errors import CameraError, ImageError, SceneFormatError, brief
from lift3d.geometry.rigid import inverse
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.file_limits import read_json
from lift3d.scenes.images import image_size
from lift3d.scenes.json_lens import LENS_KEYS, number, positive, read_lens
from lift3d.scenes.ply import read_ply_points
from lift3d.scenes.rotations import opencv_from_opengl, rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids

FILE = "transforms.json"
SPLIT_FILES = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
# nerfstudio's default: depth images hold millimetres.
_DEPTH_UNIT = 0.001
_MOST_NAMED, _LONGEST_LABEL = 20, 256
# nerfstudio's and instant-ngp's names of a depth map.
_DEPTH_KEY, _NGP_DEPTH_KEY = "depth_file_path", "depth_path"
# What is read of a frame and of a file. The rest means nothing to cameras and pixels: sharpness, names and splits of
# COLMAP, where a radiance field has its box and its light, how nerfstudio would orient the scene.
_FRAME_KEYS = {
    *("file_path", "transform_matrix", "is_bad", "mask_path", "label_file_path", _DEPTH_KEY, _NGP_DEPTH_KEY),
    *("sharpness", "colmap_im_id", "rotation"),
}
_FILE_KEYS = {
    *("frames", "test_frames", "mask_path", "label_names", "label_ignore", "ply_file_path"),
    *("depth_unit_scale_factor", "applied_scale", "applied_transform", "enable_depth_loading", "integer_depth_scale"),
    *("train_filenames", "val_filenames", "test_filenames", "orientation_override", "auto_scale_poses_override"),
    *("aabb_scale", "scale", "offset", "from_na", "sharpen"),
}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One frame with the file-wide values beneath it."""

    name: str
    frame: Mapping[str, Any]
    shared: Mapping[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        return self.frame.get(key, self.shared.get(key, default))


class TransformsJsonReader:
    """Reads a folder with ``transforms.json`` (or its train, val and test splits), or one such file."""

    def recognizes(self, location: str) -> bool:
        """Whether such a file is there."""
        return bool(_files(Path(location)))

    def read(self, location: str) -> Scene:
        """Read cameras and references."""
        files = _files(Path(location))
        if not files:
            raise SceneFormatError(f"'{location}' holds no {FILE} and none of {', '.join(SPLIT_FILES)}.")
        folder = SceneFolder(files[0].parent)
        documents = [_load(path) for path in files]
        draft = SceneDraft(scene_id_of(folder.root), location)
        entries = [
            entry for path, shared in zip(files, documents, strict=True) for entry in _entries(draft, path, shared)
        ]
        _note_unknown(draft, "the file", {key for shared in documents for key in shared} - _FILE_KEYS)
        _note_unknown(draft, "frames", {key for entry in entries for key in entry.frame} - _FRAME_KEYS)
        coming = deque(zip(view_ids(entry.name for entry in entries), entries, strict=True))
        # What the file says of a frame is let go with it: of ten thousand it takes as much as the views.
        del entries
        while coming:
            view_id, entry = coming.popleft()
            with draft.dropping(view_id):
                _add(draft, folder, view_id, entry)
        draft.note(*folder.notes())
        _read_scene_wide(draft, folder, documents[0])
        return draft.finish()


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".json" and path.name.startswith("transforms") else []
    if (path / FILE).is_file():
        return [path / FILE]
    return [path / name for name in SPLIT_FILES if (path / name).is_file()]


def _load(path: Path) -> dict[str, Any]:
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list):
        raise SceneFormatError(f"'{path}' should be an object with a list 'frames', got {brief(document)}.")
    return document


def _note_unknown(draft: SceneDraft, where: str, keys: Iterable[str]) -> None:
    unknown = sorted(set(keys) - LENS_KEYS)
    if unknown:
        more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        named = ", ".join(brief(key) for key in unknown[:_MOST_NAMED])
        draft.note(f"Keys of {where} that are not known here were not read: {named}{more}.")


def _entries(draft: SceneDraft, path: Path, shared: dict[str, Any]) -> list[_Entry]:
    """Take the frames that name an image out of a file, sorted as nerfstudio does: by name, so along the camera's path.

    ScanNet++ keeps some under 'test_frames'.
    """
    frames, test_frames = shared.pop("frames"), shared.pop("test_frames", None) or []
    if not isinstance(test_frames, list):
        raise SceneFormatError(f"'test_frames' of '{path}' should be a list, got {brief(test_frames)}.")
    entries = []
    for index, frame in enumerate([*frames, *test_frames]):
        if isinstance(frame, dict) and isinstance(frame.get("file_path"), str):
            entries.append(_Entry(frame["file_path"].replace("\\", "/"), frame, shared))
        else:
            message = f"Frame {index} of '{path}' names no image: expected a string 'file_path', got {brief(frame)}."
            draft.drop(f"{path.name}[{index}]", SceneFormatError.reason, message)
    return sorted(entries, key=lambda entry: _by_number(entry.name))


def _by_number(name: str) -> list[str | int]:
    """Return a key that sorts frame 2 before frame 10."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d{1,18})", name))]


def _add(draft: SceneDraft, folder: SceneFolder, view_id: str, entry: _Entry) -> None:
    if entry.frame.get("is_bad"):
        draft.drop(view_id, "flagged", "The files flag this frame as bad.")
        return
    image = folder.image(entry.name)
    if "transform_matrix" not in entry.frame:
        raise CameraError("The frame has no 'transform_matrix'.")
    c2w, was_repaired = rigid(entry.frame["transform_matrix"])
    lens = read_lens(entry.frame, entry.shared, lambda: image_size(image))
    labels = _optional(draft, folder, entry, "label_file_path")
    depth, depth_scale = _depth(draft, folder, entry)
    source = FileFrame(
        image=str(image),
        depth=depth,
        labels=labels,
        mask=_mask(folder, entry),
        depth_scale=depth_scale,
        label_ignore=_label_ignore(entry.shared) if labels else None,
        distortion=lens.distortion,
    )
    camera = Camera(lens.K, inverse(opencv_from_opengl(c2w)), lens.size)
    draft.add(view_id, camera, source, was_repaired=was_repaired, states_size=lens.states_size)
    if not lens.states_size:
        draft.note(
            "The file states no image size ('w', 'h'); intrinsics are taken for those of the images as they are."
        )


def _depth(draft: SceneDraft, folder: SceneFolder, entry: _Entry) -> tuple[str | None, float]:
    """Return the path of the depth map, and world units per number in it."""
    unit = positive(entry.shared.get, "depth_unit_scale_factor", _DEPTH_UNIT)
    scale = unit * positive(entry.shared.get, "applied_scale", 1.0)
    path = _optional(draft, folder, entry, _DEPTH_KEY)
    if path is not None or entry.frame.get(_NGP_DEPTH_KEY) is None:
        # The factor takes depth to metres, which a scale of the world may have left behind.
        draft.is_metric |= path is not None and scale == unit
        return path, scale
    if not entry.shared.get("enable_depth_loading", True) or entry.shared.get("integer_depth_scale") is None:
        draft.note(f"'{_NGP_DEPTH_KEY}' was not read: the file gives no 'integer_depth_scale', or turns depth off.")
        return None, scale
    return _optional(draft, folder, entry, _NGP_DEPTH_KEY), positive(entry.shared.get, "integer_depth_scale", 1.0)


def _optional(draft: SceneDraft, folder: SceneFolder, entry: _Entry, key: str) -> str | None:
    """Return the path of a map that a view can do without."""
    name = entry.frame.get(key)
    if name is None:
        return None
    path = folder.find(name)
    if path is None:
        draft.note(f"Some files named by '{key}' are missing, such as '{name}'; their views are kept without.")
    return None if path is None else str(path)


def _mask(folder: SceneFolder, entry: _Entry) -> str | None:
    """Return the path of the mask; without it nobody knows which pixels may vote."""
    name = entry.get("mask_path")
    if name is None:
        return None
    path = folder.find(name)
    if path is None:
        raise ImageError(f"The mask '{name}' is missing. Add it or remove 'mask_path'.")
    return str(path)


def _read_scene_wide(draft: SceneDraft, folder: SceneFolder, shared: Mapping[str, Any]) -> None:
    names = shared.get("label_names") or {}
    try:
        draft.label_names = {
            int(key): str(name if isinstance(name, str) else brief(name))[:_LONGEST_LABEL]
            for key, name in names.items()
        }
    except (AttributeError, ValueError) as error:
        raise SceneFormatError(f"'label_names' should map class ids to names, got {brief(names)}.") from error
    if "applied_transform" in shared:
        try:
            applied, _ = rigid(shared["applied_transform"])
            scale = positive(shared.get, "applied_scale", 1.0)
        except CameraError as error:
            raise SceneFormatError(f"'applied_transform' is no similarity: {error}") from error
        draft.canonical_from_source = (
            torch.diag(torch.tensor([scale, scale, scale, 1.0], dtype=torch.float64)) @ applied
        )
    name = shared.get("ply_file_path")
    path = folder.find(name) if name else None
    if path is not None:
        draft.points = read_ply_points(path)
    elif name:
        draft.note(f"The point file '{name}' is missing.")


def _label_ignore(shared: Mapping[str, Any]) -> int | None:
    return None if shared.get("label_ignore") is None else int(number(shared.get, "label_ignore", 0.0))
