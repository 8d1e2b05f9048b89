"""The surface of a scene: estimated once, kept in the store, read by every operator, target, shard and later run."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.pipeline.digests import surface_digest
from lift3d.pipeline.features import made_by
from lift3d.pipeline.inputs import Report, SceneInputs
from lift3d.pipeline.products import EXPLAINED, camera_arrays
from lift3d.pipeline.tracks import views_to_fit_on
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.location import Store
from lift3d.storage.products import open_product, write_product
from lift3d.surface.catalog import build_geometry, geometry_spec
from lift3d.surface.keyframes import keyframes
from lift3d.surface.scene_surface import SceneSurface

_UNKNOWN = np.float32(np.nan)


def geometry_of(inputs: SceneInputs, wanted: str | None, names: Collection[ViewId]) -> str:
    """Return the method that a recipe asks for, or the best one that the scene has what it takes for."""
    if wanted is not None:
        return geometry_spec(wanted).name
    return "sensor" if all(inputs.views[name].source.has_depth for name in names) else "sweep"


def scene_surface(inputs: SceneInputs, method: str, names: Sequence[ViewId], report: Report) -> SceneSurface:
    """Return the surface that some views of a scene show, and which of them own it; no others are looked at.

    Raises:
        NoOverlapError: If no two views see the same place.
        ConfigError: If the method needs what the views have not.
    """
    path = surface_path(inputs, method, names)
    if committed(inputs.store, path) is None:
        report(f"surface ({method})", 0, len(names))
        geometry = _estimated(inputs, method, names)
        surface = SceneSurface(geometry)
        write_surface(inputs.store, path, surface, keyframes(surface), inputs.scene.id)
        inputs.computed["surfaces"] += 1
    return read_surface(inputs.store, path)


def surface_path(inputs: SceneInputs, method: str, names: Sequence[ViewId]) -> str:
    """Return where the surface that some views show lies."""
    digest = surface_digest(
        geometry_spec(method), {name: inputs.digests[name] for name in names}, inputs.scene.depth_range
    )
    return layout.geometry_path(inputs.scene.id, method, inputs.height, digest)


def _estimated(inputs: SceneInputs, method: str, names: Sequence[ViewId]) -> SceneGeometry:
    guides = []
    for name in names:
        frame = inputs.frame(name)
        guides.append(SourceGuide(name, frame.camera, frame.image, frame.is_valid, z_depth=frame.z_depth))
    with torch.inference_mode():
        return build_geometry(method).estimate(
            guides, inputs.scene.depth_range, views_to_fit_on(inputs, names).find_tracks
        )


def write_surface(store: Store, path: str, surface: SceneSurface, order: Sequence[int], scene: str) -> None:
    """Commit a surface: depth and confidence of every view, padded to the largest grid, and the keyframes in order."""
    views = surface.views
    sides = tuple(max(view.grid.shape[axis] for view in views) for axis in (0, 1))
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name in ("z_depth", "confidence"):
        stacked = np.full((len(views), *sides), _UNKNOWN if name == "z_depth" else 0, dtype=np.float32)
        for at, view in enumerate(views):
            stacked[at, : view.grid.rows, : view.grid.cols] = getattr(view, name).numpy()
        arrays[name] = stacked
    attrs = {
        "what": "The scene's surface as each view shows it: camera z in world units of the scene, how sure it is, and "
        "the views that own the surface, first come first served",
        "scene": scene,
        "method": surface.method,
        "grids": [view.grid.to_json() for view in views],
        "images": [[view.camera.size.height, view.camera.size.width] for view in views],
        **EXPLAINED,
        **made_by(),
    }
    dims = ("view", "row", "col")
    write_product(
        store,
        path,
        {
            **camera_arrays({view.id: view.camera for view in views}),
            **{name: (dims, values) for name, values in arrays.items()},
            "keyframe": (("rank",), np.array(order, dtype=np.int64)),
        },
        attrs,
    )


def read_surface(store: Store, path: str) -> SceneSurface:
    """Read what write_surface committed."""
    product = open_product(store, path)
    names = [str(name) for name in product.array("view")]
    K, w2c, z_depth, confidence = (
        torch.from_numpy(product.array(name).copy()) for name in ("K", "w2c", "z_depth", "confidence")
    )
    views = {}
    for at, (name, fields, image) in enumerate(
        zip(names, product.attrs["grids"], product.attrs["images"], strict=True)
    ):
        grid = FeatureGrid(**fields)
        window = (at, slice(grid.rows), slice(grid.cols))
        camera = Camera(K[at], w2c[at], ImageSize(*image))
        views[name] = ViewGeometry(camera, grid, z_depth[window].clone(), confidence[window].clone())
    geometry = SceneGeometry(product.attrs["method"], views)
    return SceneSurface(geometry, tuple(int(one) for one in product.array("keyframe")))
