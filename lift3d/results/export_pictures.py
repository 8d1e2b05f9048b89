"""Maps of one view as image files that any tool opens."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8, UInt16

from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.errors import SceneFormatError
from lift3d.results.colours import Picture

# The largest id of 16 bits stands for unknown, as sensors do it with depth.
UNKNOWN_ID = 65535


def write_picture(path: Path, picture: Picture) -> None:
    """Write RGB in [0, 1] with 8 bits."""
    _write(path, (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)[..., ::-1])


def write_share(path: Path, share: Float[np.ndarray, "row col"] | Bool[np.ndarray, "row col"]) -> None:
    """Write numbers in [0, 1] as grey with 8 bits; unknown ones as 0."""
    _write(path, (np.nan_to_num(share.astype(np.float32)).clip(0, 1) * 255 + 0.5).astype(np.uint8))


def write_ids(path: Path, ids: Int[np.ndarray, "row col"]) -> None:
    """Write class ids with 16 bits, UNKNOWN_ID where unknown.

    Raises:
        SceneFormatError: If an id does not fit.
    """
    if ids.size and int(ids.max()) >= UNKNOWN_ID:
        raise SceneFormatError(
            f"Label {int(ids.max())} does not fit into an image of 16 bits, whose ids are below {UNKNOWN_ID}. "
            "Export as zarr."
        )
    _write(path, np.where(ids <= UNKNOWN_LABEL, UNKNOWN_ID, ids).astype(np.uint16))


def write_floats(path: Path, values: Float[np.ndarray, "row col"]) -> None:
    """Write numbers as they are, TIFF of 32-bit floats."""
    _write(path, values.astype(np.float32))


def _write(
    path: Path,
    pixels: UInt8[np.ndarray, "_ _ 3"]
    | UInt8[np.ndarray, "_ _"]
    | UInt16[np.ndarray, "_ _"]
    | Float32[np.ndarray, "_ _"],
) -> None:
    _, content = cv2.imencode(path.suffix, np.ascontiguousarray(pixels))
    path.write_bytes(content.tobytes())
