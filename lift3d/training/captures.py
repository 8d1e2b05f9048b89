"""Captures as training scenes: a view of a posed scene as the target, its nearest other views as sources.

Nothing is known of what lies behind the pictures: where a capture has no depth, losses rest on colours and features.
"""

import functools
from dataclasses import dataclass

import numpy as np

from lift3d.domain.keys import digest
from lift3d.domain.scene import Frame, Scene, View
from lift3d.errors import ConfigError, NoOverlapError, SceneError
from lift3d.pipeline.bounded_cache import BoundedCache
from lift3d.pipeline.digests import camera_digest
from lift3d.scenes.catalog import read_scene
from lift3d.synthetic.training_scenes import HEIGHTS
from lift3d.training.examples import Example, choose_views
from lift3d.training.settings import location_name

_LEAST_VIEWS = 3
# Of decoded frames, per process that prepares examples.
_CACHE_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class GivenCapture:
    """What a card says of a capture: its name, how many views it has, and the digest of their content."""

    name: str
    views: int
    content: str


def check_captures(locations: tuple[str, ...]) -> tuple[GivenCapture, ...]:
    """Read all captures and the first view of each, and return what a card says of each."""
    found = []
    for location in locations:
        scene = _scene(location)
        of_one_size = max(len(_alike(scene, view)) + 1 for view in scene.views)
        if of_one_size < _LEAST_VIEWS:
            raise ConfigError(
                f"'{location}' has {of_one_size} views of one size; a capture to train on needs at least "
                f"{_LEAST_VIEWS}. Leave it out, or add views."
            )
        scene.views[0].load(HEIGHTS[0])
        content = [[view.id, view.source.content_digest(), camera_digest(view.camera)] for view in scene.views]
        found.append(GivenCapture(location_name(location), len(scene.views), digest(content)))
    return tuple(found)


def draw_capture_example(rng: np.random.Generator, location: str, source_count: int) -> Example:
    """Choose a target, an image height and the target's nearest views of the same size.

    The world stays as it is: a capture has a place and a scale of its own. NoOverlapError if the target or all its
    sources do not decode, or show nothing valid.
    """
    scene = _scene(location)
    target, height = scene.views[int(rng.integers(len(scene.views)))], int(rng.choice(HEIGHTS))
    size = target.camera.size.with_height(height)
    others = [(view.id, view.camera.resized(size)) for view in _alike(scene, target)]
    chosen = choose_views(rng, target.camera.resized(size), others, source_count, scene.depth_range)
    frames = [_frame(location, scene.view(name), height) for name in (target.id, *chosen)]
    sources = tuple(frame for frame in frames[1:] if frame is not None)
    if frames[0] is None or not sources:
        raise NoOverlapError(f"View '{target.id}' of '{location}' or all its sources show nothing.", view=target.id)
    return Example(frames[0], sources, scene.depth_range, location_name(location))


@functools.lru_cache(maxsize=64)
def _scene(location: str) -> Scene:
    return read_scene(location, min_views=_LEAST_VIEWS)


def _alike(scene: Scene, target: View) -> list[View]:
    """Other views of the target's size: the maps of an example are of one shape."""
    return [view for view in scene.views if view.id != target.id and view.camera.size == target.camera.size]


def _frame(location: str, view: View, height: int) -> Frame | None:
    """Return a view's pixels and depth, or None if it does not decode or shows nothing."""
    try:
        frame = _FRAMES.get(f"{height} {view.id} {location}", lambda: view.load(height))
    except SceneError:
        return None
    return frame if bool(frame.is_valid.any()) else None


# Depth, ids and masks take up to twice the image.
_FRAMES: BoundedCache[Frame] = BoundedCache(lambda one: 3 * one.image.nbytes, _CACHE_BYTES)
