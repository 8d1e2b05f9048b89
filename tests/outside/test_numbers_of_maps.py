"""Maps whose files pack numbers as Pillow shows no photographer: what is read is what was written."""

import struct
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from lift3d.errors import ImageError
from lift3d.scenes.images import decode_map
from tests.support import captures

SOURCE = captures.capture(2)
NUMBERS = np.arange(captures.WIDTH * captures.HEIGHT).reshape(captures.HEIGHT, captures.WIDTH)


def write_png(path, numbers, bits):
    """Write greys of less than 8 bits: pixels side by side in a byte, the first in its highest bits."""
    rows = np.unpackbits(numbers.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :].reshape(len(numbers), -1)
    packed = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)
    parts = {b"IHDR": struct.pack(">IIBBBBB", *numbers.shape[::-1], bits, 0, 0, 0, 0), b"IDAT": zlib.compress(packed)}
    chunks = [(kind, content) for kind, content in (*parts.items(), (b"IEND", b""))]
    sealed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(sealed))


def write_pgm(path, numbers, largest, is_text=False):
    if is_text:
        body = " ".join(map(str, numbers.reshape(-1))).encode()
    else:
        body = numbers.astype("u1" if largest < 256 else ">u2").tobytes()
    path.write_bytes(b"P%d\n%d %d\n%d\n" % (2 if is_text else 5, *numbers.shape[::-1], largest) + body)


def write_white_is_zero(path, numbers):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 0
    # Pillow turns them as it writes.
    Image.fromarray((255 - numbers).astype(np.uint8)).save(path, tiffinfo=tags)


FORMS = {
    "PNG of 2 bits": (partial(write_png, bits=2), "png", 4),
    "PNG of 4 bits": (partial(write_png, bits=4), "png", 16),
    "PGM up to 20": (partial(write_pgm, largest=20), "pgm", 21),
    "PGM up to 1000": (partial(write_pgm, largest=1000), "pgm", 1001),
    "PGM up to 65535": (partial(write_pgm, largest=65535), "pgm", 3000),
    "PGM as text": (partial(write_pgm, largest=300, is_text=True), "pgm", 301),
    "TIFF whose white is 0": (write_white_is_zero, "tif", 256),
}


@pytest.mark.outside(
    kind="4 numbers that are wrong without a word", case="maps of few bits, or with a largest number of their own",
    right="the numbers of the file, as labels and as depth",
)  # fmt: skip
@pytest.mark.parametrize("form", FORMS)
def test_numbers_are_those_of_the_file(tmp_path, form):
    write, suffix, count = FORMS[form]
    numbers = NUMBERS % count
    write(tmp_path / f"map.{suffix}", numbers)
    np.testing.assert_array_equal(decode_map(tmp_path / f"map.{suffix}"), numbers)
    named = {"depth_file_path": f"map.{suffix}", "label_file_path": f"map.{suffix}"}
    scene = captures.read_transforms(tmp_path, SOURCE, named, depth_unit_scale_factor=0.5)
    loaded = scene.views[0].load(captures.HEIGHT)
    np.testing.assert_array_equal(loaded.labels.numpy(), numbers)
    is_known = (numbers > 0) & (numbers < 65535)
    np.testing.assert_array_equal(loaded.z_depth.numpy()[is_known], 0.5 * numbers[is_known])


KEYS = {"depth_file_path": "u2", "label_file_path": "u1", "mask_path": "u1"}


@pytest.mark.outside(
    kind="4 numbers that are wrong without a word", case="maps of other proportions than their image's",
    right="refused: depth, labels and masks that are turned or cut otherwise",
)  # fmt: skip
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("shape", [(captures.WIDTH, captures.HEIGHT), (captures.HEIGHT, captures.HEIGHT)])
def test_maps_that_lie_otherwise(tmp_path, key, shape):
    Image.fromarray(np.full(shape, 99, KEYS[key])).save(tmp_path / "map.png")
    view = captures.read_transforms(tmp_path, SOURCE, {key: "map.png"}).views[0]
    with pytest.raises(ImageError, match=r"map\.png.*same proportions"):
        view.load(captures.HEIGHT)


@pytest.mark.outside(
    kind="4 numbers that are wrong without a word", case="maps as JPEG", right="refused: their numbers are changed"
)
@pytest.mark.parametrize("key", ["depth_file_path", "label_file_path"])
def test_maps_as_jpeg(tmp_path, key):
    Image.fromarray((NUMBERS % 7).astype(np.uint8)).save(tmp_path / "map.jpg")
    view = captures.read_transforms(tmp_path, SOURCE, {key: "map.jpg"}).views[0]
    with pytest.raises(ImageError, match="changes numbers"):
        view.load(captures.HEIGHT)
