"""2D masks that another program wrote: a label map per view, ``VIEW.png`` or ``VIEW.npy``."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from lift3d.domain.keys import ViewId
from lift3d.errors import ConfigError, ContractError
from lift3d.operators.view_files import UNREADABLE, numbers_in
from lift3d.surface.masks.claims import UNCLAIMED


def masks_in(folder: Path, views: Sequence[ViewId]) -> Callable[[ViewId], list[Int[ndarray, "height width"]]]:
    """Return what reads the label map of a view, 0 being no mask; none of a view without a file.

    ConfigError if the folder has no file of any of the views; ContractError of a file that is no label map.
    """
    files = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in (".png", ".npy")}
    if not files:
        raise ConfigError(f"There is no .png and no .npy in '{folder}'; expected VIEW.png or VIEW.npy, one per view.")
    if not any(view in files for view in views):
        raise ConfigError(
            f"No file in '{folder}' is called after a view of the run, such as '{next(iter(files.values())).name}'; "
            f"expected {views[0]}.png or {views[0]}.npy, and so on for {len(views)} views."
        )

    def read(view: ViewId) -> list[Int[ndarray, "height width"]]:
        path = files.get(view)
        return [] if path is None else [_label_map(path)]

    return read


def _label_map(path: Path) -> Int[ndarray, "height width"]:
    try:
        labels = numbers_in(path)
    except UNREADABLE as error:
        raise ContractError(f"'{path}' cannot be read as a label map: {error}.") from error
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ContractError(
            f"'{path}' has shape {labels.shape} of {labels.dtype}; expected a label map: integers (height, width), 0 "
            "where there is no mask."
        )
    return np.asarray(np.where(labels > 0, labels.astype(np.int64), UNCLAIMED))
