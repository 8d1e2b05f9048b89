"""Moving pixels to another size or through a lens, without letting invalid pixels vote.

OpenCV is imported with the first pixel: a scene is planned without it.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from numpy import ndarray

from lift3d.domain.camera import ImageSize

# OpenCV's remap is asked for a place far outside where there is nothing to read.
NOWHERE = -10.0
# A place on the line between two pixels, as at half size everywhere, must not be decided by float rounding.
_TIE_PX = 1e-3


def undistort(
    pixels: Shaped[ndarray, "height width 3"],
    is_valid: Bool[ndarray, "height width"] | None,
    places: Float32[ndarray, "height width 2"],
    is_inside: Bool[ndarray, "height width"],
) -> tuple[Shaped[ndarray, "height width 3"], Bool[ndarray, "height width"]]:
    """Resample bilinearly; a pixel is valid exactly if all the pixels it is mixed from are.

    Places and whether all that is read there is in the file are those of ``undistortion.file_places``.
    """
    mixed = read_between(pixels, places)
    if is_valid is None:
        return mixed, is_inside.copy()
    return mixed, read_between(np.where(is_valid, np.uint8(255), np.uint8(0)), places) == 255


def read_between(
    values: Shaped[ndarray, "height width *channel"], places: Float32[ndarray, "rows cols 2"]
) -> Shaped[ndarray, "rows cols *channel"]:
    """Read bilinearly; OpenCV's places count from the centre of the first pixel, and around the file there is 0."""
    import cv2

    return np.asarray(cv2.remap(values, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0))


def resize(
    pixels: Float32[ndarray, "height width 3"], is_valid: Bool[ndarray, "height width"] | None, size: ImageSize
) -> tuple[Float32[ndarray, "rows cols 3"], Bool[ndarray, "rows cols"]]:
    """Resize with a box filter over the valid pixels alone (bilinear where the image grows).

    A pixel of the result is the mean of the valid pixels of its footprint, and valid if those are half of it.
    """
    height, width = pixels.shape[:2]
    if is_valid is not None and is_valid.all():
        is_valid = None
    if (height, width) == (size.height, size.width):
        return pixels, np.ones((height, width), bool) if is_valid is None else is_valid
    import cv2

    # INTER_AREA is the exact box filter when shrinking only; growing it would repeat pixels.
    method = cv2.INTER_AREA if size.height <= height and size.width <= width else cv2.INTER_LINEAR
    target = (size.width, size.height)
    if is_valid is None:
        return cv2.resize(pixels, target, interpolation=method), np.ones((size.height, size.width), bool)
    weight = is_valid.astype(np.float32)
    share = cv2.resize(weight, target, interpolation=method)
    summed = cv2.resize(cv2.copyTo(pixels, is_valid.astype(np.uint8)), target, interpolation=method)
    mean = np.divide(summed, share[..., None], out=np.zeros_like(summed), where=share[..., None] > 1e-6)
    # A footprint of exactly one half counts; the filter's sums are off by float rounding.
    return mean, share > 0.5 - 1e-6


def nearest(
    values: Shaped[ndarray, "height width"], fractions: Float32[ndarray, "rows cols 2"]
) -> tuple[Shaped[ndarray, "rows cols"], Bool[ndarray, "rows cols"]]:
    """Read a map at the pixel that contains each place, and whether that lies in the map; outside, values mean nothing.

    Only what is read of a map is converted by its callers: a file may be much larger than what a view shows of it.
    """
    row, col, is_inside = _pixels(values, fractions)
    return np.asarray(values[row, col]), is_inside


def nearest_known(
    values: Shaped[ndarray, "height width"],
    fractions: Float32[ndarray, "rows cols 2"],
    is_known: Callable[[ndarray], ndarray],
    reach: int,
) -> tuple[Shaped[ndarray, "rows cols"], Bool[ndarray, "rows cols"]]:
    """Read a map at the nearest known pixel no more than ``reach`` away along either axis, and whether there is one."""
    height, width = values.shape
    row, col, is_inside = _pixels(values, fractions)
    found = np.array(values[row, col])
    known = is_inside & is_known(found)
    steps = range(-reach, reach + 1)
    for up, left in sorted(product(steps, steps), key=lambda step: (step[0] ** 2 + step[1] ** 2, step))[1:]:
        at = np.nonzero(is_inside & ~known)
        there = row[at] + up, col[at] + left
        is_on_map = (there[0] >= 0) & (there[0] < height) & (there[1] >= 0) & (there[1] < width)
        read = values[there[0].clip(0, height - 1), there[1].clip(0, width - 1)]
        found[at] = read
        known[at] = is_on_map & is_known(read)
    return found, known


def _pixels(
    values: Shaped[ndarray, "height width"], fractions: Float32[ndarray, "rows cols 2"]
) -> tuple[Int64[ndarray, "rows cols"], Int64[ndarray, "rows cols"], Bool[ndarray, "rows cols"]]:
    """Return the row and column of the pixel that contains each place, or of the nearest, and whether one does."""
    height, width = values.shape
    at = np.nan_to_num(fractions, nan=NOWHERE)
    col = np.floor(at[..., 0] * width + _TIE_PX).astype(np.int64)
    row = np.floor(at[..., 1] * height + _TIE_PX).astype(np.int64)
    is_inside = (col >= 0) & (col < width) & (row >= 0) & (row < height)
    return row.clip(0, height - 1), col.clip(0, width - 1), is_inside


def center_fractions(size: ImageSize) -> Float32[ndarray, "height width 2"]:
    """Return the pixel centres as fractions of the image, for files without a lens to undo."""
    u = (np.arange(size.width) + 0.5) / size.width
    v = (np.arange(size.height) + 0.5) / size.height
    return np.stack(np.meshgrid(u, v, indexing="xy"), axis=-1).astype(np.float32)
