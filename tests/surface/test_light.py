"""Light is read from the few views that look most as a target does, and from others only where these see nothing."""

from dataclasses import replace

import torch

from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.surface import light
from lift3d.surface.anchors import used_sources
from lift3d.surface.light import light_weights
from lift3d.surface.scene_surface import SceneSurface
from tests.support.lifting import pixels, share
from tests.surface.test_anchors import anchored, seen, surface_of

__all__ = ["seen"]


def of_held_out(frames, surface):
    camera = next(frame.camera for name, frame in frames.items() if name not in surface.ids)
    return camera, light_weights(anchored(surface, camera), pixels(camera))


def test_the_nearest_views_answer_and_others_where_these_see_nothing(seen, monkeypatch):
    monkeypatch.setattr(light, "NEAREST", 2)
    _, frames, _, _, surface = seen
    camera, weights = of_held_out(frames, surface)
    distance = torch.stack([(view.camera.center - camera.center).norm() for view in surface.views])
    nearest = {surface.ids[place] for place in distance.argsort()[:2].tolist()}
    assert set(used_sources(weights).source_ids) == nearest
    assert share(weights.coverage > 0) > 0.95
    # The nearest views lose what they know of the upper rows.
    views = {}
    for view in surface.views:
        z_depth, confidence = view.z_depth.clone(), view.confidence.clone()
        if view.id in nearest:
            z_depth[:12], confidence[:12] = torch.nan, 0.0
        views[view.id] = ViewGeometry(view.camera, view.grid, z_depth, confidence)
    geometry = SceneGeometry(surface.method, views)
    _, weights = of_held_out(frames, SceneSurface.of(geometry, surface.keyframes))
    used = [set(used_sources(_rows(weights, half)).source_ids) for half in (slice(0, 8), slice(20, None))]
    assert used == [set(surface.ids) - nearest, nearest]


def _rows(weights, rows):
    kept = torch.zeros(weights.grid.shape, dtype=torch.bool)
    kept[rows] = True
    return replace(weights, weight=weights.weight * kept.reshape(-1, 1))


def test_the_order_of_views_changes_no_bit(seen):
    _, frames, guides, depth_range, surface = seen
    _, one = of_held_out(frames, surface)
    _, other = of_held_out(frames, surface_of(guides[::-1], depth_range))
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("source", "uv", "weight"))


def test_a_cell_without_depth_leaves_the_others_their_light(seen, monkeypatch):
    _, frames, _, _, surface = seen
    camera = next(frame.camera for name, frame in frames.items() if name not in surface.ids)
    target = anchored(surface, camera)
    z_depth = target.depth.z_depth.clone()
    z_depth[10:14, 10:14] = torch.nan
    monkeypatch.setattr(light, "render_depth", lambda *_: replace(target.depth, z_depth=z_depth))
    weights = light_weights(replace(target, depth=replace(target.depth, z_depth=z_depth)), pixels(camera))
    assert share(weights.weight.sum(1) > 0) > 0.9
