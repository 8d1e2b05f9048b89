"""How large a scene is, and what an operator says of one of its views: bytes by shapes."""

import math
from dataclasses import dataclass

from lift3d.domain.camera import ImageSize
from lift3d.operators.protocol import OperatorSpec

FLOAT32, FLOAT16, INT64 = 4, 2, 8
# Channels of an operator that tells them only after the first image; those of a large vision transformer.
ASSUMED_CHANNELS = 1024
# Of one tap: source (int64), two coordinates, weight and log scale. Twice, since rows are put together at the end.
TAP_BYTES = 2 * (INT64 + 4 * FLOAT32)
# Of one corner of a tap while it is blended: its index, its share, and a temporary of each.
CORNER_BYTES = 20


@dataclass(frozen=True, slots=True)
class SceneSize:
    """What the bytes of a scene depend on besides the recipe; views are those that are usable.

    Maps are depth, labels and instances; ``decode_bytes`` is what decoding holds, of as many of the largest image files
    as are decoded at once; COLMAP is asked for points where a view has no depth, and about lenses.
    """

    image: ImageSize
    view_count: int
    target_count: int
    map_bytes_per_px: int = 0
    decode_bytes: int = 0
    asks_colmap: bool = False

    def __str__(self) -> str:
        return f"{self.view_count} views and {self.target_count} targets of {self.image.height}x{self.image.width}"


def cuts_of(spec: OperatorSpec, image: ImageSize) -> list[tuple[int, int]]:
    """Return channels (assumed where the spec does not tell them) and cells of one view, cut by cut."""
    cuts = [(spec.channel_count or ASSUMED_CHANNELS, spec.stride_px), *spec.further_cuts]
    return [(channels, cells_of(image, stride)) for channels, stride in cuts]


def feature_bytes(spec: OperatorSpec, image: ImageSize, number_bytes: int = FLOAT32) -> int:
    """Return the bytes of one view's features: 4 per value in memory, 2 in the store before compression."""
    return sum(channels * cells for channels, cells in cuts_of(spec, image)) * number_bytes


def lifted_bytes(spec: OperatorSpec, image: ImageSize, number_bytes: int = FLOAT32) -> int:
    """Return the bytes of one lifted view: features, as ``feature_bytes``, with what stands beside and prediction."""
    beside = sum(cells for _, cells in cuts_of(spec, image)) * 3 * FLOAT32
    return feature_bytes(spec, image, number_bytes) + beside + prediction_bytes(spec, image)


def prediction_bytes(spec: OperatorSpec, image: ImageSize) -> int:
    """Return the bytes of one answer, with where it is valid."""
    channels, cells = cuts_of(spec, image)[0]
    if spec.prediction_kind == "embedding":
        return cells * (channels * FLOAT32 + 1)
    per_pixel = {"image": 3 * FLOAT32, "labels": INT64, "masks": channels * FLOAT32, "scalar": FLOAT32}
    return image.height * image.width * (per_pixel[spec.prediction_kind] + 1)


def cells_of(image: ImageSize, stride: float) -> int:
    """Return how many cells of so many pixels cover an image."""
    return math.ceil(image.height / stride) * math.ceil(image.width / stride)
