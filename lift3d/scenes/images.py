"""Image files: decoding with limits, and the pixels of one view. The only home of Pillow.

A decoded image is checked against its camera: the same size, or a uniform rescale (K then follows per axis).
"""

import math
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Shaped
from numpy import ndarray
from PIL import Image, ImageFile, ImageOps
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import digest
from lift3d.domain.scene import UNKNOWN_LABEL, Frame
from lift3d.errors import ImageError, SceneFormatError
from lift3d.extras import extra
from lift3d.scenes.file_limits import digest_file, map_array, read_map
from lift3d.scenes.image_sizes import is_rescale, reduction_by, require_proportions
from lift3d.scenes.packed_map import PACKED, read_packed
from lift3d.scenes.resampling import center_fractions, nearest, nearest_known, resize, undistort
from lift3d.scenes.undistortion import Distortion, file_fractions, file_places

# Twice Pillow's own default limit, where Pillow itself refuses: about 180 megapixels, 2 GB as float.
MAX_PIXELS = 178_956_970
# As many pixels of three colours of 16 bits, uncompressed.
MAX_FILE_BYTES = 6 * MAX_PIXELS
# What Pillow may open: it also knows formats that run external programs. Phones' MPO is among JPEG.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
# What iPhones write by default; read where the extra is installed.
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp", ".wmv")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
# Sensors write the largest 16-bit value for "no measurement" or "too far" (7-Scenes documents it).
_SATURATED_U16 = 65535
_ORIENTATION_TAG, _EXIF, _FOCAL_ON_FILM_TAG = 0x0112, 0x8769, 0xA405
# The diagonal of a frame on 35 mm film, by which COLMAP compares focal lengths.
_FILM_DIAGONAL = math.hypot(36, 24)
_QUARTER_TURNS = (5, 6, 7, 8)
_LOAD_VERSION, _DEPTH_VERSION = 5, 2
# A JPEG is decoded to at least so many times the size that is asked for.
SHARP = 1.5
# The pixels as bytes and as float32; validity, as float32, and the pixels times it; with a lens, the pixels before, and
# where they lie in the file.
_BYTES_PER_PIXEL, _VALIDITY_BYTES_PER_PIXEL, _LENS_BYTES_PER_PIXEL = 15, 17, 11
# Of files that take more than this to decode, threads decode one at a time.
LARGE_BYTES, _one_large = 2**28, threading.Lock()
# Pixels of large files lie in pieces that the system takes back; smaller ones stay with the thread that decoded them.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]
# What phones and cameras write; no map survives it.
_LOSSY, _LOSSY_SUFFIXES = ("JPEG", "MPO"), (".jpg", ".jpeg")
# How Pillow names the packing of greys: bits if there are fewer than 8, I if white is 0, R if bits are reversed.
_FEW_BITS = re.compile(r"L;(?P<bits>[24])?(?P<is_turned>I)?R?")
_DECODE_ERRORS = (
    *(OSError, EOFError, ValueError, SyntaxError, KeyError, IndexError),
    # The last is what libheif refuses by limits of its own.
    *(struct.error, zlib.error, Image.DecompressionBombError, RuntimeError),
)


def image_size(path: str | Path, declared: ImageSize | None = None) -> ImageSize:
    """Read an image's size from its header, after the EXIF rotation if only that makes it fit ``declared``.

    ImageError if the file is missing, no image, too large, or does not fit the declared size.
    """
    with _decoding(path), _opened(path) as image:
        return _stored_size(image, path, declared)[0]


