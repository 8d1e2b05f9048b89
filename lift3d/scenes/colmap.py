"""COLMAP models, binary and text, through pycolmap. Axes and pixels are ours already."""

from pathlib import Path

import numpy as np
import pycolmap
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import Scene
from lift3d.errors import SceneFormatError
from lift3d.scenes.images import FileFrame
from lift3d.scenes.rotations import rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, require_inside, scene_id_of, view_ids
from lift3d.scenes.undistortion import Distortion, is_pinhole, pinhole_intrinsics

# Where COLMAP, nerfstudio and MVS pipelines keep their models, below the scene's folder.
_MODEL_FOLDERS = ("sparse", "sparse/*", "colmap/sparse/*", "dense/sparse", "distorted/sparse/*")
# COLMAP's file layout: a camera has no fewer than 24 bytes, an image 73, a point 51, after a count of 8.
_SMALLEST_RECORD_BYTES = {"cameras": 24, "images": 73, "points3D": 51}
_COUNT_BYTES = 8
_PARTS = ("cameras", "images", "points3D")
_READ_ERRORS = (ValueError, RuntimeError, IndexError, OSError, MemoryError)


class ColmapReader:
    """Reads a scene folder with a model under ``sparse/``, or the folder of one model."""

    def recognizes(self, location: str) -> bool:
        """Whether there is a model."""
        return bool(model_folders(Path(location)))

    def read(self, location: str) -> Scene:
        """Read the model with the most registered images."""
        root = Path(location)
        folders = model_folders(root)
        if not folders:
            raise SceneFormatError(f"'{location}' holds no COLMAP model: {', '.join(_PARTS)} as .bin or .txt.")
        draft = SceneDraft(scene_id_of(_image_folder(root, root).parent), location)
        model = _largest(draft, root, folders)
        image_folder = _image_folder(root, folders[0])
        require_inside(image_folder, image_folder.parent)
        images = SceneFolder(image_folder)
        masks = _mask_folder(image_folder.parent)
        # Ids have gaps and no order that means anything; names sort along a capture.
        registered = sorted((model.images[key] for key in model.reg_image_ids()), key=lambda image: image.name)
        for view_id, image in zip(view_ids(image.name for image in registered), registered, strict=True):
            with draft.dropping(view_id):
                _add(draft, view_id, image, images, masks)
        for sentence in images.notes():
            draft.note(sentence)
        if model.num_points3D():
            xyz = np.stack([model.points3D[key].xyz for key in sorted(model.points3D)])
            draft.points = torch.from_numpy(xyz)
        return draft.finish()


def _add(
    draft: SceneDraft, view_id: str, image: pycolmap.Image, images: SceneFolder, masks: SceneFolder | None
) -> None:
    path = images.image(image.name)
    camera, lens, was_repaired = posed(image)
    source = FileFrame(image=str(path), mask=_mask(draft, image.name, masks), distortion=lens)
    draft.add(view_id, camera, source, was_repaired=was_repaired)


def posed(image: pycolmap.Image) -> tuple[Camera, Distortion | None, bool]:
    """Return an image's pinhole camera, its lens if that bends anything, and whether the rotation was repaired."""
    given = image.camera
    lens = Distortion(given.model_name, tuple(map(float, given.params)), ImageSize(given.height, given.width))
    K = torch.from_numpy(pinhole_intrinsics(lens))
    # A method since pycolmap 3.11; a property before.
    w2c, was_repaired = rigid(image.cam_from_world().matrix())
    return Camera(K, w2c, lens.size), None if is_pinhole(lens) else lens, was_repaired


def _mask_folder(root: Path) -> SceneFolder | None:
    folder = root / "masks"
    if not folder.is_dir():
        return None
    require_inside(folder, root)
    return SceneFolder(folder)


def _mask(draft: SceneDraft, name: str, masks: SceneFolder | None) -> str | None:
    """Return COLMAP's mask of an image: its name and ``.png``; without one all pixels count, as in COLMAP."""
    if masks is None:
        return None
    path = masks.find(f"{name}.png") or masks.find(str(Path(name).with_suffix(".png")))
    if path is None:
        draft.note(f"Some images have no mask, such as '{name}'; all their pixels count.")
        return None
    return str(path)


def model_folders(root: Path) -> list[Path]:
    """Return a folder and those below it that hold a model."""
    if not root.is_dir():
        return []
    below = [folder for pattern in _MODEL_FOLDERS for folder in sorted(root.glob(pattern))]
    return [folder for folder in (root, *below) if _suffixes(folder)]


def _suffixes(folder: Path) -> list[str]:
    """Return which forms of a model a folder holds; COLMAP itself prefers the binary one."""
    return [suffix for suffix in (".bin", ".txt") if all((folder / f"{part}{suffix}").is_file() for part in _PARTS)]


def _largest(draft: SceneDraft, root: Path, folders: list[Path]) -> pycolmap.Reconstruction:
    """Read all models and keep the one with the most registered images: it is not always number 0."""
    models = [(folder, read_model(folder)) for folder in folders]
    folder, model = max(models, key=lambda item: item[1].num_reg_images())
    if len(_suffixes(folder)) > 1:
        draft.note("The model is there as .bin and as .txt; the binary one was read, as COLMAP does.")
    for other, rest in models:
        if other != folder:
            where = other.relative_to(root)
            draft.note(f"The model '{where}' with {rest.num_reg_images()} images was left out; another has more.")
    return model


def read_model(folder: Path) -> pycolmap.Reconstruction:
    """Read the model of a folder, which holds one; SceneFormatError if it is malformed."""
    if _suffixes(folder)[0] == ".bin":
        _require_plausible_counts(folder)
    try:
        return pycolmap.Reconstruction(str(folder))
    except _READ_ERRORS as error:
        raise SceneFormatError(f"The COLMAP model in '{folder}' is malformed: {error}.") from error


def _require_plausible_counts(folder: Path) -> None:
    """Refuse files that end before what they promise: the reader behind this would loop over nothing."""
    for part, record_bytes in _SMALLEST_RECORD_BYTES.items():
        path = folder / f"{part}.bin"
        with path.open("rb") as stream:
            head = stream.read(_COUNT_BYTES)
        count = int.from_bytes(head, "little")
        if len(head) < _COUNT_BYTES or count * record_bytes > path.stat().st_size:
            raise SceneFormatError(f"'{path}' promises {count} records and is too short for them. Copy it again.")


def _image_folder(location: Path, model: Path) -> Path:
    for parent in (location, *list(model.absolute().parents)[:2]):
        if (parent / "images").is_dir():
            return parent / "images"
    raise SceneFormatError(
        f"Found a COLMAP model in '{model}' but no folder 'images' in '{location}' or above the model. "
        "Put the images beside 'sparse'."
    )
