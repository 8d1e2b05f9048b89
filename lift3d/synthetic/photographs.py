"""Photographs that come inside scikit-image, in the public domain or under CC0; nothing is downloaded."""

from importlib.resources import files

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from skimage.io import imread

from lift3d.errors import ImageError


def photograph(name: str) -> UInt8[ndarray, "height width 3"]:
    """Read a photograph of scikit-image; ImageError if the package came without it."""
    path = files("skimage").joinpath("data", name)
    try:
        pixels = np.asarray(imread(str(path)))
    except OSError as error:
        raise ImageError(f"Photograph '{path}' is missing or does not decode; install scikit-image again.") from error
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    return np.ascontiguousarray(pixels[..., :3])
