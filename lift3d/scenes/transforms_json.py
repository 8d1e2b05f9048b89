"""``transforms.json`` as instant-ngp, nerfstudio and the Blender synthetic scenes write it.

Poses are camera-to-world with OpenGL axes; pixels have corner origin. The world stays as the file has it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene
from lift3d.errors import CameraError, ImageError, SceneFormatError
from lift3d.geometry.rigid import inverse
from lift3d.scenes.file_limits import read_text
from lift3d.scenes.images import FileFrame, image_size
from lift3d.scenes.json_lens import number, read_lens
from lift3d.scenes.ply import read_ply_points
from lift3d.scenes.rotations import opencv_from_opengl, rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, scene_id_of, view_ids

FILE = "transforms.json"
SPLIT_FILES = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
# nerfstudio's default: depth images hold millimetres.
_DEPTH_UNIT = 0.001


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
        for view_id, entry in zip(view_ids(entry.name for entry in entries), entries, strict=True):
            with draft.dropping(view_id):
                _add(draft, folder, view_id, entry)
        for sentence in folder.notes():
            draft.note(sentence)
        _read_scene_wide(draft, folder, documents[0])
        return draft.finish()


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".json" and path.name.startswith("transforms") else []
    if (path / FILE).is_file():
        return [path / FILE]
    return [path / name for name in SPLIT_FILES if (path / name).is_file()]


def _load(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise SceneFormatError(f"'{path}' is not readable as JSON: {error}. Write or copy it again.") from error
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list):
        got = f"the keys {', '.join(list(document)[:8])}" if isinstance(document, dict) else type(document).__name__
        raise SceneFormatError(f"'{path}' should be an object with a list 'frames', got {got or 'nothing'}.")
    return document


def _entries(draft: SceneDraft, path: Path, shared: Mapping[str, Any]) -> list[_Entry]:
    """Return the frames that name an image, in the file's order; ScanNet++ keeps some under 'test_frames'."""
    test_frames = shared.get("test_frames") or []
    if not isinstance(test_frames, list):
        raise SceneFormatError(f"'test_frames' of '{path}' should be a list, got {type(test_frames).__name__}.")
    entries = []
    for index, frame in enumerate([*shared["frames"], *test_frames]):
        if isinstance(frame, dict) and isinstance(frame.get("file_path"), str):
            entries.append(_Entry(frame["file_path"].replace("\\", "/"), frame, shared))
        else:
            shown = sorted(map(str, frame)) if isinstance(frame, dict) else repr(frame)[:80]
            message = f"Frame {index} of '{path}' names no image: expected a string 'file_path', got {shown}."
            draft.drop(f"{path.name}[{index}]", SceneFormatError.reason, message)
    return entries


def _add(draft: SceneDraft, folder: SceneFolder, view_id: str, entry: _Entry) -> None:
    if entry.frame.get("is_bad"):
        draft.drop(view_id, "flagged", "The files flag this frame as bad.")
        return
    image = folder.image(entry.name)
    if "transform_matrix" not in entry.frame:
        raise CameraError("The frame has no 'transform_matrix'.")
    c2w, was_repaired = rigid(entry.frame["transform_matrix"])
    K, lens, declared = read_lens(entry.get, lambda: image_size(image))
    depth = _optional(draft, folder, entry, "depth_file_path")
    labels = _optional(draft, folder, entry, "label_file_path")
    source = FileFrame(
        image=str(image),
        depth=depth,
        labels=labels,
        mask=_mask(folder, entry),
        depth_scale=number(entry.shared.get, "depth_unit_scale_factor", _DEPTH_UNIT)
        * number(entry.shared.get, "applied_scale", 1.0),
        label_ignore=_label_ignore(entry.shared) if labels else None,
        distortion=lens,
    )
    camera = Camera(K, inverse(opencv_from_opengl(c2w)), declared)
    draft.add(view_id, camera, source, was_repaired=was_repaired)


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
        draft.label_names = {int(key): str(name) for key, name in names.items()}
    except (AttributeError, ValueError) as error:
        raise SceneFormatError(f"'label_names' should map class ids to names, got {str(names)[:80]}.") from error
    if "applied_transform" in shared:
        try:
            applied, _ = rigid(shared["applied_transform"])
            scale = number(shared.get, "applied_scale", 1.0)
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
