"""Pictures as text that stands in a page: small, and no more of them than there is room for."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lift3d.results.colours import Picture

# About what a picture is wide on a screen where five stand side by side.
LONGEST_PX = 240
# Of so few pixels PNG takes no more than JPEG, and keeps the borders of cells sharp.
_LOSSLESS_PX = 96
# Below this JPEG shows blocks that could be taken for the model's.
_JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture inside a page.

    Attributes:
        url: ``data:`` URL.
        width: In pixels.
        height: In pixels.
    """

    url: str
    width: int
    height: int


def thumbnail(picture: Picture) -> Thumbnail:
    """Return a picture (RGB in [0, 1]) as PNG if it is tiny, else as JPEG no longer than LONGEST_PX."""
    pixels = (np.nan_to_num(np.clip(picture, 0, 1)) * 255 + 0.5).astype(np.uint8)[..., ::-1]
    longest = max(pixels.shape[:2])
    if longest > LONGEST_PX:
        height, width = (max(1, round(side * LONGEST_PX / longest)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    is_tiny = longest <= _LOSSLESS_PX
    ending, kind = (".png", "png") if is_tiny else (".jpg", "jpeg")
    options = [] if is_tiny else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, content = cv2.imencode(ending, np.ascontiguousarray(pixels), options)
    text = base64.b64encode(content.tobytes()).decode()
    return Thumbnail(f"data:image/{kind};base64,{text}", int(pixels.shape[1]), int(pixels.shape[0]))


def size_of(pictures: Iterable[Thumbnail | None]) -> int:
    """Return the characters that pictures take in a page."""
    return sum(len(picture.url) for picture in pictures if picture is not None)


def fitting(rows: Sequence[Sequence[Thumbnail | None]], budget: int) -> int:
    """Return how many rows, from the first on, fit into so many characters."""
    for count, row in enumerate(rows):
        budget -= size_of(row)
        if budget < 0:
            return count
    return len(rows)
