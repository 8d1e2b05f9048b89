"""From a store to a viewed scene: everything is read once, view by view, one stored part in memory at a time."""

import contextlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lift3d.errors import Lift3dError
from lift3d.results.cloud import Cloud, scene_cloud
from lift3d.results.lifted_scene import LiftedScene
from lift3d.viewer.answers import Answers
from lift3d.viewer.view_slices import ViewSlice, view_slices
from lift3d.viewer.viewed_scene import ViewedScene

# More cameras hide each other, and their pictures take a page longer than anybody waits.
MAX_VIEWS = 300
# More say nothing more; 3 MB on the way to the browser.
MAX_POINTS = 200_000


def view_scene(one: LiftedScene, siblings: Sequence[LiftedScene]) -> ViewedScene:
    """Read an operator's answers in a scene; without a stored surface, on that of the operator with the finest grid."""
    targets = evenly(one.targets, MAX_VIEWS)
    views = (one.view(target) for target in targets)
    described = [(view.target, view.camera, view.lifted[0].features.grid) for view in views]
    first = one.view(targets[0])
    channels = first.lifted[0].features.channel_count
    slices = view_slices(described, channels)
    lifted, plain, has_plain = Answers.empty(slices, channels), Answers.empty(slices, channels), False
    for place in slices:
        lifted.put(place, one.view(place.target), one.colours)
        if (answer := one.plain(place.target)) is not None:
            plain.put(place, answer, one.colours)
            has_plain = True
    alike = [other for other in siblings if (other.name, other.lifter) == (one.name, one.lifter)]
    cloud = _cloud(one, alike, targets)
    photos = _photos(slices, one, siblings)
    kind = first.prediction.kind
    return ViewedScene(slices, cloud, photos, lifted, plain if has_plain else None, kind, len(one.targets))


def evenly(names: Sequence[str], most: int) -> list[str]:
    """Return all names, or ``most`` of them evenly."""
    if len(names) <= most:
        return list(names)
    return [names[round(index)] for index in np.linspace(0, len(names) - 1, most)]


def _cloud(one: LiftedScene, siblings: Sequence[LiftedScene], targets: Sequence[str]) -> Cloud:
    """Return the points of the surface, read from ``targets``."""
    fitting = [other for other in siblings if {*targets} <= {*other.targets}]
    return scene_cloud(max([one, *fitting], key=lambda other: other.cell_count), MAX_POINTS, targets)


def _photos(
    slices: Sequence[ViewSlice], one: LiftedScene, siblings: Sequence[LiftedScene]
) -> UInt8[Tensor, "pixel 3"] | None:
    """Return the images: those that the store holds, as the answers of ``rgb``, else those of the capture."""
    copy = next((other for other in siblings if other.name == one.name and other.operator == "rgb"), None)
    pictures, is_known = [], False
    for place in slices:
        photo, size = _photo(one, copy, place.target), (place.picture.height, place.picture.width)
        is_known |= photo is not None
        grey = torch.full((3, *size), 0.6)
        small = grey if photo is None else torch.nn.functional.interpolate(photo[None], size, mode="area")[0]
        pictures.append((255 * small.clamp(0, 1)).round().to(torch.uint8).flatten(1).T)
    return torch.cat(pictures) if is_known else None


def _photo(one: LiftedScene, copy: LiftedScene | None, target: str) -> Tensor | None:
    with contextlib.suppress(Lift3dError):
        stored = copy.plain(target) if copy else None
        if stored is not None:
            return stored.prediction.values
    image = one.image(target)
    return None if image is None else torch.from_numpy(image).permute(2, 0, 1)
