"""The files of a COLMAP model, binary or text: cameras, images with their poses, points.

Read record by record, so that memory follows what is there and not what a count promises, and one bad image costs
itself alone; pycolmap cuts names of text models at spaces and refuses a model for one of its images. Rigs and frames
are not read: images hold the composed poses, too.

Source:
    https://colmap.github.io/format.html
"""

import math
import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from lift3d.errors import SceneFormatError, brief

PARTS = ("cameras", "images", "points3D")
_COUNT, _CAMERA, _IMAGE, _POINT = (
    struct.Struct("<Q"),
    struct.Struct("<IiQQ"),
    struct.Struct("<I7dI"),
    struct.Struct("<Q3d3Bd"),
)
_KEYPOINT_BYTES, _TRACK_ELEMENT_BYTES = 24, 8
_LONGEST_NAME = 4096
# The keypoints of one image stand in one line: a million of them.
_LONGEST_LINE = 2**26
_NO_CAMERA = -1


@dataclass(frozen=True, slots=True)
class ModelCamera:
    """A camera as the file has it, unchecked; ``model`` is COLMAP's name of the lens."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ModelImage:
    """An image as the file has it, unchecked: w2c as w, x, y, z and translation; NaN where the file has no number.

    Bytes of a name that are no UTF-8 are lone surrogates.
    """

    name: str
    camera: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ColmapModel:
    """A model; points are in the order of their ids."""

    cameras: dict[int, ModelCamera]
    images: tuple[ModelImage, ...]
    points: Float64[ndarray, "point 3"]


def suffixes(folder: Path) -> list[str]:
    """Return which forms of a model a folder holds; COLMAP itself prefers the binary one."""
    return [suffix for suffix in (".bin", ".txt") if all((folder / f"{part}{suffix}").is_file() for part in PARTS)]


def read_model(folder: Path) -> ColmapModel:
    """Read the model of a folder; SceneFormatError if a file ends early or has other records than it should."""
    suffix = suffixes(folder)[0]
    cameras, images, points = (folder / f"{part}{suffix}" for part in PARTS)
    if suffix == ".bin":
        return ColmapModel(
            dict(_binary_cameras(cameras)), tuple(_binary_images(images)), _sorted(_binary_points(points))
        )
    return ColmapModel(dict(_text_cameras(cameras)), tuple(_text_images(images)), _sorted(_text_points(points)))


class _Records:
    """A binary file, read record by record; SceneFormatError where it ends within one."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path, self._stream = path, stream
        self._size = path.stat().st_size

    @classmethod
    def of(cls, path: Path) -> Iterator["_Records"]:
        """Yield the file as often as it says that it has records; the caller takes one each time."""
        with path.open("rb") as stream:
            records = cls(path, stream)
            for _ in range(int(records.take(_COUNT)[0])):
                yield records

    def take(self, form: struct.Struct) -> tuple[int | float, ...]:
        raw = self._stream.read(form.size)
        if len(raw) < form.size:
            self.refuse("ends within a record")
        return form.unpack(raw)

    def skip(self, byte_count: int) -> None:
        if self._stream.tell() + byte_count > self._size:
            self.refuse(f"promises {byte_count} bytes more of one record than there are")
        self._stream.seek(byte_count, os.SEEK_CUR)

    def name(self) -> str:
        letters = bytearray()
        while (letter := self._stream.read(1)) not in (b"\0", b""):
            letters += letter
            if len(letters) > _LONGEST_NAME:
                self.refuse("has a name without end")
        return letters.decode(errors="surrogateescape")

    def refuse(self, what: str) -> None:
        raise SceneFormatError(f"'{self._path}' is no file of a COLMAP model: it {what}. Export or copy it again.")


def _binary_cameras(path: Path) -> Iterator[tuple[int, ModelCamera]]:
    for records in _Records.of(path):
        number, model, width, height = map(int, records.take(_CAMERA))
        if model not in _lenses():
            records.refuse(f"has the unknown lens number {model}")
        name, count = _lenses()[model]
        yield number, ModelCamera(name, width, height, records.take(struct.Struct(f"<{count}d")))


def _binary_images(path: Path) -> Iterator[ModelImage]:
    for records in _Records.of(path):
        _, *pose, camera = records.take(_IMAGE)
        name = records.name()
        (keypoints,) = records.take(_COUNT)
        records.skip(int(keypoints) * _KEYPOINT_BYTES)
        yield ModelImage(name, int(camera), tuple(pose[:4]), tuple(pose[4:]))


def _binary_points(path: Path) -> Iterator[tuple[int, float, float, float]]:
    for records in _Records.of(path):
        number, x, y, z, *_ = records.take(_POINT)
        (elements,) = records.take(_COUNT)
        records.skip(int(elements) * _TRACK_ELEMENT_BYTES)
        yield int(number), x, y, z


def _text_cameras(path: Path) -> Iterator[tuple[int, ModelCamera]]:
    for line in _lines(path):
        if words := _words(line, path, at_least=4):
            number, width, height = (_whole(words[index]) for index in (0, 2, 3))
            yield number, ModelCamera(words[1], width, height, tuple(map(_number, words[4:])))


def _text_images(path: Path) -> Iterator[ModelImage]:
    lines = _lines(path)
    for line in lines:
        # The name is the rest of the line, with the spaces that it may have.
        if words := _words(line, path, at_least=10, at_most=10):
            pose = tuple(map(_number, words[1:8]))
            yield ModelImage(words[9], _whole(words[8]), pose[:4], pose[4:])
            # The keypoints, possibly none.
            next(lines, "")


def _text_points(path: Path) -> Iterator[tuple[int, float, float, float]]:
    for line in _lines(path):
        if words := _words(line, path, at_least=4, at_most=5):
            x, y, z = map(_number, words[1:4])
            yield _whole(words[0]), x, y, z


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
        while line := stream.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise SceneFormatError(f"'{path}' has a line of more than {_LONGEST_LINE} signs. Is it the right file?")
            yield line.strip()


def _words(line: str, path: Path, at_least: int, at_most: int = 0) -> list[str]:
    """Return the words of a line, the last of ``at_most`` being its rest; none of a comment or an empty line."""
    if not line or line.startswith("#"):
        return []
    words = line.split(maxsplit=at_most - 1)
    if len(words) < at_least:
        raise SceneFormatError(f"A line of '{path}' has too few words, expected at least {at_least}: {brief(line)}.")
    return words


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _whole(word: str) -> int:
    return int(word) if word.isdecimal() and len(word) < 20 else _NO_CAMERA


def _sorted(found: Iterator[tuple[int, float, float, float]]) -> Float64[ndarray, "point 3"]:
    """Return points in the order of their ids, without those that are not finite."""
    ids, xyz = array("q"), array("d")
    for number, *place in found:
        ids.append(number % 2**63)
        xyz.extend(place)
    points = np.array(xyz, dtype=np.float64).reshape(-1, 3)[np.argsort(np.array(ids), kind="stable")]
    return points[np.isfinite(points).all(axis=1)]


@cache
def _lenses() -> dict[int, tuple[str, int]]:
    """Return COLMAP's lenses by number: name and how many parameters."""
    from lift3d.scenes.colmap_log import pycolmap

    lenses = {int(one): name for name, one in pycolmap.CameraModelId.__members__.items() if name != "INVALID"}
    return {
        number: (name, len(pycolmap.Camera.create_from_model_name(1, name, 1.0, 1, 1).params))
        for number, name in lenses.items()
    }
