"""Captures as training scenes: a view of a posed scene as the target, its nearest other views as sources.

Nothing is known of what lies behind the pictures: depth is unknown where the capture has none, and losses then rest
on colours and features alone.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from lift3d.domain.keys import digest
from lift3d.domain.scene import Frame, Scene, View
from lift3d.errors import ConfigError, NoOverlapError, SceneError
from lift3d.lifters.source_selection import select_sources
from lift3d.pipeline.digests import camera_digest
from lift3d.pipeline.inputs import BoundedCache
from lift3d.scenes.catalog import read_scene
from lift3d.synthetic.training_scenes import HEIGHTS
from lift3d.training.examples import THINNED_SHARE, Example, ExampleStream
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


@dataclass(frozen=True, slots=True)
class MixedStream:
    """Examples of computed scenes, and of the captures at ``locations`` in their share."""

    computed: ExampleStream
    locations: tuple[str, ...] = ()
    share: float = 0.0

    @property
    def seed(self) -> int:
        """That of the computed scenes."""
        return self.computed.seed

    def example(self, step: int) -> Example:
        """Return the example of a step."""
        rng = np.random.default_rng([self.seed, step, 8])
        if not self.locations or rng.uniform() >= self.share:
            return self.computed.example(step)
        location = self.locations[int(rng.integers(len(self.locations)))]
        count = int(rng.integers(self.computed.least_sources, self.computed.most_sources + 1))
        return draw_capture_example(rng, location, count)


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

    The world stays as it is: a capture has a place and a scale of its own.

    Raises:
        NoOverlapError: If the target or all its sources do not decode, or show nothing valid.
    """
    scene = _scene(location)
    target, height = scene.views[int(rng.integers(len(scene.views)))], int(rng.choice(HEIGHTS))
    others = _alike(scene, target)
    if rng.uniform() < THINNED_SHARE and len(others) > source_count:
        # Without some of the near views the baselines are wider.
        kept = int(rng.integers(source_count, len(others) + 1))
        others = [others[place] for place in sorted(rng.permutation(len(others))[:kept].tolist())]
    size = target.camera.size.with_height(height)
    candidates = [(view.id, view.camera.resized(size)) for view in others]
    chosen = select_sources(target.camera.resized(size), candidates, source_count, scene.depth_range)
    frames = [_frame(location, scene.view(name), height) for name in (target.id, *(name for name, _ in chosen))]
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
        frame = _FRAMES.get(f"{height} {view.id} {location}", lambda: _with_depth(view.load(height)))
    except SceneError:
        return None
    return frame if bool(frame.is_valid.any()) else None


def _with_depth(frame: Frame) -> Frame:
    z_depth = torch.full(frame.is_valid.shape, torch.nan) if frame.z_depth is None else frame.z_depth
    return Frame(image=frame.image, is_valid=frame.is_valid, camera=frame.camera, z_depth=z_depth)


_FRAMES: BoundedCache[Frame] = BoundedCache(lambda one: one.image.nbytes + 2 * one.image[0].nbytes, _CACHE_BYTES)
