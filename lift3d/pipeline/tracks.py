"""Sparse tracks of a scene's views: found once, kept in the store, read by whoever needs surface points."""

from collections.abc import Collection
from dataclasses import replace

import torch

from lift3d.domain.keys import ViewId
from lift3d.domain.scene import Tracks
from lift3d.domain.scene_views import SceneViews
from lift3d.pipeline.device import on_host
from lift3d.pipeline.digests import tracks_digest
from lift3d.pipeline.inputs import SceneInputs
from lift3d.scenes.tracks import find_tracks
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.location import Store
from lift3d.storage.products import open_product, understood, write_product


def tracks_of(inputs: SceneInputs, names: Collection[ViewId] | None = None) -> Tracks:
    """Return the tracks that some views (all if None) give, pixels at their own size; NoOverlapError if too few."""
    chosen = {name: value for name, value in inputs.digests.items() if names is None or name in names}
    path = layout.state_path(inputs.scene.id, "tracks", tracks_digest(chosen))
    if committed(inputs.store, path) is None:
        views = tuple(view for name, view in inputs.views.items() if name in chosen)
        with on_host():
            found = find_tracks(replace(inputs.scene, views=views))
        _write(inputs.store, path, found)
        inputs.computed["tracks"] += 1
    return _read(inputs.store, path)


def views_to_fit_on(inputs: SceneInputs, names: Collection[ViewId]) -> SceneViews:
    """Return what a fit may know of these views besides their features."""
    cameras = {name: camera for name, camera in inputs.cameras().items() if name in names}

    def found() -> Tracks:
        tracks = tracks_of(inputs, names)
        own = [inputs.views[name].camera.size for name in tracks.view_ids]
        sizes = [(size, cameras[name].size) for size, name in zip(own, tracks.view_ids, strict=True)]
        scale = torch.tensor([[to.width / of.width, to.height / of.height] for of, to in sizes])
        return replace(tracks, uv=tracks.uv * scale[tracks.view_index])

    return SceneViews(cameras, found)


def _write(store: Store, path: str, tracks: Tracks) -> None:
    arrays = {
        "points": (("point", "xyz"), tracks.points.numpy(force=True)),
        "point_index": (("observation",), tracks.point_index.numpy(force=True)),
        "view_index": (("observation",), tracks.view_index.numpy(force=True)),
        "uv": (("observation", "uv_axis"), tracks.uv.numpy(force=True)),
    }
    write_product(store, path, arrays, {"view_ids": list(tracks.view_ids)})


def _read(store: Store, path: str) -> Tracks:
    product = open_product(store, path)
    with understood(product, "The tracks"):
        points, point_index, view_index, uv = (
            torch.as_tensor(product.array(name).copy()) for name in ("points", "point_index", "view_index", "uv")
        )
        return Tracks(points, point_index, view_index, uv, tuple(product.attrs["view_ids"]))
