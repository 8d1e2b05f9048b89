"""Pictures as text that stands in a page: small, and no more of them than there is room for."""

import base64
from collections.abc import Sequence
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
class Shot:
    """A picture inside a page.

    Attributes:
        url: ``data:`` URL.
        width: In pixels.
        height: In pixels.
    """

    url: str
    width: int
    height: int


class Album:
    """Takes pictures, rows of them at a time, until one finds no room; then no more, so that none is missing between.

    Attributes:
        room: Characters that are left.
        left_out: Rows that found no room.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.left_out = 0

    def row(self, pictures: Sequence[Picture | None]) -> tuple[Shot | None, ...] | None:
        """Return the pictures of a row, or None if they do not all fit; what has no picture stays empty."""
        if self.left_out:
            self.left_out += 1
            return None
        shots = tuple(None if picture is None else encoded(picture) for picture in pictures)
        taken = sum(len(shot.url) for shot in shots if shot is not None)
        if taken > self.room:
            self.left_out += 1
            return None
        self.room -= taken
        return shots


class Purse:
    """The room of a page, shared among all whose pictures stand on it: what one leaves over the next ones have.

    Attributes:
        room: Characters that are left.
        sharers: How many are still to come.
        most: What each of them may take at most.
    """

    def __init__(self, room: int, sharers: int, most: int) -> None:
        self.room = room
        self.sharers = sharers
        self.most = most

    def share(self) -> int:
        """Return what each of those to come may take."""
        return min(self.most, self.room // max(1, self.sharers))

    def spend(self, size: int, sharers: int) -> None:
        """Note what some of them took."""
        self.room -= size
        self.sharers -= sharers


def encoded(picture: Picture) -> Shot:
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
    return Shot(f"data:image/{kind};base64,{text}", int(pixels.shape[1]), int(pixels.shape[0]))
