"""Frames of a video as photographs: evenly spread over its length, of each stretch the sharpest."""

from dataclasses import dataclass
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


@dataclass(slots=True)
class _Best:
    """The sharpest frame of a stretch so far."""

    index: int = -1
    sharpness: float = -1.0
    pixels: UInt8[ndarray, "height width 3"] | None = None


def copy_frames(video: Path, count: int | None, images: Path, report: Report) -> list[Photograph]:
    """Write the sharpest frame of each of ``count`` equal stretches of a video as JPEG, named by its number.

    A rotation that the file declares is applied. All frames are taken if ``count`` is None or there are fewer.
    SceneFormatError if the file does not open as a video, or no frame of it decodes.
    """
    total = count_frames(video)
    stretches = total if count is None else min(count, total)
    taken: list[Photograph] = []
    capture = _opened(video)
    try:
        best = _Best()
        for index in range(total):
            report("frames", index, total)
            stretch = index * stretches // total
            if _is_candidate(index, stretch, stretches, total) and capture.grab():
                best = _sharper(best, index, capture)
            elif not capture.grab():
                break
            if (index + 1) * stretches // total > stretch:
                taken.extend(_written(best, images))
                best = _Best()
        taken.extend(_written(best, images))
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


def _is_candidate(index: int, stretch: int, stretches: int, total: int) -> bool:
    """Whether a frame is one of those of its stretch that are compared, evenly spread over it."""
    # The first frame whose stretch is this one, and the first of the next.
    first, after = -(-stretch * total // stretches), -(-(stretch + 1) * total // stretches)
    step = max(1, (after - first) // _CANDIDATES)
    return (index - first) % step == 0


def _sharper(best: _Best, index: int, capture: cv2.VideoCapture) -> _Best:
    is_read, pixels = capture.retrieve()
    if not is_read:
        return best
    sharpness = _sharpness(pixels)
    return _Best(index, sharpness, pixels) if sharpness > best.sharpness else best


def _sharpness(pixels: UInt8[ndarray, "height width 3"]) -> float:
    """Return the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) at a fixed height."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    if grey.shape[0] > _SHARPNESS_HEIGHT:
        width = max(1, round(grey.shape[1] * _SHARPNESS_HEIGHT / grey.shape[0]))
        grey = cv2.resize(grey, (width, _SHARPNESS_HEIGHT), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def _written(best: _Best, images: Path) -> list[Photograph]:
    if best.pixels is None:
        return []
    images.mkdir(parents=True, exist_ok=True)
    name = f"frame_{best.index:06d}.jpg"
    write_picture(images / name, cv2.cvtColor(best.pixels, cv2.COLOR_BGR2RGB))
    return [Photograph(name, ImageSize(*best.pixels.shape[:2]))]
