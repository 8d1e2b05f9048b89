"""The pictures of one operator in one scene: image | 2D | lifted | difference | coverage, and the camera's path."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import cv2
import numpy as np

from lift3d.results.colours import Picture, SceneColours, to_bytes
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.picture_rows import COLUMNS, spread

# Two seconds at the pace of the page: enough to see a flicker, few enough to carry.
FRAMES = 12
# Of the budget: the walk's twelve pairs take about as much as the gallery's rows of five.
_WALK_SHARE = 0.45
# What of a target stands in the walk.
_STEP = ("2D", "lifted")
# About what a picture is wide on a screen where five stand side by side.
LONGEST_PX = 240
# Of so few pixels PNG takes no more than JPEG, and keeps the borders of cells sharp.
_LOSSLESS_PX = 96
# Below this JPEG shows blocks that could be taken for the model's.
_JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture inside a page, as a ``data:`` URL; sizes in pixels."""

    url: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class GalleryRow:
    """One target view, with the pictures that there are by column."""

    target: str
    pictures: dict[str, Thumbnail]

    @property
    def size(self) -> int:
        """Characters that the pictures take in a page."""
        return sum(len(picture.url) for picture in self.pictures.values())


@dataclass(frozen=True, slots=True)
class LifterPictures:
    """What is shown of one lifter; steps are targets that follow each other, with plain and lifted answers alone.

    ``left_out`` counts rows and steps for which the page has no room.
    """

    lifter: str
    rows: tuple[GalleryRow, ...]
    steps: tuple[GalleryRow, ...]
    target_count: int
    left_out: int

    @property
    def size(self) -> int:
        """Characters of the pictures."""
        return sum(row.size for row in (*self.rows, *self.steps))

    @property
    def has_plain(self) -> bool:
        """Whether there is a 2D answer to compare with; novel cameras have none."""
        return any("2D" in step.pictures for step in self.steps)


def lifter_pictures(lifted: LiftedScene, colours: SceneColours, view_count: int, budget: int) -> LifterPictures:
    """Return the pictures of a lifter in as many characters, read one stored part after the other."""
    targets = lifted.compared
    chosen, walk = spread(targets, view_count), _middle(targets)
    drawn = {
        target: GalleryRow(target, _thumbnails(lifted, colours, target, COLUMNS if target in chosen else _STEP))
        for target in targets
        if target in {*chosen, *walk}
    }
    steps = [
        GalleryRow(target, {name: one for name, one in drawn[target].pictures.items() if name in _STEP})
        for target in walk
    ]
    rows = [drawn[target] for target in chosen]
    kept_steps = fitting(steps, int(_WALK_SHARE * budget))
    kept_rows = fitting(rows, budget - sum(step.size for step in kept_steps))
    left_out = len(steps) + len(rows) - len(kept_steps) - len(kept_rows)
    return LifterPictures(lifted.lifter, tuple(kept_rows), tuple(kept_steps), len(targets), left_out)


def _thumbnails(
    lifted: LiftedScene, colours: SceneColours, target: str, columns: Sequence[str]
) -> dict[str, Thumbnail]:
    drawn = lifted.pictures(target, colours, columns)
    return {name: thumbnail(picture) for name, picture in drawn.items() if picture is not None}


def _middle(targets: Sequence[str]) -> Sequence[str]:
    """Return targets that follow each other: between neighbours, what changes without cause is seen."""
    start = max(0, (len(targets) - FRAMES) // 2)
    return targets[start : start + FRAMES]


def thumbnail(picture: Picture, longest_px: int = LONGEST_PX) -> Thumbnail:
    """Return a picture (RGB in [0, 1]) as PNG if it is tiny, else as JPEG no longer than so many pixels."""
    pixels = to_bytes(picture)[..., ::-1]
    longest = max(pixels.shape[:2])
    if longest > longest_px:
        height, width = (max(1, round(side * longest_px / longest)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    is_tiny = longest <= _LOSSLESS_PX
    ending, kind = (".png", "png") if is_tiny else (".jpg", "jpeg")
    options = [] if is_tiny else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, content = cv2.imencode(ending, np.ascontiguousarray(pixels), options)
    text = base64.b64encode(content.tobytes()).decode()
    return Thumbnail(f"data:image/{kind};base64,{text}", int(pixels.shape[1]), int(pixels.shape[0]))


def fitting(rows: Sequence[GalleryRow], budget: int) -> Sequence[GalleryRow]:
    """Return the rows, from the first on, that fit into so many characters."""
    return rows[: sum(taken <= budget for taken in accumulate(row.size for row in rows))]
