"""One scene as the page on learning sees it: some of its views, those held out, the surface that the others show."""

import time
from dataclasses import dataclass, replace

from lift3d.config import Recipe
from lift3d.domain.keys import ViewId
from lift3d.domain.scene import Scene
from lift3d.domain.target import Target
from lift3d.errors import NoOverlapError
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.surface import scene_surface
from lift3d.pipeline.targets import scene_targets, sources_of_any
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import Store
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import AnchoredTarget
from lift3d.surface.scene_surface import SceneSurface

# Of more views every second, third … is taken: their features cost most of the time.
MOST_VIEWS = 40
# So many views are held out at least, where every N-th would be fewer.
FEWEST_TARGETS = 6


@dataclass(frozen=True, slots=True, eq=False)
class LearningScene:
    """A scene, and what its held-out targets see of the surface that all other views show; ``seconds`` per target."""

    inputs: SceneInputs
    recipe: Recipe
    surface: SceneSurface
    targets: dict[ViewId, Target]
    anchored: dict[ViewId, AnchoredTarget]
    seconds: float

    @classmethod
    def read(cls, location: str, recipe: Recipe, store: Store) -> "LearningScene":
        """Read a scene and find its surface, kept in the store; NoOverlapError if no target sees anything of it."""
        scene = thinned(read_scene(location))
        holdout = max(2, min(recipe.holdout or 2, len(scene.views) // FEWEST_TARGETS))
        recipe = recipe.model_copy(update={"scenes": (location,), "holdout": holdout})
        inputs = SceneInputs(scene, store, recipe.image_height)
        inputs.decode_all(quiet)
        targets = scene_targets(tuple(inputs.views.values()), recipe, scene.depth_range)
        shown_by = [name for name in inputs.views if name in sources_of_any(targets)]
        surface = scene_surface(inputs, recipe.geometry, shown_by, quiet, recipe.plugins).surface
        seen, began = {}, time.process_time()
        for target in targets:
            try:
                one = Anchored().anchor(surface, target.camera, target.source_ids, recipe.tap_count)
            except NoOverlapError:
                continue
            seen[target.id] = one
        seconds = (time.process_time() - began) / max(1, len(targets))
        if len(seen) < 2:
            raise NoOverlapError(f"'{location}': fewer than two held-out views see the surface that the others show.")
        return cls(inputs, recipe, surface, {one.id: one for one in targets if one.id in seen}, seen, seconds)


def thinned(scene: Scene) -> Scene:
    """Return a scene with every N-th of its views, so that they are MOST_VIEWS at most."""
    return replace(scene, views=scene.views[:: -(-len(scene.views) // MOST_VIEWS)])
