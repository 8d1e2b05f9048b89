"""COLMAP models, binary and text, and where tools put them. Axes and pixels are ours already."""

import math
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene
from lift3d.errors import CameraError, SceneFormatError
from lift3d.scenes.camera_checks import stated_size
from lift3d.scenes.colmap_model import PARTS, ColmapModel, ModelImage, read_model, suffixes
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.rotations import rigid
from lift3d.scenes.scene_draft import SceneDraft
from lift3d.scenes.scene_folder import SceneFolder, require_inside, scene_id_of, view_ids
from lift3d.scenes.undistortion import Distortion, is_pinhole, pinhole_intrinsics

# Where COLMAP, nerfstudio, 3DGS and MVS pipelines keep their models, below the scene's folder. The first of these
# groups with images is read: a later one is of the same images before, or after, they were undistorted.
_MODEL_FOLDERS = (
    ("",),
    ("sparse", "sparse/*"),
    ("colmap/sparse/*",),
    ("dense/sparse", "dense/*/sparse"),
    ("distorted/sparse/*",),
)
_IMAGES = "images"
# Files with few digits miss a length of 1 by this much; COLMAP takes quaternions of any length for rotations.
_UNIT_TOLERANCE, _SHORTEST_QUATERNION = 1e-5, 1e-6


class ColmapReader:
    """Reads a scene folder with a model under ``sparse/``, or the folder of one model."""

    def recognizes(self, location: str) -> bool:
        """Whether there is a model."""
        return bool(_model_folders(Path(location)))

    def read(self, location: str) -> Scene:
        """Read the model with the most images that are there."""
        root = Path(location)
        model_folder, image_folder, notes = _chosen(root)
        draft = SceneDraft(scene_id_of(image_folder.parent if suffixes(root) else root), location)
        draft.note(*notes)
        require_inside(image_folder, image_folder.parent)
        images, masks = SceneFolder(image_folder), _mask_folder(image_folder.parent)
        model = read_model(model_folder)
        # Ids have gaps and no order that means anything; names sort along a capture.
        registered = sorted(model.images, key=lambda image: image.name)
        for view_id, image in zip(view_ids(image.name for image in registered), registered, strict=True):
            with draft.dropping(view_id):
                path = images.image(image.name)
                camera, lens, was_repaired = posed(model, image)
                source = FileFrame(image=str(path), mask=_mask(draft, image.name, masks), distortion=lens)
                draft.add(view_id, camera, source, was_repaired=was_repaired)
        draft.note(*images.notes())
        if len(model.points):
            draft.points = torch.from_numpy(model.points)
        return draft.finish()


def posed(model: ColmapModel, image: ModelImage) -> tuple[Camera, Distortion | None, bool]:
    """Return a pinhole, the lens if that bends, and whether the rotation was repaired; CameraError if it has none."""
    from lift3d.scenes.colmap_log import pycolmap

    given = model.cameras.get(image.camera)
    if given is None:
        raise CameraError(f"The model has no camera {image.camera}, which is that of the image.")
    lens = Distortion(given.model, given.params, stated_size(given.height, given.width))
    K = torch.from_numpy(pinhole_intrinsics(lens))
    w, x, y, z = image.quaternion
    length = math.hypot(w, x, y, z)
    if not _SHORTEST_QUATERNION < length < 1 / _SHORTEST_QUATERNION:
        raise CameraError(f"The quaternion {image.quaternion} is no rotation; expected one of length 1.")
    rotation: ndarray = pycolmap.Rotation3d(np.array([x, y, z, w])).matrix()
    w2c, was_repaired = rigid(np.concatenate([rotation, np.array(image.translation)[:, None]], axis=1))
    is_repaired = was_repaired or abs(length - 1) > _UNIT_TOLERANCE
    return Camera(K, w2c, lens.size), None if is_pinhole(lens) else lens, is_repaired


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


def _model_folders(root: Path) -> list[list[Path]]:
    """Return the folders with a model, group by group."""
    if not root.is_dir():
        return []
    below = [
        [folder for pattern in patterns for folder in ([root] if not pattern else sorted(root.glob(pattern)))]
        for patterns in _MODEL_FOLDERS
    ]
    return [found for group in below if (found := [folder for folder in group if suffixes(folder)])]


def _chosen(root: Path) -> tuple[Path, Path, list[str]]:
    """Return the folder of the model that is read, that of its own images, and what there is to say of the others."""
    groups = _model_folders(root)
    if not groups:
        raise SceneFormatError(f"'{root}' holds no COLMAP model: {', '.join(PARTS)} as .bin or .txt.")
    for group in groups:
        pairs = [(folder, images) for folder in group if (images := _images_of(folder))]
        if not pairs:
            continue
        (folder, images), notes = _largest(root, pairs)
        if len(suffixes(folder)) > 1:
            notes.append("The model is there as .bin and as .txt; the binary one was read, as COLMAP does.")
        for other in (one for rest in groups if rest is not group for one in rest):
            notes.append(f"The model '{other.relative_to(root)}' was left out; it belongs to other images.")
        return folder, images, notes
    raise SceneFormatError(
        f"Found a COLMAP model in '{groups[0][0]}' but no folder '{_IMAGES}' with the images that it is of. Put them "
        "beside 'sparse'."
    )


def _images_of(model: Path) -> Path | None:
    """Return the folder of a model's images: beside its 'sparse', else where the tool that made it leaves them."""
    model = model.absolute()
    sparse = next((folder for folder in (model, model.parent) if folder.name == "sparse"), None)
    if sparse is None:
        places = [folder / _IMAGES for folder in (model, *list(model.parents)[:2])]
    else:
        base = sparse.parent
        places = [base / _IMAGES]
        if base.name == "distorted":
            # The script that prepares captures for Gaussian splatting: images/ is what it undistorted from input/.
            places.append(base.parent / "input")
        if base.name == "colmap":
            places.append(base.parent / _IMAGES)
    return next((place for place in places if place.is_dir()), None)


def _largest(root: Path, pairs: list[tuple[Path, Path]]) -> tuple[tuple[Path, Path], list[str]]:
    """Choose the model with the most images that are there: it is not always number 0."""
    if len(pairs) == 1:
        return pairs[0], []
    folders = [(read_model(folder), SceneFolder(images)) for folder, images in pairs]
    counts = [sum(images.has(image.name) for image in model.images) for model, images in folders]
    best = counts.index(max(counts))
    notes = [
        f"The model '{folder.relative_to(root)}' with {count} images was left out; another has more."
        for (folder, _), count in zip(pairs, counts, strict=True)
        if folder != pairs[best][0]
    ]
    return pairs[best], notes