def decode_color(
    path: str | Path, expected: ImageSize | None = None, wanted: ImageSize | None = None, oversampling: float = SHARP
) -> tuple[Shaped[ndarray, "height width 3"], Bool[ndarray, "height width"] | None]:
    """Decode to RGB (8 or 16 bit), with validity where the file has alpha (valid from one half on).

    It is as stored where the size that is expected says so; upright by EXIF without one. A JPEG of which much less is
    ``wanted`` is decoded at a half, a quarter or an eighth. ImageError if the file is missing, truncated, too large, or
    does not fit the expected size.
    """
    with _decoding(path), _opened(path) as image:
        size, is_turned = _stored_size(image, path, expected)
        if wanted is not None and image.format in _LOSSY:
            reduction = reduction_by(size, wanted, oversampling)
            image.draft(None, (image.width // reduction, image.height // reduction))
        upright = ImageOps.exif_transpose(image) if is_turned or expected is None else image
        if upright.mode == "F":
            raise ImageError(f"Image '{path}' holds floats, not colours. Convert it to 8 or 16 bit.")
        if upright.mode.startswith("I"):
            grey = np.asarray(upright).clip(0, 65535).astype(np.uint16)
            return np.repeat(grey[..., None], 3, axis=-1), None
        if upright.has_transparency_data:
            rgba = np.asarray(upright.convert("RGBA"))
            return np.ascontiguousarray(rgba[..., :3]), rgba[..., 3] >= 128
        return np.asarray(upright.convert("RGB")), None


def noted_focal_px(path: str | Path) -> float | None:
    """Return the focal length as the camera wrote it into the file, pixels of this size, as COLMAP reads it; else None.

    ImageError if the file is missing, no image, or too large.
    """
    with _decoding(path), _opened(path) as image:
        on_film = image.getexif().get_ifd(_EXIF).get(_FOCAL_ON_FILM_TAG)
        if not isinstance(on_film, int) or on_film <= 0:
            return None
        return on_film / _FILM_DIAGONAL * math.hypot(image.width, image.height)


def decode_mask(path: str | Path) -> Bool[ndarray, "height width"]:
    """Decode a mask: True where any of its colours is not 0, as COLMAP and nerfstudio read theirs.

    Of a palette, the colours count, in whatever order it has them.
    """
    with _decoding(path), _opened(path) as image:
        has_colours = len(image.getbands()) > 1 or image.palette is not None
        values = np.asarray(image.convert("RGB") if has_colours else image)
    return np.asarray(values.reshape(*values.shape[:2], -1).any(axis=-1))


def decode_map(
    path: str | Path, *, may_have_palette: bool = False, image: ImageSize | None = None
) -> Shaped[ndarray, "height width"]:
    """Decode a single-channel map without changing its numbers; of ``.npy`` only what is looked at is read.

    ``may_have_palette`` says that numbers mean the same in any colours, as those of labels do; ``image`` is the size of
    the map's image, which tells the shape of maps that do not say it. ImageError if the file is missing, truncated,
    too large, or has several channels.
    """
    with _decoding(path):
        if str(path).endswith(".npy"):
            values = map_array(Path(path), MAX_FILE_BYTES)
            _require_pixels(path, *values.shape[:2])
        elif str(path).endswith(".npz"):
            values = read_map(Path(path))
        elif image is not None and Path(path).suffix in PACKED:
            values = read_packed(Path(path), image, MAX_FILE_BYTES)
        else:
            with _opened(path) as opened:
                if opened.format in _LOSSY:
                    raise ImageError(f"'{path}' is a JPEG, which changes numbers. Export the map as PNG, TIFF or .npy.")
                if opened.palette is not None and not may_have_palette:
                    raise ImageError(f"'{path}' has a palette of colours; expected one that has numbers.")
                values = _as_stored(opened)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "buif":
        raise ImageError(
            f"'{path}' should hold one number per pixel, got {values.dtype} of shape {values.shape}. "
            "Colour-coded maps must be converted to ids first."
        )
    return values


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
        is_reduced = self.mask is None and self.image.lower().endswith(_LOSSY_SUFFIXES)
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


def _opened(path: str | Path) -> ImageFile.ImageFile:
    """Open lazily: the header is read, no pixel decoded."""
    formats: tuple[str, ...] = FORMATS
    if str(path).lower().endswith(HEIC_SUFFIXES):
        with extra("phone"):
            import pillow_heif
        # It turns pictures upright itself, and says so in what it gives of their EXIF.
        pillow_heif.register_heif_opener(thumbnails=False, depth_images=False)
        formats = (*FORMATS, "HEIF")
    image = Image.open(path, formats=formats)
    try:
        _require_pixels(path, image.height, image.width)
    except ImageError:
        image.close()
        raise
    return image


def _as_stored(image: ImageFile.ImageFile) -> Shaped[ndarray, "..."]:
    """Return the numbers of a file: Pillow stretches those of less than 8 bits, and turns those whose white is 0."""
    codec, how = (image.tile[0].codec_name, image.tile[0].args) if image.tile else ("", None)
    words = how if isinstance(how, tuple) else (how,)
    largest = words[-1] if codec.startswith("ppm") else 0
    found = _FEW_BITS.fullmatch(str(words[0]))
    values = np.asarray(image)
    if found and found["is_turned"]:
        values = 255 - values
    if found and found["bits"]:
        largest = 2 ** int(found["bits"]) - 1
    if not largest:
        return values
    top = 255 if largest < 256 else 65535
    return np.rint(values.astype(np.float64) * largest / top).astype(np.uint8 if top == 255 else np.uint16)


def _require_pixels(path: str | Path, height: int = 1, width: int = 1) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(f"'{path}' has {height}×{width} pixels; at most {MAX_PIXELS} are decoded. Scale it down.")


def _stored_size(image: Image.Image, path: str | Path, declared: ImageSize | None) -> tuple[ImageSize, bool]:
    """Return the size that fits, and whether it takes the EXIF rotation to get there."""
    stored = ImageSize(image.height, image.width)
    if declared is None or is_rescale(stored, declared):
        return stored, False
    turned = ImageSize(image.width, image.height)
    if is_rescale(turned, declared) and image.getexif().get(_ORIENTATION_TAG) in _QUARTER_TURNS:
        return turned, True
    raise ImageError(
        f"Image '{path}' is {stored.height}×{stored.width}, its camera {declared.height}×{declared.width} "
        "(height×width); expected the same size or a uniform rescale. Check the intrinsics' image size."
    )


@contextmanager
def _decoding(path: str | Path) -> Iterator[None]:
    """Translate whatever a decoder raises."""
    try:
        yield
    except SceneFormatError as error:
        raise ImageError(str(error)) from error
    except FileNotFoundError as error:
        raise ImageError(f"Image file '{path}' is missing.") from error
    except _DECODE_ERRORS as error:
        raise ImageError(
            f"'{path}' does not decode as one of {', '.join(FORMATS)}: {error}. Export it again."
        ) from error


def _digest_file(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return digest_file(Path(path), MAX_FILE_BYTES)
    except (OSError, SceneFormatError) as error:
        raise ImageError(f"Image file '{path}' cannot be read: {error}") from error
