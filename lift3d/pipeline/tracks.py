"""Sparse tracks of a scene's views: found once, kept in the store, read by whoever needs surface points."""

from collections.abc import Collection
from dataclasses import replace

import torch

from lift3d.domain.keys import ViewId, digest
from lift3d.domain.scene import Tracks
from lift3d.domain.scene_views import SceneViews
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.products import read_tracks, write_tracks
from lift3d.scenes.tracks import STAGE_VERSION, find_tracks
from lift3d.storage import layout
from lift3d.storage.commit import committed


def tracks_key(inputs: SceneInputs, names: Collection[ViewId] | None = None) -> str:
    """Digest of what the tracks of some views (all if None) depend on."""
    chosen = [[name, value] for name, value in inputs.digests.items() if names is None or name in names]
    return digest({"tracks": STAGE_VERSION, "views": chosen})


def tracks_of(inputs: SceneInputs, names: Collection[ViewId] | None = None) -> Tracks:
    """Return the tracks that some views (all if None) give; pixels are of the views at their own size.

    Raises:
        NoOverlapError: If there are too few.
    """
    path = layout.state_path(inputs.scene.id, "tracks", tracks_key(inputs, names))
    if committed(inputs.store, path) is None:
        scene = inputs.usable_scene()
        if names is not None:
            scene = replace(scene, views=tuple(view for view in scene.views if view.id in names))
        write_tracks(inputs.store, path, find_tracks(scene), {})
        inputs.computed["tracks"] += 1
    return read_tracks(inputs.store, path)


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
