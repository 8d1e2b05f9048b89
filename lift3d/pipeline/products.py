"""Domain types to stored arrays and back: features of a view, a part of the lifted views, sparse tracks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedDepth, LiftedFeatures, LiftedView, Prediction
from lift3d.domain.scene import Tracks
from lift3d.storage.location import Store
from lift3d.storage.products import open_product, to_half, write_product

NamedArray = tuple[tuple[str, ...], NDArray[Any]]

# One part of a scene is held in memory and committed at once: bounded memory, and little to lose.
VIEWS_PER_PART = 32


def write_features(store: Store, path: str, maps: Sequence[FeatureMap], attrs: Mapping[str, Any]) -> None:
    """Commit the features of one view, one array per cut, float16."""
    arrays: dict[str, NamedArray] = {}
    for cut, one in enumerate(maps):
        half = to_half(one.values.numpy())[0]
        arrays[f"features_{cut}"] = ((f"channel_{cut}", f"row_{cut}", f"col_{cut}"), half)
        if one.global_tokens is not None:
            tokens = to_half(one.global_tokens.numpy())[0]
            arrays[f"tokens_{cut}"] = ((f"token_{cut}", f"channel_{cut}"), tokens)
    grids = [one.grid.to_json() for one in maps]
    write_product(store, path, arrays, {**attrs, "grids": grids})


def read_features(store: Store, path: str) -> tuple[FeatureMap, ...]:
    """Read what write_features committed."""
    product = open_product(store, path)
    return tuple(
        FeatureMap(
            _tensor(product.array(f"features_{cut}")).float(),
            FeatureGrid(**grid),
            _tensor(product.array(f"tokens_{cut}")).float() if f"tokens_{cut}" in product.names else None,
        )
        for cut, grid in enumerate(product.attrs["grids"])
    )


def write_lifted_part(store: Store, path: str, views: Sequence[LiftedView], attrs: Mapping[str, Any]) -> None:
    """Commit a part of the lifted views of one operator and lifter.

    Views of different sizes share arrays of the largest size; the attributes hold each view's own.
    """
    if not views:
        write_product(store, path, {}, {**attrs, "views": [], "prediction_kind": ""})
        return
    arrays: dict[str, NamedArray] = {"view": (("view",), np.array([view.target for view in views]))}
    for cut in range(len(views[0].lifted)):
        cuts = [view.lifted[cut] for view in views]
        row, col = f"row_{cut}", f"col_{cut}"
        arrays[f"features_{cut}"] = (
            ("view", f"channel_{cut}", row, col),
            to_half(_stacked([one.features.values for one in cuts], torch.nan))[0],
        )
        if cuts[0].features.global_tokens is not None:
            tokens = _stacked([_known(one.features.global_tokens) for one in cuts], torch.nan)
            arrays[f"tokens_{cut}"] = (("view", f"token_{cut}", f"channel_{cut}"), to_half(tokens)[0])
        arrays[f"coverage_{cut}"] = (("view", row, col), _stacked([one.coverage for one in cuts], torch.nan))
        arrays[f"z_depth_{cut}"] = (("view", row, col), _stacked([one.z_depth for one in cuts], torch.nan))
    arrays |= _prediction_arrays([view.prediction for view in views])
    arrays["K"] = (("view", "k_row", "k_col"), np.stack([view.camera.K.numpy() for view in views]))
    arrays["w2c"] = (("view", "w_row", "w_col"), np.stack([view.camera.w2c.numpy() for view in views]))
    described = [
        {
            "id": view.target,
            "image": [view.camera.size.height, view.camera.size.width],
            "grids": [one.features.grid.to_json() for one in view.lifted],
            "prediction": list(view.prediction.values.shape),
            "sources": list(view.source_ids),
        }
        for view in views
    ]
    write_product(store, path, arrays, {**attrs, "views": described, "prediction_kind": views[0].prediction.kind})


def read_lifted_part(store: Store, path: str) -> tuple[LiftedView, ...]:
    """Read what write_lifted_part committed."""
    product = open_product(store, path)
    arrays = {name: product.array(name) for name in product.names if name != "view"}
    kind = product.attrs["prediction_kind"]
    return tuple(_lifted_view(index, described, arrays, kind) for index, described in enumerate(product.attrs["views"]))


def read_lifted_grids(store: Store, path: str) -> dict[ViewId, tuple[FeatureGrid, ...]]:
    """Return the grids of each target of a part, cut by cut, without reading arrays."""
    views = open_product(store, path).attrs["views"]
    return {view["id"]: tuple(FeatureGrid(**grid) for grid in view["grids"]) for view in views}


def read_lifted_depths(store: Store, path: str) -> tuple[LiftedDepth, ...]:
    """Read cameras and depths of a part, those of the cut with the most cells, and no features."""
    product = open_product(store, path)
    found = []
    arrays: dict[str, NDArray[Any]] = {}
    for index, described in enumerate(product.attrs["views"]):
        grids = [FeatureGrid(**grid) for grid in described["grids"]]
        cut = max(range(len(grids)), key=lambda one: grids[one].cell_count)
        names = (f"coverage_{cut}", f"z_depth_{cut}", "K", "w2c")
        arrays |= {name: product.array(name) for name in names if name not in arrays}
        window = (slice(grids[cut].rows), slice(grids[cut].cols))
        coverage, z_depth, K, w2c = (_tensor(arrays[name][index]) for name in names)
        camera = Camera(K, w2c, ImageSize(*described["image"]))
        found.append(LiftedDepth(described["id"], camera, grids[cut], coverage[window], z_depth[window]))
    return tuple(found)


def read_skipped(store: Store, path: str) -> list[tuple[str, str]]:
    """Return the targets of a part that have no lifted view, with the reason."""
    return [(target, reason) for target, reason in open_product(store, path).attrs["skipped"]]


def write_tracks(store: Store, path: str, tracks: Tracks, attrs: Mapping[str, Any]) -> None:
    """Commit sparse tracks."""
    arrays = {
        "points": (("point", "xyz"), tracks.points.numpy()),
        "point_index": (("observation",), tracks.point_index.numpy()),
        "view_index": (("observation",), tracks.view_index.numpy()),
        "uv": (("observation", "uv_axis"), tracks.uv.numpy()),
    }
    write_product(store, path, arrays, {**attrs, "view_ids": list(tracks.view_ids)})


def read_tracks(store: Store, path: str) -> Tracks:
    """Read what write_tracks committed."""
    product = open_product(store, path)
    points, point_index, view_index, uv = (
        _tensor(product.array(name)) for name in ("points", "point_index", "view_index", "uv")
    )
    return Tracks(points, point_index, view_index, uv, tuple(product.attrs["view_ids"]))


def _prediction_arrays(predictions: Sequence[Prediction]) -> dict[str, NamedArray]:
    valid = _stacked([one.is_valid for one in predictions], False)
    arrays: dict[str, NamedArray] = {"prediction_is_valid": (("view", "prediction_row", "prediction_col"), valid)}
    kind = predictions[0].kind
    if kind == "labels":
        values: NDArray[Any] = _stacked([one.values.int() for one in predictions], -1)
        arrays["prediction"] = (("view", "prediction_row", "prediction_col"), values)
    elif kind == "scalar":
        values = _stacked([one.values.float() for one in predictions], torch.nan)
        arrays["prediction"] = (("view", "prediction_row", "prediction_col"), values)
    else:
        values = to_half(_stacked([one.values.float() for one in predictions], torch.nan))[0]
        arrays["prediction"] = (("view", "prediction_channel", "prediction_row", "prediction_col"), values)
    return arrays


def _lifted_view(index: int, described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], kind: Any) -> LiftedView:
    lifted = []
    for cut, fields in enumerate(described["grids"]):
        grid = FeatureGrid(**fields)
        window = (slice(grid.rows), slice(grid.cols))
        values = _tensor(arrays[f"features_{cut}"][index][:, *window]).float()
        tokens = _tensor(arrays[f"tokens_{cut}"][index]).float() if f"tokens_{cut}" in arrays else None
        coverage = _tensor(arrays[f"coverage_{cut}"][index][window])
        z_depth = _tensor(arrays[f"z_depth_{cut}"][index][window])
        lifted.append(LiftedFeatures(FeatureMap(values, grid, tokens), coverage, z_depth))
    shape = described["prediction"]
    window = (slice(shape[-2]), slice(shape[-1]))
    values = _tensor(arrays["prediction"][index][..., *window])
    prediction = Prediction(
        kind,
        values if kind == "labels" else values.float(),
        _tensor(arrays["prediction_is_valid"][index][window]),
    )
    camera = Camera(_tensor(arrays["K"][index]), _tensor(arrays["w2c"][index]), ImageSize(*described["image"]))
    return LiftedView(described["id"], camera, tuple(lifted), prediction, tuple(described["sources"]))


def _stacked(values: Sequence[Tensor], missing: float | int | bool) -> NDArray[Any]:
    shape = [max(one.shape[axis] for one in values) for axis in range(values[0].ndim)]
    stacked = torch.full((len(values), *shape), missing, dtype=values[0].dtype)
    for index, one in enumerate(values):
        stacked[index][tuple(slice(length) for length in one.shape)] = one
    return stacked.numpy()


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array, copy=True))


def _known(tokens: Tensor | None) -> Tensor:
    return torch.empty(0) if tokens is None else tokens
