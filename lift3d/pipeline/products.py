"""Domain types to stored arrays and back: features and lifted views, a part of the views at a time."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedView, Prediction
from lift3d.errors import ContractError
from lift3d.pipeline.rounding import HALF_MAX, halved, rounded_depth, rounded_share
from lift3d.storage.location import Store
from lift3d.storage.products import NamedArray, ProductWriter

# One part of a scene is held in memory and written at once: bounded memory, few requests.
VIEWS_PER_PART = 64
# A product of so many parts is done again if its only writer dies; of one of more, each part is recorded.
UNRECORDED_PARTS = 4
# What decoders of pictures and embeddings say is often what they are given: then it is stored once.
PREDICTION, FIRST_CUT = "prediction", "features_0"

_ROUNDED = {"z_depth": rounded_depth, "coverage": rounded_share, "confidence": rounded_share}
GridsOf = Callable[[ImageSize], tuple[FeatureGrid, ...]]
# What every product of views says of itself to whoever opens it without lift3d.
EXPLAINED = {
    "frames": "Camera axes are OpenCV's: x right, y down, z forward. w2c maps world points to camera points.",
    "pixels": "K is in pixels of the image at image_height_px; the outer corner of the top-left pixel is (0, 0).",
    "missing": "NaN, and -1 for ids: not seen, not valid, or beyond the view's own size where views differ in size.",
}
_UNITS = {
    "features": {"long_name": "features, as the model gives them"},
    "tokens": {"long_name": "global tokens of the model"},
    "coverage": {"long_name": "share of the cell's ray that sources saw", "units": "1"},
    "confidence": {"long_name": "how likely what is lifted there is right", "units": "1"},
    "z_depth": {
        "long_name": "expected depth along the camera's z axis, rounded to 14 bits",
        "units": "world units of the scene",
    },
    "prediction": {"long_name": "what the model's decoder says"},
    "prediction_is_valid": {"long_name": "whether the prediction stands on something seen"},
}


@dataclass(frozen=True, slots=True)
class SkippedTarget:
    """A target that could not be lifted, and why."""

    id: ViewId
    reason: str


@dataclass(frozen=True, slots=True)
class PartOfViews:
    """Which part of a product of so many views is to be written; parts with one key, a digest, are equal.

    ``do`` does what is asked of it, now or behind: then only arrays of the host are left.
    """

    writer: ProductWriter
    number: int
    view_count: int
    key: str = ""
    do: Callable[[Callable[[], None]], None] = lambda work: work()

    def write(self, stack: "_Stack", views: Sequence[Any]) -> None:
        """Write the arrays, with what is noted of each view."""
        note = {"key": self.key, "views": views}
        self.do(lambda: self.writer.write_part(self.number, stack.arrays, self.view_count, VIEWS_PER_PART, note))


def write_features_part(
    part: PartOfViews, maps: Sequence[Sequence[FeatureMap]], sizes: Collection[ImageSize], grids_of: GridsOf
) -> None:
    """Write a part of the features of some views, one array per cut, float16."""
    stack = _Stack(len(maps))
    for cut, sides in enumerate(_sides_of_cuts(maps, sizes, grids_of)):
        _add_features(stack, cut, [view[cut] for view in maps], sides)
    clamped = [sum(int((one.values.abs() == HALF_MAX).sum()) for one in view) for view in maps]
    grids = [[one.grid.to_json() for one in view] for view in maps]
    part.write(stack, [{"grids": own, "clamped": count} for own, count in zip(grids, clamped, strict=True)])


def commit_features(writer: ProductWriter, cameras: Mapping[ViewId, Camera], attrs: Mapping[str, Any]) -> None:
    """Commit features of which all parts are written."""
    count = part_count(len(cameras))
    clamped = sum(view["clamped"] for view in _noted(writer, count))
    writer.commit(camera_arrays(cameras), {"clamped_to_float16": clamped, **EXPLAINED, **attrs}, count)


def write_lifted_part(
    part: PartOfViews,
    outcomes: Sequence[LiftedView | SkippedTarget],
    sizes: Collection[ImageSize],
    grids_of: GridsOf,
    *,
    is_plain: bool = False,
) -> None:
    """Write a part of the lifted views of one operator and lifter; of what is skipped there is the reason.

    Views of different sizes share arrays of the largest size; each view's own is noted. Plain answers are covered
    everywhere and have no depth: of these there are no arrays.
    """
    views = [one for one in outcomes if isinstance(one, LiftedView)]
    stack = _Stack(len(outcomes), [at for at, one in enumerate(outcomes) if isinstance(one, LiftedView)])
    if views:
        cut_sides = _sides_of_cuts([[one.features for one in view.lifted] for view in views], sizes, grids_of)
        for cut, sides in enumerate(cut_sides):
            cuts = [view.lifted[cut] for view in views]
            _add_features(stack, cut, [one.features for one in cuts], sides)
            if is_plain:
                continue
            sure = [one.confidence for one in cuts if one.confidence is not None]
            for name, values in (
                ("coverage", [one.coverage for one in cuts]),
                ("z_depth", [one.z_depth for one in cuts]),
                *([("confidence", sure)] if len(sure) == len(cuts) else []),
            ):
                dims = (f"row_{cut}", f"col_{cut}")
                stack.add(name, cut, values, sides, torch.nan, dims, _ROUNDED[name])
        _add_predictions(stack, [view.prediction for view in views], _sides_of_predictions(views, cut_sides, sizes))
        if _is_same(stack.arrays[PREDICTION][1], stack.arrays[FIRST_CUT][1]):
            del stack.arrays[PREDICTION]
    part.write(stack, [_described(one) for one in outcomes])


def commit_lifted(writer: ProductWriter, cameras: Mapping[ViewId, Camera], attrs: Mapping[str, Any]) -> None:
    """Commit lifted views of which all parts are written; answers that all are the first cut are no array."""
    count = part_count(len(cameras))
    views = _noted(writer, count)
    skipped = [[view["id"], view["reason"]] for view in views if "reason" in view]
    kind = next((view["kind"] for view in views if "kind" in view), "")
    is_stored = writer.complete(PREDICTION, FIRST_CUT, count)
    own = {"prediction_kind": kind, "prediction_is": PREDICTION if is_stored else FIRST_CUT, "skipped": skipped}
    described = {**own, **EXPLAINED, **attrs}
    writer.commit(camera_arrays(cameras), described, count)


def part_count(view_count: int) -> int:
    """Return how many parts so many views have."""
    return -(-view_count // VIEWS_PER_PART)


def writer_of(store: Store, path: str, view_count: int, *, is_shared: bool) -> ProductWriter:
    """Return what writes a product of so many views, of which several workers make parts if it is shared."""
    return ProductWriter(store, path, records_parts=is_shared or part_count(view_count) > UNRECORDED_PARTS)


def _is_same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays are equal to the bit."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


class _Stack:
    """Arrays of one part: values of its views along ``view``, missing where a view has none."""

    def __init__(self, length: int, at: Sequence[int] | None = None) -> None:
        self.arrays: dict[str, NamedArray] = {}
        self._length = length
        self._at = range(length) if at is None else at

    def add(
        self,
        name: str,
        cut: int | None,
        values: Sequence[Tensor],
        sides: tuple[int, int] | None,
        missing: float | int | bool,
        dims: tuple[str, ...],
        rounded: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray,
    ) -> None:
        """Stack values of the views, padded to ``sides`` rows and columns, as they are or rounded."""
        shape = tuple(values[0].shape) if sides is None else (*values[0].shape[:-2], *sides)
        stacked = torch.full((self._length, *shape), missing, dtype=values[0].dtype)
        for at, one in zip(self._at, values, strict=True):
            stacked[at][tuple(slice(length) for length in one.shape)] = one
        array = rounded(stacked.numpy(force=True))
        self.arrays[name if cut is None else f"{name}_{cut}"] = (("view", *dims), array, _UNITS[name])


def _sides_of_cuts(
    maps: Sequence[Sequence[FeatureMap]], sizes: Collection[ImageSize], grids_of: GridsOf
) -> list[tuple[int, int]]:
    """Return rows and columns, per cut, that hold views of some image sizes, a few of which are at hand."""
    if len(sizes) == 1:
        grids = [tuple(one.grid for one in view) for view in maps]
    else:
        grids = [grids_of(size) for size in sizes]
    return [_largest([grid.shape for grid in cut]) for cut in zip(*grids, strict=True)]


def _sides_of_predictions(
    views: Sequence[LiftedView], cut_sides: Sequence[tuple[int, int]], sizes: Collection[ImageSize]
) -> tuple[int, int]:
    """Return rows and columns that hold the predictions of such views.

    ContractError if sizes differ and a prediction lies neither on the pixels nor on a grid of features.
    """
    shapes = [tuple(view.prediction.values.shape[-2:]) for view in views]
    if len(sizes) == 1:
        return _largest(shapes)
    first = views[0]
    if shapes[0] == (first.camera.size.height, first.camera.size.width):
        return _largest([(size.height, size.width) for size in sizes])
    for one, sides in zip(first.lifted, cut_sides, strict=True):
        if shapes[0] == one.features.grid.shape:
            return sides
    raise ContractError(
        f"Predictions of {shapes[0][0]}×{shapes[0][1]} in a scene of {len(sizes)} image sizes; expected one value "
        "per pixel or per cell of a feature map, so that all views fit into one array.",
        view=first.target,
    )


def _add_features(stack: _Stack, cut: int, maps: Sequence[FeatureMap], sides: tuple[int, int]) -> None:
    dims = (f"channel_{cut}", f"row_{cut}", f"col_{cut}")
    stack.add("features", cut, [one.values for one in maps], sides, torch.nan, dims, halved)
    tokens = [one.global_tokens for one in maps if one.global_tokens is not None]
    if tokens:
        stack.add("tokens", cut, tokens, None, torch.nan, (f"token_{cut}", f"channel_{cut}"), halved)


def _add_predictions(stack: _Stack, predictions: Sequence[Prediction], sides: tuple[int, int]) -> None:
    dims = ("prediction_row", "prediction_col")
    stack.add("prediction_is_valid", None, [one.is_valid for one in predictions], sides, False, dims)
    kind = predictions[0].kind
    if kind == "labels":
        stack.add(PREDICTION, None, [one.values.int() for one in predictions], sides, -1, dims)
        return
    values = [one.values.float() for one in predictions]
    many = () if kind == "scalar" else ("prediction_channel",)
    stack.add(PREDICTION, None, values, sides, torch.nan, (*many, *dims), np.asarray if kind == "scalar" else halved)


def _described(outcome: LiftedView | SkippedTarget) -> dict[str, Any]:
    if isinstance(outcome, SkippedTarget):
        return {"id": outcome.id, "reason": outcome.reason}
    return {
        "id": outcome.target,
        "image": [outcome.camera.size.height, outcome.camera.size.width],
        "grids": [one.features.grid.to_json() for one in outcome.lifted],
        "kind": outcome.prediction.kind,
        "prediction": list(outcome.prediction.values.shape),
        "sources": list(outcome.source_ids),
    }


def camera_arrays(cameras: Mapping[ViewId, Camera]) -> dict[str, NamedArray]:
    """Return ids and cameras of views as every product of views has them."""
    return {
        "view": (("view",), np.array([*cameras], dtype=np.dtypes.StringDType())),
        "K": (("view", "k_row", "k_col"), np.stack([camera.K.numpy() for camera in cameras.values()])),
        "w2c": (("view", "w_row", "w_col"), np.stack([camera.w2c.numpy() for camera in cameras.values()])),
    }


def _noted(writer: ProductWriter, count: int) -> list[dict[str, Any]]:
    """Return what was noted of the views of all parts that are written."""
    parts = [writer.part(number) for number in range(count)]
    return [view for part in parts if part is not None for view in part.note["views"]]


def _largest(sides: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    return max(one[0] for one in sides), max(one[1] for one in sides)
