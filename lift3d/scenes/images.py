"""Image files: decoding with limits. The only home of Pillow."""

import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped
from numpy import ndarray
from PIL import Image, ImageFile, ImageOps

from lift3d.domain.camera import ImageSize
from lift3d.errors import ImageError, SceneFormatError
from lift3d.extras import extra
from lift3d.scenes.file_limits import map_array, read_map
from lift3d.scenes.image_sizes import is_rescale, reduction_by
from lift3d.scenes.packed_map import PACKED, read_packed

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
_ORIENTATION_TAG, _EXIF, _FOCAL_ON_FILM_TAG = 0x0112, 0x8769, 0xA405
# The diagonal of a frame on 35 mm film, by which COLMAP compares focal lengths.
_FILM_DIAGONAL = math.hypot(36, 24)
_QUARTER_TURNS = (5, 6, 7, 8)
# A JPEG is decoded to at least so many times the size that is asked for.
SHARP = 1.5
# Pixels of large files lie in pieces that the system takes back; smaller ones stay with the thread that decoded them.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]
# What phones and cameras write; no map survives it.
_LOSSY, LOSSY_SUFFIXES = ("JPEG", "MPO"), (".jpg", ".jpeg")
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
