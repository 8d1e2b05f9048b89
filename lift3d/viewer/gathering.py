"""From a store to a viewed scene: everything is read once, view by view, one stored part in memory at a time.

Before all of a large scene has been read, a *sketch* of it can be seen: what a few of its views show and say.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from lift3d.domain.keys import ViewId
from lift3d.errors import Lift3dError
from lift3d.results.cloud import surface_view_count
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.picture_rows import spread
from lift3d.viewer.answers import Answers
from lift3d.viewer.surface_points import MOST_POINTS, surface_cloud
from lift3d.viewer.view_slices import view_slices
from lift3d.viewer.viewed_scene import ViewedScene

# More cameras hide each other, and their pictures take a page longer than anybody waits.
MAX_VIEWS = 300
# A sketch is there while the page is loaded: so many views, and as many points as are drawn at first.
SKETCH_VIEWS, SKETCH_POINTS = 12, 50_000
# So many views are read about as soon as a sketch of them would be.
_FEW_VIEWS = 16
# Photographs are held this high at most: 300 of them are 75 MB.
PHOTO_HEIGHT = 288


def view_scene(
    one: LiftedScene,
    siblings: Sequence[LiftedScene],
    known: ViewedScene | None = None,
    report: Callable[[float], None] = lambda share: None,
    most: int = MOST_POINTS,
) -> ViewedScene:
    """Read an operator's answers in a scene; without a stored surface, on that of the operator with the finest grid.

    What another operator of the same scene was shown with, its surface and photographs, need not be read again.
    ``report`` is called with the share that is done; of points there are ``most`` at most.
    """
    targets = spread(one.targets, MAX_VIEWS)
    whole = 3 * len(targets)
    known_cameras = {target: (target, camera, grid) for target, camera, grid in one.cameras()}
    described = [known_cameras[target] for target in targets]
    first = one.view(targets[0])
    channels = first.lifted[0].features.channel_count
    slices = view_slices(described, channels)
    if known is not None and [place.target for place in known.slices] == targets:
        photos, surface = known.photos, known.surface
    else:
        photos = {}
        for done, (target, photo) in enumerate(_photos(targets, one, siblings)):
            report(done / whole)
            photos[target] = photo
        finest = _finest(one, siblings, targets)
        surface = surface_cloud(finest, targets, photos, most, lambda done: report((len(targets) + done) / whole))
    lifted, plain = (Answers.empty(slices, channels, len(surface)) for _ in range(2))
    has_plain = False
    for done, (place, own) in enumerate(zip(slices, surface.of_views(len(slices)), strict=True)):
        report((2 * len(targets) + done) / whole)
        uv = surface.cloud.uv[own]
        lifted.put(place, one.view(place.target), one.colours, own, uv)
        if (answer := one.plain(place.target)) is not None:
            plain.put(place, answer, one.colours, own, uv)
            has_plain = True
    kind, names = first.prediction.kind, dict(enumerate(one.label_names))
    return ViewedScene(slices, surface, photos, lifted, plain if has_plain else None, kind, names, len(one.targets))


def is_small(one: LiftedScene) -> bool:
    """Whether nobody would wait for all of a scene longer than for a sketch of it."""
    return max(len(one.targets), surface_view_count(one)) <= _FEW_VIEWS


def sketched_scene(one: LiftedScene, siblings: Sequence[LiftedScene]) -> ViewedScene:
    """Read what a few of the views, evenly chosen, show and say; of nothing else anything is read."""
    targets = spread(one.targets, SKETCH_VIEWS)
    few = view_scene(one.only(targets), [other.only(targets) for other in siblings], most=SKETCH_POINTS)
    # As many of all views see a point as of these.
    views = (few.surface.views * (min(len(one.targets), MAX_VIEWS) / len(targets))).round().long()
    return replace(few, surface=replace(few.surface, views=views), view_count=len(one.targets), is_sketch=True)


def _finest(one: LiftedScene, siblings: Sequence[LiftedScene], targets: Sequence[ViewId]) -> LiftedScene:
    """Return the operator with the finest grid of those that have all targets."""
    alike = [other for other in siblings if (other.name, other.lifter) == (one.name, one.lifter)]
    fitting = [other for other in alike if {*targets} <= {*other.targets}]
    return max([one, *fitting], key=lambda other: other.cell_count)


def _photos(
    targets: Sequence[ViewId], one: LiftedScene, siblings: Sequence[LiftedScene]
) -> Iterator[tuple[ViewId, UInt8[Tensor, "3 height width"]]]:
    """Yield the images that can be read: those that the store holds, as the answers of ``rgb``, else the capture's."""
    copy = next((other for other in siblings if other.name == one.name and other.operator == "rgb"), None)
    for target in targets:
        photo = _photo(one, copy, target)
        if photo is not None:
            height, width = photo.shape[1:]
            if height > PHOTO_HEIGHT:
                size = (PHOTO_HEIGHT, max(1, round(width * PHOTO_HEIGHT / height)))
                photo = torch.nn.functional.interpolate(photo[None], size, mode="area")[0]
            yield target, (255 * photo.clamp(0, 1)).round().to(torch.uint8)


def _photo(one: LiftedScene, copy: LiftedScene | None, target: str) -> Tensor | None:
    with contextlib.suppress(Lift3dError):
        stored = copy.plain(target) if copy else None
        if stored is not None:
            return stored.prediction.values
    image = one.image(target)
    return None if image is None else torch.from_numpy(image).permute(2, 0, 1)
