"""The photographs that textures are cut from: those that come inside scikit-image, nothing is downloaded."""

import functools
from importlib.resources import files

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from skimage.io import imread

from lift3d.errors import ImageError

# In the public domain or under CC0.
_NAMES = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "page.png", "retina.jpg", "rocket.jpg"),
    "text.png",
)


@functools.lru_cache(maxsize=1)
def photographs() -> tuple[UInt8[ndarray, "_height _width 3"], ...]:
    """Return the photographs in a fixed order."""
    return tuple(photograph(name) for name in _NAMES)


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
