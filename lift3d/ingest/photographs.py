"""Photographs as a camera leaves them: found in a folder, checked, and copied upright into a folder of images.

Copies, no links: whoever edits or turns an image of the scene must not reach the original through it, and the scene may
be moved to another disk.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from lift3d.domain.camera import ImageSize
from lift3d.domain.keys import shown
from lift3d.errors import ImageError, MissingExtraError
from lift3d.scenes.colmap_log import pycolmap
from lift3d.scenes.images import HEIC_SUFFIXES, SUFFIXES, decode_color, noted_focal_px

Report = Callable[[str, int, int], None]

# What cameras write and nothing here decodes; named, so that a phone's folder does not look empty.
ALIEN_SUFFIXES = (".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2")
# JPEG of this quality is taken for the same picture by people and by keypoints (OpenCV's default, too).
JPEG_QUALITY = 95
# EXIF orientations of pictures that do not lie upright in their file (EXIF 2.32, tag 0x0112).
_TURNED = range(2, 9)


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph that was copied, upright, to a path below the folder of images (forward slashes).

    ``focal_px`` is the focal length as the camera wrote it into the file, pixels of this size; None if it did not.
    """

    name: str
    size: ImageSize
    focal_px: float | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that looks like a photograph and was not used, and why."""

    name: str
    reason: str


def find_photographs(folder: Path) -> list[str]:
    """Return the files below a folder that look like photographs, sorted paths relative to it.

    Hidden files and folders are left out: file managers keep previews there.
    """
    names = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith((*SUFFIXES, *HEIC_SUFFIXES, *ALIEN_SUFFIXES)):
                names.append((Path(root) / name).relative_to(folder).as_posix())
    return sorted(names)


def copy_photographs(
    folder: Path, names: Iterable[str], images: Path, report: Report
) -> tuple[list[Photograph], list[Skipped]]:
    """Copy photographs to a folder of images, each below its own relative path; what does not decode is skipped.

    A file that is upright and that COLMAP reads is copied byte for byte; another one is written anew, upright and
    without EXIF: as JPEG if it was one, or HEIC, else as PNG.
    """
    taken: list[Photograph] = []
    skipped: list[Skipped] = []
    listed = list(names)
    used = set(listed)
    for done, name in enumerate(listed):
        report("copying", done, len(listed))
        try:
            photograph = _copy(folder / name, name, images, used)
        except ImageError as error:
            skipped.append(Skipped(shown(name), str(error)))
        except MissingExtraError as error:
            skipped.append(Skipped(shown(name), f"{error} Or export it as JPEG."))
        else:
            taken.append(photograph)
    report("copying", len(listed), len(listed))
    return taken, skipped


def write_picture(path: Path, pixels: Shaped[ndarray, "height width channels"]) -> None:
    """Write RGB or RGBA pixels in the format that the suffix names."""
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[-1] == 4 else cv2.COLOR_RGB2BGR)
    # OpenCV warns of what a format does not know.
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix.lower() in (".jpg", ".jpeg") else []
    _, encoded = cv2.imencode(path.suffix, ordered, options)
    path.write_bytes(encoded.tobytes())


def _copy(source: Path, name: str, images: Path, used: set[str]) -> Photograph:
    if shown(name) != name:
        raise ImageError("Its name has characters that no scene file can hold. Rename it.")
    if source.suffix.lower() in ALIEN_SUFFIXES:
        raise ImageError(f"{source.suffix} files are not decoded. Export it as JPEG.")
    # Every pixel is decoded by the strict decoder: the other one takes half a file for a whole one.
    pixels, is_valid = decode_color(source)
    is_heic = source.suffix.lower() in HEIC_SUFFIXES
    bitmap = None if is_heic else pycolmap.Bitmap.read(str(source), as_rgb=True)
    is_kept = bitmap is not None and bitmap.exif_orientation() not in _TURNED
    target = images / (name if is_kept else _new_name(name, used, ".jpg" if is_heic and is_valid is None else ".png"))
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_kept:
        # The content alone: a read-only original must not become a read-only copy.
        shutil.copyfile(source, target)
    elif is_valid is None:
        write_picture(target, pixels)
    else:
        alpha = is_valid.astype(pixels.dtype) * np.iinfo(pixels.dtype).max
        write_picture(target, np.concatenate([pixels, alpha[..., None]], axis=-1))
    focal_px = noted_focal_px(source) if bitmap is None else bitmap.exif_focal_length()
    return Photograph(target.relative_to(images).as_posix(), ImageSize(*pixels.shape[:2]), focal_px)


def _new_name(name: str, used: set[str], suffix: str) -> str:
    """Return the name of what is written anew: the same for JPEG; else one with the suffix that no other has."""
    path = Path(name)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return name
    renamed = path.with_suffix(suffix).as_posix()
    if renamed in used and renamed != name:
        renamed = f"{name}{suffix}"
    used.add(renamed)
    return renamed
