"""The pixels of one view, in files.

A decoded image is checked against its camera: the same size, or a uniform rescale (K then follows per axis).
"""

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import digest
from lift3d.domain.scene import UNKNOWN_LABEL, Frame
from lift3d.errors import ImageError, SceneFormatError
from lift3d.scenes.file_limits import digest_file
from lift3d.scenes.image_sizes import reduction_by, require_proportions
from lift3d.scenes.images import LOSSY_SUFFIXES, MAX_FILE_BYTES, SHARP, decode_color, decode_map, decode_mask
from lift3d.scenes.resampling import center_fractions, nearest, nearest_known, resize, undistort
from lift3d.scenes.undistortion import Distortion, file_fractions, file_places

# Sensors write the largest 16-bit value for "no measurement" or "too far" (7-Scenes documents it).
_SATURATED_U16 = 65535
_LOAD_VERSION, _DEPTH_VERSION = 5, 2
# The pixels as bytes and as float32; validity, as float32, and the pixels times it; with a lens, the pixels before, and
# where they lie in the file.
_BYTES_PER_PIXEL, _VALIDITY_BYTES_PER_PIXEL, _LENS_BYTES_PER_PIXEL = 15, 17, 11
# Of files that take more than this to decode, threads decode one at a time.
LARGE_BYTES, _one_large = 2**28, threading.Lock()


