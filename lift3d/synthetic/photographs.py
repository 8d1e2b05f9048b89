"""The photographs that textures are cut from: those that come inside the packages, nothing is downloaded."""

import functools
import importlib.util
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from skimage.io import imread

from lift3d.errors import ConfigError, ImageError

PhotographSet = Literal["scikit-image", "scikit-learn"]

# Those in the public domain or under CC0 (scikit-image), and the two under CC BY of scikit-learn.
_SETS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "scikit-image": (
        "skimage",
        "data",
        (
            "astronaut.png",
            "brick.png",
            "camera.png",
            "chelsea.png",
            "coffee.png",
            "coins.png",
            "grass.png",
            "gravel.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "moon.png",
            "page.png",
            "retina.jpg",
            "rocket.jpg",
            "text.png",
        ),
    ),
    "scikit-learn": ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
}


@functools.lru_cache(maxsize=4)
def photographs(sets: tuple[PhotographSet, ...] = ("scikit-image",)) -> tuple[UInt8[ndarray, "height width 3"], ...]:
    """Return the photographs of installed packages, in a fixed order.

    Raises:
        ConfigError: If a set has no name here, or its package is not installed.
        ImageError: If the package came without its pictures.
    """
    pictures = []
    for name in sets:
        if name not in _SETS:
            raise ConfigError(f"There is no set of photographs '{name}'; expected some of {', '.join(_SETS)}.")
        module, folder, files = _SETS[name]
        found = importlib.util.find_spec(module)
        if found is None or not found.submodule_search_locations:
            raise ConfigError(f"Photographs of {name} are asked for, but it is not installed; pip install {name}.")
        root = Path(found.submodule_search_locations[0], folder)
        pictures += [_picture(root / file) for file in files]
    return tuple(pictures)


def _picture(path: Path) -> UInt8[ndarray, "height width 3"]:
    try:
        pixels = np.asarray(imread(path))
    except OSError as error:
        raise ImageError(f"Photograph '{path}' is missing or does not decode; install its package again.") from error
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    return np.ascontiguousarray(pixels[..., :3])
