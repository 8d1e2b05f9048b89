"""Maps as Record3D packs them: raw numbers, row by row, packed by LZFSE; they have the shape of their image."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from lift3d.domain.camera import ImageSize
from lift3d.errors import ImageError
from lift3d.extras import extra
from lift3d.scenes.file_limits import require_bytes

# Depth in metres; confidence, 0 low to 2 high.
PACKED: Mapping[str, np.dtype[Any]] = {".depth": np.dtype(np.float32), ".conf": np.dtype(np.uint8)}


def read_packed(path: Path, image: ImageSize, most_bytes: int) -> Shaped[ndarray, "height width"]:
    """Return a packed map of an image; ImageError if it does not unpack, or to a map of another shape."""
    with extra("phone"):
        import imagecodecs
    dtype = PACKED[path.suffix]
    require_bytes(path, most_bytes)
    # Four times as many numbers as a camera has pixels are no map of what it sees.
    most = min(most_bytes, 4 * dtype.itemsize * image.height * image.width)
    try:
        raw = imagecodecs.lzfse_decode(path.read_bytes(), out=most)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise ImageError(f"'{path}' does not unpack by LZFSE: {error}. Export it again.") from error
    count = len(raw) // dtype.itemsize
    height = round(math.sqrt(count * image.height / image.width))
    if count == 0 or len(raw) % dtype.itemsize or count % max(height, 1):
        raise ImageError(
            f"'{path}' unpacks to {len(raw)} bytes; expected numbers of {dtype.itemsize} for a map of the shape of its "
            f"image, {image.height}×{image.width} (height×width). Export it again."
        )
    return np.frombuffer(raw, dtype).reshape(height, -1)