@dataclass(frozen=True, slots=True)
class FileFrame:
    """The pixels of a view in files: paths of the maps. Small, picklable; nothing is read before load.

    Maps may be of any size, in the image's proportions. Depth is z-depth in units of ``depth_scale``;
    ``depth_intrinsics`` are fx, fy, cx, cy at its own size if its sensor is another one than the image's (same centre
    and axes, no distortion); ``confidence``, of the same size, is 0 where it is not to be trusted. Labels are class
    ids, of which ``label_ignore`` means unknown. The mask is 0 where pixels are invalid; a silhouette cuts out the one
    thing there is, so that beside it there is nothing, else nobody knows what it hides. ``oversampling`` is the least
    at which a JPEG is decoded, before it is resized.
    """

    image: str
    depth: str | None = None
    labels: str | None = None
    mask: str | None = None
    depth_scale: float = 0.001
    depth_intrinsics: tuple[float, float, float, float] | None = None
    label_ignore: int | None = None
    distortion: Distortion | None = None
    is_silhouette: bool = False
    oversampling: float = SHARP
    confidence: str | None = None

    @property
    def has_depth(self) -> bool:
        """Whether load gives z_depth."""
        return self.depth is not None

    @property
    def has_labels(self) -> bool:
        """Whether load gives labels."""
        return self.labels is not None

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        """Decode, undistort at the file's size, then resize; labels and depth are read at the nearest pixel that knows.

        ImageError if a file is missing, does not decode, or does not fit the camera.
        """
        with _one_large if self.decode_bytes(camera.size, size) > LARGE_BYTES else nullcontext():
            image, is_valid, is_empty = self._load_color(camera, size)
        return Frame(
            image=image,
            is_valid=is_valid,
            is_empty=is_empty,
            camera=camera.resized(size),
            z_depth=self.load_depth(camera, size),
            labels=self._load_labels(camera, size),
        )

    def load_depth(self, camera: Camera, size: ImageSize) -> Float[Tensor, "height width"] | None:
        """Return z_depth alone, NaN where unknown; None without a depth map."""
        if self.depth is None:
            return None
        numbers = decode_map(self.depth, image=camera.size)
        if self.confidence is not None:
            trust = decode_map(self.confidence, image=camera.size)
            if trust.shape != numbers.shape:
                raise ImageError(f"'{self.confidence}' is {trust.shape}, its depth {numbers.shape}; expected one size.")
            numbers = np.where(trust > 0, numbers, np.zeros_like(numbers))
        lens = self.distortion
        if self.depth_intrinsics is not None:
            lens = Distortion("PINHOLE", self.depth_intrinsics, ImageSize(*numbers.shape))
        else:
            require_proportions(self.depth, numbers, camera.size)
        # Sensors' depth has holes between its samples: a wider pixel knows what any pixel of its own knows.
        reach = max(0, int(numbers.shape[0] / size.height / 2 - 0.25))
        found, is_known = nearest_known(numbers, _places(lens, camera, size), _tells_depth, reach)
        z_depth = np.where(is_known, found.astype(np.float64) * self.depth_scale, np.nan)
        return torch.from_numpy(z_depth.astype(np.float32))

    def decode_bytes(self, size: ImageSize, wanted: ImageSize) -> int:
        """Return about how many bytes load holds at once of an image file of a size, measured; maps are read lazily."""
        count = _BYTES_PER_PIXEL + _LENS_BYTES_PER_PIXEL * (self.distortion is not None)
        if self.mask is not None or self.distortion is not None:
            count += _VALIDITY_BYTES_PER_PIXEL
        is_reduced = self.mask is None and self.image.lower().endswith(LOSSY_SUFFIXES)
        reduction = reduction_by(size, wanted, self.oversampling) if is_reduced else 1
        return size.height * size.width * count // reduction**2

    def content_digest(self) -> str:
        """Digest of the bytes of all files and of what load does with them."""
        lens = self.distortion
        return digest(
            {
                "version": _LOAD_VERSION,
                "image": _digest_file(self.image),
                "depth": _digest_file(self.depth),
                "labels": _digest_file(self.labels),
                "mask": _digest_file(self.mask),
                "depth_scale": self.depth_scale if self.has_depth else None,
                **({"depth_version": _DEPTH_VERSION} if self.has_depth else {}),
                "depth_intrinsics": self.depth_intrinsics if self.has_depth else None,
                "confidence": _digest_file(self.confidence),
                "label_ignore": self.label_ignore,
                "distortion": lens and [lens.model, list(lens.params), lens.size.height, lens.size.width],
                **({"is_silhouette": True} if self.is_silhouette and self.mask else {}),
            }
        )

    def _load_color(
        self, camera: Camera, size: ImageSize
    ) -> tuple[Float[Tensor, "3 height width"], Bool[Tensor, "height width"], Bool[Tensor, "height width"] | None]:
        # Decoded smaller, what a mask hides would be mixed into what it shows.
        wanted = size if self.mask is None else None
        pixels, is_valid = decode_color(self.image, camera.size, wanted, self.oversampling)
        file_size = ImageSize(*pixels.shape[:2])
        transparent = None if is_valid is None else ~is_valid
        if self.mask is not None:
            # The mask is drawn on the file, so it is undistorted together with it.
            is_kept = decode_mask(self.mask)
            if is_kept.shape != pixels.shape[:2]:
                require_proportions(self.mask, is_kept, file_size)
                found, is_inside = nearest(is_kept, center_fractions(file_size))
                is_kept = found & is_inside
            is_valid = is_kept if is_valid is None else is_kept & is_valid
            if self.is_silhouette:
                transparent = ~is_valid
            elif transparent is not None:
                transparent &= is_kept
        if self.distortion is not None:
            pixels, is_valid = undistort(pixels, is_valid, *file_places(self.distortion, *_table(camera, file_size)))
        values = pixels.astype(np.float32)
        values *= np.float32(1 / np.iinfo(pixels.dtype).max)
        color, is_seen = resize(values, is_valid, size)
        # The mean of a box filter may pass 1 by float rounding.
        planes = np.ascontiguousarray(color.transpose(2, 0, 1)).clip(0, 1)
        is_empty = None
        if transparent is not None and transparent.any():
            found, is_inside = nearest(transparent, _places(self.distortion, camera, size))
            is_empty = torch.from_numpy(found & is_inside & ~is_seen)
        return torch.from_numpy(planes), torch.from_numpy(np.array(is_seen)), is_empty

    def _load_labels(self, camera: Camera, size: ImageSize) -> Int[Tensor, "height width"] | None:
        if self.labels is None:
            return None
        numbers = decode_map(self.labels, may_have_palette=True)
        if numbers.dtype.kind == "f":
            raise ImageError(f"Labels '{self.labels}' hold floats; class ids are whole numbers.")
        require_proportions(self.labels, numbers, camera.size)
        found, is_inside = nearest(numbers, _places(self.distortion, camera, size))
        ids = found.astype(np.int64)
        is_known = is_inside if self.label_ignore is None else is_inside & (ids != self.label_ignore)
        return torch.from_numpy(np.where(is_known, ids, UNKNOWN_LABEL))


def _tells_depth(values: ndarray) -> ndarray:
    is_known: ndarray = np.isfinite(values) & (values > 0)
    return (
        is_known & (values != _SATURATED_U16) if values.dtype.kind == "u" and values.dtype.itemsize == 2 else is_known
    )


def _places(lens: Distortion | None, camera: Camera, size: ImageSize) -> Float32[ndarray, "height width 2"]:
    """Where the pixel centres of a view at ``size`` lie in a file with this lens, as fractions."""
    if lens is None:
        return center_fractions(size)
    return file_fractions(lens, *_table(camera, size))


def _table(camera: Camera, size: ImageSize) -> tuple[tuple[float, ...], ImageSize]:
    """Return what tables of places depend on besides the lens: intrinsics at the size, row by row, and the size."""
    return tuple(camera.resized(size).K.reshape(-1).tolist()), size


def _digest_file(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return digest_file(Path(path), MAX_FILE_BYTES)
    except (OSError, SceneFormatError) as error:
        raise ImageError(f"Image file '{path}' cannot be read: {error}") from error
