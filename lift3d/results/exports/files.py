"""What forms of export share: names of files for views, maps as image files, in which world everything stands."""

import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped

from lift3d.domain.keys import ViewId, slug
from lift3d.domain.lifted import LiftedView
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.errors import ConfigError, Lift3dError, SceneError, SceneFormatError
from lift3d.results.colours import Picture, to_bytes
from lift3d.results.lifted_scene import LiftedScene
from lift3d.storage.whole_file import check_place

# The largest id of 16 bits stands for unknown, as sensors do it with depth.
UNKNOWN_ID = 65535
# The conventions of every export, in words.
W2C_WORDS = "world to camera, column vectors; camera axes x right, y down, z forward"
# Of rows of a table or a file, by name.
Columns = dict[str, Shaped[np.ndarray, " row"]]

K_WORDS = "pixels of a view of the height and width given; origin at the outer corner of the first pixel"


def file_names(view_ids: Iterable[ViewId]) -> dict[ViewId, str]:
    """Return a name for each view that is one safe path segment, unique even where case does not count.

    Ids come from scenes, which are data: they may hold slashes, '..', markup, any script.
    """
    names: dict[ViewId, str] = {}
    taken: set[str] = set()
    for number, view_id in enumerate(view_ids):
        name = slug(view_id)
        if name.casefold() in taken:
            # No slug ends so: what is cut off or changed ends in a digest.
            name = f"{name}_{number}"
        taken.add(name.casefold())
        names[view_id] = name
    return names


def world_words(lifted: LiftedScene) -> str:
    """Return in which coordinates the cameras of a lifted scene and what is made of them stand."""
    frame = "coordinates: the world of the scene's cameras, in its units"
    try:
        similarity = lifted.scene.canonical_from_source
    except Lift3dError:
        return f"{frame}, as stored; the capture itself was not read"
    if bool(torch.equal(similarity, torch.eye(4, dtype=similarity.dtype))):
        return f"{frame}, as its files have it"
    rows = "; ".join(" ".join(f"{entry:.9g}" for entry in row) for row in similarity.tolist())
    return f"{frame}; the world before it was taken there by [{rows}]"


def image_to_write(lifted: LiftedScene, view: LiftedView) -> tuple[Picture, Bool[np.ndarray, "height width"]]:
    """Return what the image of a view is to be, and which of its pixels count.

    The lifted picture if the operator gives pictures, else the photograph; SceneError if that cannot be read.
    """
    if view.prediction.kind == "image":
        picture = view.prediction.values.clamp(0, 1).permute(1, 2, 0).numpy()
        return picture, view.prediction.is_valid.numpy()
    try:
        frame = lifted.scene.view(view.target).load(lifted.recipe.image_height)
    except Lift3dError as error:
        raise SceneError(
            f"View '{view.target}' of '{lifted.name}' has no photograph to write: {error} Novel cameras have none. "
            "Export an operator that gives pictures, such as rgb, or another form."
        ) from error
    return frame.image.permute(1, 2, 0).numpy(), frame.is_valid.numpy()


def write_picture(path: Path, picture: Picture) -> None:
    """Write RGB in [0, 1] with 8 bits."""
    _write(path, to_bytes(picture)[..., ::-1])


def write_share(path: Path, share: Float[np.ndarray, "row col"] | Bool[np.ndarray, "row col"]) -> None:
    """Write numbers in [0, 1] as grey with 8 bits; unknown ones as 0."""
    _write(path, to_bytes(np.nan_to_num(share.astype(np.float32))))


def write_ids(path: Path, ids: Int[np.ndarray, "row col"]) -> None:
    """Write class ids with 16 bits, UNKNOWN_ID where unknown."""
    if ids.size and int(ids.max()) >= UNKNOWN_ID:
        raise SceneFormatError(
            f"Label {int(ids.max())} does not fit into an image of 16 bits, whose ids are below {UNKNOWN_ID}. "
            "Export as zarr."
        )
    _write(path, np.where(ids <= UNKNOWN_LABEL, UNKNOWN_ID, ids).astype(np.uint16))


def write_floats(path: Path, values: Float[np.ndarray, "row col"]) -> None:
    """Write numbers as they are, TIFF of 32-bit floats."""
    _write(path, values.astype(np.float32))


def check_free(out: Path) -> None:
    """Refuse to write over anything, as what is there may be somebody's, and where no file can be."""
    check_place(out)
    if not os.path.lexists(out):
        return
    is_empty = out.is_dir() and not out.is_symlink() and not any(out.iterdir())
    if not is_empty:
        raise ConfigError(f"'{out}' is there already. Give a new name, an empty folder, or remove it first.")


def _write(path: Path, pixels: Shaped[np.ndarray, "height width *channel"]) -> None:
    _, content = cv2.imencode(path.suffix, np.ascontiguousarray(pixels))
    path.write_bytes(content.tobytes())


def kept_rows(columns: Columns, only: tuple[int, ...]) -> Bool[np.ndarray, " row"] | None:
    """Return the rows of some labels, None for all; ConfigError if there is no such row."""
    if not only:
        return None
    labels = columns["label"]
    kept = np.isin(labels, only)
    if not kept.any():
        there = ", ".join(map(str, np.unique(labels[labels >= 0])))
        raise ConfigError(f"Nothing has a label of {', '.join(map(str, only))}; what is seen has {there}.")
    return kept
