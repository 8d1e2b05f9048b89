"""Frames of a video as photographs: evenly spread over its length, of each stretch the sharpest."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import cv2
from jaxtyping import UInt8
from numpy import ndarray

from lift3d.domain.camera import ImageSize
from lift3d.errors import SceneFormatError
from lift3d.ingest.photographs import Photograph, Report, write_picture

# Of each stretch so many frames are compared: motion blur of a hand lasts a few frames of thirty a second.
_CANDIDATES = 10
# Sharpness is compared at this height: finer than that is the sensor's noise, which would pass for detail.
_SHARPNESS_HEIGHT = 360


def copy_frames(video: Path, count: int | None, images: Path, report: Report) -> list[Photograph]:
    """Write the sharpest frame of each of ``count`` equal stretches of a video as JPEG, named by its number.

    A rotation that the file declares is applied. All frames are taken if ``count`` is None or there are fewer.
    SceneFormatError if the file does not open as a video, or no frame of it decodes.
    """
    total = count_frames(video)
    stretches = total if count is None else min(count, total)
    taken: list[Photograph] = []
    images.mkdir(parents=True, exist_ok=True)
    capture = _opened(video)
    try:
        for first, after in pairwise(-(-stretch * total // stretches) for stretch in range(stretches + 1)):
            seen = _candidates(capture, range(first, after), lambda index: report("frames", index, total))
            best = max(seen, key=lambda one: one[0], default=None)
            if best is not None:
                _, index, pixels = best
                name = f"frame_{index:06d}.jpg"
                write_picture(images / name, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
                taken.append(Photograph(name, ImageSize(*pixels.shape[:2])))
    finally:
        capture.release()
    report("frames", total, total)
    if not taken:
        raise SceneFormatError(f"No frame of '{video}' decodes. {_REMEDY}")
    return taken


def count_frames(video: Path) -> int:
    """Return how many frames a video has, by going through it: what a header promises is often wrong.

    SceneFormatError if the file does not open as a video or has no frame.
    """
    capture = _opened(video)
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    if not count:
        raise SceneFormatError(f"'{video}' has no frame that decodes. {_REMEDY}")
    return count


_REMEDY = "Convert it first, such as by 'ffmpeg -i VIDEO out.mp4', or give a folder of photographs."


def _opened(video: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(video))
    if not capture.isOpened():
        raise SceneFormatError(f"'{video}' does not open as a video. {_REMEDY}")
    return capture


def _candidates(
    capture: cv2.VideoCapture, frames: range, tell: Callable[[int], None]
) -> Iterator[tuple[float, int, UInt8[ndarray, "height width 3"]]]:
    """Yield sharpness, number and pixels of some frames of a stretch, evenly spread over it."""
    step = max(1, len(frames) // _CANDIDATES)
    for index in frames:
        tell(index)
        if not capture.grab():
            return
        if (index - frames.start) % step == 0:
            is_read, pixels = capture.retrieve()
            if is_read:
                yield _sharpness(pixels), index, pixels


def _sharpness(pixels: UInt8[ndarray, "height width 3"]) -> float:
    """Return the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) at a fixed height."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    if grey.shape[0] > _SHARPNESS_HEIGHT:
        width = max(1, round(grey.shape[1] * _SHARPNESS_HEIGHT / grey.shape[0]))
        grey = cv2.resize(grey, (width, _SHARPNESS_HEIGHT), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
