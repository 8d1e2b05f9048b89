"""How many bytes a scene takes, in memory and in the store: arithmetic on sizes, nothing is opened.

Counted are the arrays that grow with the scene. Not counted are a network's activations and weights, which its spec
does not tell, and the search volume inside a lifter: leave room for them in the allowance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lift3d.config import Recipe
from lift3d.domain.camera import ImageSize
from lift3d.lifters.blend import CHANNEL_BLOCK, CORNER_TILE
from lift3d.operators.protocol import OperatorSpec
from lift3d.scene_inputs import CACHE_BYTES
from lift3d.scene_products import VIEWS_PER_PART

# A worker after its first tiny scene: 580 MB measured, 672 MB with timm loaded.
WORKER_BYTES = 700 * 2**20
# Channels of an operator that tells them only after the first image; those of a large vision transformer.
ASSUMED_CHANNELS = 1024
# The finest guide grid of the lifters here, and the most samples that one keeps per cell.
_GUIDE_STRIDE_PX = 2
_GUIDE_SAMPLES = 8
_FLOAT32, _FLOAT16, _INT64 = 4, 2, 8
# Of one tap: source (int64), two coordinates, weight and log scale. Twice, since rows are put together at the end.
_TAP_BYTES = 2 * (_INT64 + 4 * _FLOAT32)
# Of one corner of a tap while it is blended: its index, its share, and a temporary of each.
_CORNER_BYTES = 32
# Measured peaks lie up to 10 % above the sum of the arrays: what the allocator keeps.
_ALLOCATOR_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class SceneSize:
    """What the bytes of a scene depend on besides the recipe.

    Attributes:
        image: Size at which views are encoded and lifted.
        view_count: Usable views.
        target_count: Views to lift.
        map_bytes_per_px: Bytes per pixel of depth, labels and instances, where the views have them.
    """

    image: ImageSize
    view_count: int
    target_count: int
    map_bytes_per_px: int = 0

    @property
    def pixel_count(self) -> int:
        """Pixels of one view."""
        return self.image.height * self.image.width


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest memory that a worker needs for a scene.

    Attributes:
        needed_bytes: All of it.
        reserved_bytes: The part that does not depend on the operator: the process and its two caches.
        operator: Whose views take the most.
    """

    needed_bytes: int
    reserved_bytes: int
    operator: str


def channels_of(spec: OperatorSpec) -> int:
    """Return an operator's channels, assumed where the spec does not tell them."""
    return spec.channel_count or ASSUMED_CHANNELS


def cells_of(spec: OperatorSpec, image: ImageSize) -> int:
    """Return the feature cells of one view."""
    return math.ceil(image.height / spec.stride_px) * math.ceil(image.width / spec.stride_px)


def feature_bytes(spec: OperatorSpec, image: ImageSize) -> int:
    """Return the memory of one view's features, float32."""
    return channels_of(spec) * cells_of(spec, image) * _FLOAT32


def stored_feature_bytes(spec: OperatorSpec, image: ImageSize) -> int:
    """Return the bytes of one view's features in the store, float16, before compression."""
    return channels_of(spec) * cells_of(spec, image) * _FLOAT16


def lifted_bytes(spec: OperatorSpec, image: ImageSize, number_bytes: int = _FLOAT32) -> int:
    """Return the bytes of one lifted view: features, coverage, depth and prediction.

    Args:
        spec: The operator's.
        image: Size of the view.
        number_bytes: Of one feature value: 4 in memory, 2 in the store.
    """
    cells = cells_of(spec, image)
    return cells * (channels_of(spec) * number_bytes + 2 * _FLOAT32) + _prediction_bytes(spec, image)


def stored_scene_bytes(
    size: SceneSize, recipe: Recipe, specs: Sequence[OperatorSpec], views_to_encode: Mapping[str, int]
) -> int:
    """Return what a scene adds to the store, before compression: features that are missing, and all lifted views."""
    per_target = len(recipe.lifters) + 1
    return sum(
        views_to_encode[spec.name] * stored_feature_bytes(spec, size.image)
        + size.target_count * per_target * lifted_bytes(spec, size.image, _FLOAT16)
        for spec in specs
    )


def peak_of(size: SceneSize, recipe: Recipe, specs: Sequence[OperatorSpec]) -> Peak:
    """Return the peak of a worker: it either lifts one part of the targets or scores one operator's views.

    Lifting holds a part of every operator and lifter at once, and a copy of the largest while it is written. Scoring
    holds all targets of one operator under every lifter, with the features once more as the decoder saw them.
    """
    frames = size.view_count * size.pixel_count * (3 * _FLOAT32 + 1 + size.map_bytes_per_px)
    features = sum(size.view_count * feature_bytes(spec, size.image) for spec in specs)
    reserved = WORKER_BYTES + min(CACHE_BYTES, frames) + min(CACHE_BYTES, features)
    per_target = len(recipe.lifters) + 1
    part = min(VIEWS_PER_PART, size.target_count)
    parts = {spec.name: part * per_target * lifted_bytes(spec, size.image) for spec in specs}
    scored = {
        spec.name: size.target_count * per_target * (lifted_bytes(spec, size.image) + feature_bytes(spec, size.image))
        for spec in specs
    }
    blending = max(_blend_bytes(cells_of(spec, size.image), recipe) for spec in specs)
    lifting = sum(parts.values()) + max(parts.values()) // per_target + _proposal_bytes(size, recipe) + blending
    scoring = max(scored.values())
    needed = reserved + int(_ALLOCATOR_MARGIN * max(lifting, scoring))
    return Peak(needed, reserved, max(scored, key=lambda name: scored[name]))


def _blend_bytes(cells: int, recipe: Recipe) -> int:
    """Return the weights of one target and the corners of one tile of them."""
    taps = cells * recipe.tap_count
    table = recipe.sources * cells * CHANNEL_BLOCK // 2
    return taps * _TAP_BYTES + min(4 * taps, max(CORNER_TILE, table)) * _CORNER_BYTES


def _proposal_bytes(size: SceneSize, recipe: Recipe) -> int:
    cells = math.ceil(size.image.height / _GUIDE_STRIDE_PX) * math.ceil(size.image.width / _GUIDE_STRIDE_PX)
    return cells * _GUIDE_SAMPLES * (2 + recipe.sources) * _FLOAT32 * len(recipe.lifters)


def _prediction_bytes(spec: OperatorSpec, image: ImageSize) -> int:
    if spec.prediction_kind == "embedding":
        return cells_of(spec, image) * (channels_of(spec) * _FLOAT32 + 1)
    per_pixel = {"image": 3 * _FLOAT32, "labels": _INT64, "masks": _INT64, "scalar": _FLOAT32}
    return image.height * image.width * (per_pixel[spec.prediction_kind] + 1)
