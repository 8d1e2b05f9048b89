"""What products of views hold, as domain types. A store is data: what none of ours would say of its views is damage."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedDepth, LiftedFeatures, LiftedView, Prediction
from lift3d.domain.records import RAW2D
from lift3d.pipeline.products import FIRST_CUT, PREDICTION
from lift3d.storage.location import Store
from lift3d.storage.products import Product, open_product, understood

# Images much larger than their features say nothing; a stranger's may be so large that nothing holds them.
_FREE_PIXELS = 2**24
_MOST_PIXELS_PER_CELL = 2**12
# Arrays that are of no part.
_CAMERAS = ("K", "w2c")
# Of a part of which fewer than one in so many views is wanted, others are not read.
_FEW = 4


def read_features(product: Product, index: int) -> tuple[FeatureMap, ...]:
    """Return the features of one view, by its number."""
    maps = []
    with understood(product, f"View {index}"):
        for cut, fields in enumerate([view for part in product.notes for view in part["views"]][index]["grids"]):
            grid = FeatureGrid(**fields)
            values = product.read(f"features_{cut}", (index, slice(None), slice(grid.rows), slice(grid.cols)))
            has_tokens = f"tokens_{cut}" in product.names
            tokens = _tensor(product.read(f"tokens_{cut}", (index,))).float() if has_tokens else None
            maps.append(FeatureMap(_tensor(values).float(), grid, tokens))
    return tuple(maps)


def part_of_each_view(product: Product) -> dict[ViewId, int]:
    """Return the number of the part that each target with a lifted view lies in, in order."""
    with understood(product, "The list of views"):
        return {
            str(view["id"]): number for number, (_, views) in enumerate(_regions(product)) for view in views.values()
        }


def most_cells(product: Product) -> int:
    """Return how many cells the finest grid of the first lifted view has; 0 without views."""
    with understood(product, "The list of views"):
        first = next((view for _, views in _regions(product) for view in views.values()), None)
        return max(FeatureGrid(**grid).cell_count for grid in first["grids"]) if first else 0


def read_lifted(product: Product, wanted: Collection[ViewId] | None = None) -> Iterator[LiftedView]:
    """Yield lifted views, all or the wanted ones, those of one part in memory at a time; other parts are not read."""
    names = [name for name in product.names if name not in ("view", *_CAMERAS)]
    cameras: dict[str, NDArray[Any]] = {}
    for region, views in _wanted_regions(product, wanted):
        arrays = {name: product.read(name, region) for name in names}
        cameras = cameras or {name: product.array(name) for name in _CAMERAS}
        arrays |= {name: of_all[region] for name, of_all in cameras.items()}
        if product.attrs.get("prediction_is") == FIRST_CUT and FIRST_CUT in arrays:
            arrays[PREDICTION] = arrays[FIRST_CUT]
        for at, view in views.items():
            with understood(product, f"View '{view['id']}'"):
                lifted = _lifted_view(at, view, arrays, is_plain=_is_plain(product))
            yield lifted


def read_lifted_depths(product: Product, wanted: Collection[ViewId] | None = None) -> Iterator[LiftedDepth]:
    """Yield cameras and depths of lifted views, those of the cut with the most cells, and no features."""
    for region, views in _wanted_regions(product, wanted):
        arrays: dict[str, NDArray[Any]] = {}
        for at, view in views.items():
            with understood(product, f"View '{view['id']}'"):
                grids = [FeatureGrid(**grid) for grid in view["grids"]]
                cut = max(range(len(grids)), key=lambda one: grids[one].cell_count)
                names = [one for one in (f"coverage_{cut}", f"z_depth_{cut}", *_CAMERAS) if one in product.names]
                arrays |= {name: product.read(name, region) for name in names if name not in arrays}
                coverage, z_depth = _seen_of(arrays, cut, at, grids[cut], is_plain=_is_plain(product))
                depth = LiftedDepth(view["id"], _camera(at, view, arrays), grids[cut], coverage, z_depth)
                _require_shape(grids[cut].shape, coverage, z_depth)
            yield depth


def read_lifted_cameras(
    product: Product, wanted: Collection[ViewId] | None = None
) -> Iterator[tuple[ViewId, Camera, FeatureGrid]]:
    """Yield ids, cameras and the grids of the first cut of lifted views."""
    for region, views in _wanted_regions(product, wanted):
        arrays = {name: product.read(name, region) for name in _CAMERAS}
        for at, view in views.items():
            with understood(product, f"View '{view['id']}'"):
                found = view["id"], _camera(at, view, arrays), FeatureGrid(**view["grids"][0])
            yield found


def _regions(product: Product) -> Iterator[tuple[tuple[slice], dict[int, dict[str, Any]]]]:
    """Yield the region of each part, and what is noted of its lifted views by their place in it."""
    with understood(product, "The list of views"):
        noted = [[{**view} for view in part["views"]] for part in product.notes]
        ids = [view["id"] for part in noted for view in part]
        if not all(isinstance(one, str) for one in ids):
            raise TypeError("ids of views are texts")
    start = 0
    for part in noted:
        end = start + len(part)
        yield (slice(start, end),), {at: view for at, view in enumerate(part) if "reason" not in view}
        start = end


def _wanted_regions(
    product: Product, wanted: Collection[ViewId] | None
) -> Iterator[tuple[tuple[slice | list[int]], dict[int, dict[str, Any]]]]:
    """Yield regions that hold what is wanted, and what is noted of those views by their place: parts, or few of one."""
    for (part,), views in _regions(product):
        chosen = {at: view for at, view in views.items() if wanted is None or view["id"] in wanted}
        if wanted is not None and 0 < _FEW * len(chosen) < part.stop - part.start:
            yield ([part.start + at for at in chosen],), dict(enumerate(chosen.values()))
        elif chosen:
            yield (part,), chosen


def read_skipped(store: Store, path: str) -> list[tuple[str, str]]:
    """Return the targets that have no lifted view, with the reason."""
    product = open_product(store, path)
    with understood(product, "The list of views"):
        return [(str(target), str(reason)) for target, reason in product.attrs["skipped"]]


def _is_plain(product: Product) -> bool:
    return bool(product.attrs.get("lifter") == RAW2D)


def _lifted_view(
    index: int, described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, is_plain: bool
) -> LiftedView:
    lifted = []
    for cut, fields in enumerate(described["grids"]):
        grid = FeatureGrid(**fields)
        window = _window(grid.shape)
        values = _tensor(arrays[f"features_{cut}"][index][:, *window]).float()
        tokens = _tensor(arrays[f"tokens_{cut}"][index]).float() if f"tokens_{cut}" in arrays else None
        coverage, z_depth = _seen_of(arrays, cut, index, grid, is_plain=is_plain)
        # Of stores that were written before there was one, and of lifters that say none.
        has_confidence = f"confidence_{cut}" in arrays
        confidence = _tensor(arrays[f"confidence_{cut}"][index][window]).float() if has_confidence else None
        _require_shape(grid.shape, coverage, z_depth, *([] if confidence is None else [confidence]))
        lifted.append(LiftedFeatures(FeatureMap(values, grid, tokens), coverage, z_depth, confidence))
    kind, shape = described["kind"], tuple(described["prediction"])
    values = _tensor(arrays[PREDICTION][index][..., *_window(shape)])
    is_valid = _tensor(arrays["prediction_is_valid"][index][_window(shape)])
    _require_shape(shape, values)
    prediction = Prediction(kind, values if kind == "labels" else values.float(), is_valid)
    sources = tuple(map(str, described["sources"]))
    return LiftedView(described["id"], _camera(index, described, arrays), tuple(lifted), prediction, sources)


def _camera(index: int, described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Camera:
    size = ImageSize(*described["image"])
    cells = max(FeatureGrid(**fields).cell_count for fields in described["grids"])
    if size.height * size.width > max(_FREE_PIXELS, _MOST_PIXELS_PER_CELL * cells):
        raise ValueError(f"a view of {cells} cells has {size.height}×{size.width} pixels")
    return Camera(torch.from_numpy(arrays["K"][index].copy()), torch.from_numpy(arrays["w2c"][index].copy()), size)


def _seen_of(
    arrays: Mapping[str, NDArray[Any]], cut: int, index: int, grid: FeatureGrid, *, is_plain: bool
) -> tuple[Tensor, Tensor]:
    """Return coverage and depth of a view's cells; plain answers, which see all of them, have no arrays of these."""
    if is_plain and f"coverage_{cut}" not in arrays:
        return torch.ones(grid.shape), torch.full(grid.shape, torch.nan)
    coverage, z_depth = (
        _tensor(arrays[f"{name}_{cut}"][index][_window(grid.shape)]).float() for name in ("coverage", "z_depth")
    )
    return coverage, z_depth


def _window(shape: Sequence[int]) -> tuple[slice, slice]:
    return slice(shape[-2]), slice(shape[-1])


def _require_shape(shape: tuple[int, ...], *found: Tensor) -> None:
    for one in found:
        if tuple(one.shape) != shape:
            raise ValueError(f"an array of {tuple(one.shape)} where {shape} is noted")


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.as_tensor(np.array(array, copy=True))
