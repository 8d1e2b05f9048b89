"""From a store to a viewed scene: everything is read once, view by view, one stored part in memory at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.lifted import LiftedFeatures, LiftedView
from lift3d.domain.scene import DepthRange
from lift3d.errors import Lift3dError
from lift3d.results.lifted_scene import LiftedScene
from lift3d.storage.products import open_product
from lift3d.viewer.answers import Gathered, pca_of
from lift3d.viewer.cloud import MAX_POINTS, Cloud, fuse
from lift3d.viewer.looks import ViewedScene, evenly
from lift3d.viewer.places import Place, places_of

# More cameras hide each other, and their pictures take a page longer than anybody waits.
MAX_VIEWS = 300


def view_scene(one: LiftedScene, siblings: Sequence[LiftedScene], most_points: int = MAX_POINTS) -> ViewedScene:
    """Read an operator's answers in a scene.

    Args:
        one: What is looked at.
        siblings: Everything that the run lifted: the same lifter found the same depths for all operators of the
            scene, and those on the finest grid make the cloud.
        most_points: Of the cloud.
    """
    targets = evenly(one.targets, MAX_VIEWS)
    finest = _finest([other for other in siblings if (other.name, other.lifter) == (one.name, one.lifter)] or [one])
    places, lifted, plain, kind = _gathered(one, targets)
    depths = _depths(one, finest, targets)
    photos = _photos(places, one, siblings)
    pca = pca_of((lifted if plain is None else plain).finite())
    limits = _limits((plain or lifted).scalars)
    cloud = fuse(depths, _depth_range(one), most_points)
    return ViewedScene(
        places,
        Cloud(cloud.points, cloud.view, cloud.uv, cloud.found),
        photos,
        lifted.answers(pca, limits),
        None if plain is None else plain.answers(pca, limits),
        kind,
        len(one.targets),
    )


def _gathered(one: LiftedScene, targets: Sequence[str]) -> tuple[tuple[Place, ...], Gathered, Gathered | None, str]:
    first = one.view(targets[0])
    channels = first.lifted[0].features.channel_count
    places = places_of(_described(one, targets), channels)
    lifted, plain, has_plain = Gathered(places, channels), Gathered(places, channels), False
    for place in places:
        lifted.put(place, one.view(place.target))
        answer = one.plain(place.target)
        if answer is not None:
            plain.put(place, answer)
            has_plain = True
    return places, lifted, plain if has_plain else None, first.prediction.kind


def _described(one: LiftedScene, targets: Sequence[str]) -> list[tuple[str, Camera, FeatureGrid]]:
    views = (one.view(target) for target in targets)
    return [(view.target, view.camera, view.lifted[0].features.grid) for view in views]


def _finest(scenes: Sequence[LiftedScene]) -> LiftedScene:
    return max(scenes, key=_cell_count)


def _cell_count(one: LiftedScene) -> int:
    """Return the cells of an operator's grid, from attributes alone: no array is read."""
    parts = one.record.parts(one.operator, one.lifter)[:1]
    views = [view for path in parts for view in open_product(one.store, path).attrs["views"]]
    return max((view["grids"][0]["rows"] * view["grids"][0]["cols"] for view in views), default=0)


def _depths(one: LiftedScene, finest: LiftedScene, targets: Sequence[str]) -> list[tuple[Camera, LiftedFeatures]]:
    """Return camera and depths of each view, without features, which would fill the memory."""
    known = set(finest.targets)
    views = ((finest if target in known else one).view(target) for target in targets)
    return [(view.camera, _without_features(view)) for view in views]


def _without_features(view: LiftedView) -> LiftedFeatures:
    cut = view.lifted[0]
    empty = type(cut.features)(torch.zeros(0, *cut.z_depth.shape), cut.features.grid)
    return LiftedFeatures(empty, cut.coverage.clone(), cut.z_depth.clone())


def _depth_range(one: LiftedScene) -> DepthRange | None:
    try:
        return one.scene.depth_range
    except Lift3dError:
        return None  # the capture has gone since; the depths themselves say where they end


def _photos(
    places: Sequence[Place], one: LiftedScene, siblings: Sequence[LiftedScene]
) -> UInt8[Tensor, "pixel 3"] | None:
    """Return the images: those that the store holds, as the answers of ``rgb``, else those of the capture."""
    copies = [other for other in siblings if other.name == one.name and other.operator == "rgb"]
    readers: list[Callable[[str], Tensor | None]] = [
        lambda target: _stored_photo(copies[0], target) if copies else None,
        lambda target: _capture_photo(one, target),
    ]
    pictures = []
    is_known = False
    for place in places:
        photo = next((found for reader in readers if (found := reader(place.target)) is not None), None)
        is_known |= photo is not None
        size = (place.picture.height, place.picture.width)
        grey = torch.full((3, *size), 0.6)
        small = grey if photo is None else torch.nn.functional.interpolate(photo[None], size, mode="area")[0]
        pictures.append((255 * small.clamp(0, 1)).round().to(torch.uint8).flatten(1).T)
    return torch.cat(pictures) if is_known else None


def _stored_photo(copy: LiftedScene, target: str) -> Tensor | None:
    try:
        view = copy.plain(target)
    except Lift3dError:
        return None
    return None if view is None else view.prediction.values


def _capture_photo(one: LiftedScene, target: str) -> Tensor | None:
    try:
        image: Tensor = one.scene.view(target).load(one.recipe.image_height).image
    except Lift3dError:
        return None  # a novel camera, or the capture has gone since
    return image


def _limits(values: Tensor | None) -> tuple[float, float] | None:
    """Return the range of nearly all predictions that are scalars: one scale for all views of both kinds."""
    if values is None:
        return None
    known = values[torch.isfinite(values)].numpy()
    if len(known) == 0:
        return (0.0, 1.0)
    low, high = np.percentile(known, (1, 99))
    return float(low), float(max(high, low + 1e-9))
