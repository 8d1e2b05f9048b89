"""Sizes of images that go together: of one picture at several sizes, and of its maps."""

from jaxtyping import Shaped
from numpy import ndarray

from lift3d.domain.camera import ImageSize
from lift3d.errors import ImageError

# JPEG's blocks of 8 pixels can be decoded smaller.
_REDUCTIONS = (8, 4, 2)
# Sides of a map and its image may differ in proportion by rounding, and by the few rows that sensors lack.
_LARGEST_STRETCH = 0.02


def reduction_by(size: ImageSize, wanted: ImageSize, oversampling: float) -> int:
    """Return by how much a JPEG may be decoded smaller, without a remainder that would shift its pixels."""
    least_height, least_width = wanted.height * oversampling, wanted.width * oversampling
    for by in _REDUCTIONS:
        is_enough = size.height >= by * least_height and size.width >= by * least_width
        if is_enough and size.height % by == size.width % by == 0:
            return by
    return 1


def is_rescale(a: ImageSize, b: ImageSize) -> bool:
    """Whether two sizes have one shape, up to the pixel by which tools round, floor or ceil."""
    small, large = sorted((a, b), key=lambda size: size.height * size.width)
    height = large.height * small.width / large.width
    width = large.width * small.height / large.height
    return abs(height - small.height) <= 1 or abs(width - small.width) <= 1


def require_proportions(path: str, values: Shaped[ndarray, "height width"], image: ImageSize) -> None:
    """Refuse a map that lies over another picture: one that is turned, or cut otherwise."""
    height, width = values.shape
    if abs(height * image.width / (width * image.height) - 1) > _LARGEST_STRETCH:
        raise ImageError(
            f"'{path}' is {height}×{width}, its image {image.height}×{image.width} (height×width); expected the same "
            "proportions. Turn or cut it as its image is."
        )
