"""A view's own 2D masks, whatever its 2D model answers: label maps whose ids mean nothing in another view."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedView, Prediction
from lift3d.errors import ContractError, Lift3dError, NoOverlapError, SceneError
from lift3d.metrics.panoptic import segment_of
from lift3d.results.lifted_scene import LiftedScene
from lift3d.surface.masks.claims import UNCLAIMED

# Of a view: label maps, on the pixels or on coarser cells that tile the image.
LabelMaps = Sequence[Int[ndarray, "row col"]]
# What a view's masks are given as: by view, or asked for by its id; see ``checked_maps``.
GivenMasks = Mapping[ViewId, Any] | Callable[[ViewId], Any]
# Answers that have masks.
_KINDS = ("masks", "labels", "embedding")


def label_maps_of(lifted: LiftedScene) -> Callable[[ViewId], LabelMaps]:
    """Return what gives the 2D masks of a view from the plain 2D answer, by its kind.

    masks: each pixel has the mask that claims it most, if that is at least half. labels: connected pixels of one label.
    embedding: regions of the photograph, joined where features are alike, at several levels.

    Raises:
        NoOverlapError: If no view has a plain answer, as along novel cameras.
        ContractError: If answers are of another kind.
        SceneError: If photographs are needed and may not be read.
    """
    compared = [target for target in lifted.compared if lifted.plain(target) is not None]
    kind = _kind(lifted)
    if kind is None:
        raise NoOverlapError(
            f"No view of '{lifted.name}' has a plain 2D answer of '{lifted.operator}', as along novel cameras; "
            "expected a run of the scene's own views."
        )
    if kind == "masks":
        return lambda view: (segment_of(_plain(lifted, view).prediction.values.float()).numpy(),)
    if kind == "labels":
        return lambda view: (_connected(_plain(lifted, view).prediction),)
    if kind == "embedding":
        return _FeatureRegions(lifted, compared)
    raise ContractError(
        f"'{lifted.operator}' answers with a prediction of kind '{kind}', of which no masks are made; expected masks, "
        "labels, or features (embedding), such as tiny:encoder, or masks of your own."
    )


def that_has_masks(lifted: LiftedScene) -> LiftedScene:
    """Return the first operator of the run beside this one whose answers have masks; this one if none has."""
    pairs = [(one, lifted.lifter) for one in lifted.recipe.operators]
    beside = (replace(lifted, operator=one) for one, lifter in pairs if (one, lifter) in lifted.record.pairs)
    return next((one for one in beside if _kind(one) in _KINDS), lifted)


def checked_maps(given: GivenMasks) -> Callable[[ViewId], LabelMaps]:
    """Return what gives label maps of one's own, none of a view that has none.

    They are given as a label map of integers (height, width), −1 for no mask; as booleans (mask, height, width), which
    may overlap; or as a list of either. ContractError of a view whose maps are none of these.
    """

    def maps_of(view: ViewId) -> LabelMaps:
        if not callable(given) and view not in given:
            return ()
        found = given(view) if callable(given) else given[view]
        maps = [np.asarray(one) for one in (found if isinstance(found, list | tuple) else [found])]
        return [layer for one in maps for layer in _layers(view, one)]

    return maps_of


def _layers(view: ViewId, given: Shaped[ndarray, "..."]) -> LabelMaps:
    """Return label maps of a label map, or of masks that may overlap: each in the first map where it overlaps none."""
    if given.ndim == 2 and given.dtype.kind in "iu" and given.size:
        return [given.astype(np.int64)]
    if given.ndim != 3 or given.dtype.kind != "b" or not given[:1].size:
        raise ContractError(
            f"Masks of view '{view}' have shape {given.shape} of {given.dtype}; expected a label map of integers "
            f"(height, width), {UNCLAIMED} where there is no mask, or masks that may overlap: booleans (mask, height, "
            "width)."
        )
    layers: list[Int[ndarray, "row col"]] = []
    # The largest first, so that wholes share a map, and so do their parts.
    for number in sorted(range(len(given)), key=lambda one: -int(given[one].sum())):
        mask = given[number]
        free = next((layer for layer in layers if not (layer[mask] != UNCLAIMED).any()), None)
        if free is None:
            free = np.full(mask.shape, UNCLAIMED, dtype=np.int64)
            layers.append(free)
        free[mask] = number
    return layers


class _FeatureRegions:
    """Regions of photographs, joined by the features of the plain answers."""

    def __init__(self, lifted: LiftedScene, views: Iterable[ViewId]) -> None:
        self._lifted = lifted
        try:
            lifted.scene.view(next(iter(views)))
        except Lift3dError as error:
            raise SceneError(
                f"Masks of '{lifted.operator}' are made of the photographs and its features: {error}", scene=lifted.name
            ) from error
        means = [_plain(lifted, view).prediction.values.float().flatten(1).mean(1) for view in views]
        self._center: Float[Tensor, " channel"] = torch.stack(means).mean(0)

    def __call__(self, view: ViewId) -> LabelMaps:
        # SciPy and scikit-image take a second, which masks of a network need not.
        from lift3d.operators.feature_regions import feature_regions

        frame = self._lifted.scene.view(view).load(self._lifted.recipe.image_height)
        features = _plain(self._lifted, view).lifted[0].features
        return feature_regions(frame.image, features, self._center, frame.is_valid)


def _connected(prediction: Prediction) -> Int[ndarray, "height width"]:
    """Return connected pixels of one label, so that two things of one class are two masks."""
    from skimage.measure import label

    is_known = (prediction.is_valid & (prediction.values >= 0)).numpy()
    # Background, which has no component, is where nothing is known.
    shifted = np.where(is_known, prediction.values.numpy() + 1, 0)
    return np.asarray(label(shifted, background=0, connectivity=1), dtype=np.int64) - 1


def _kind(lifted: LiftedScene) -> str | None:
    """Return what the operator answers with; None if no view has a plain answer."""
    plain = next(filter(None, map(lifted.plain, lifted.compared)), None)
    return None if plain is None else plain.prediction.kind


def _plain(lifted: LiftedScene, view: ViewId) -> LiftedView:
    plain = lifted.plain(view)
    if plain is None:
        raise NoOverlapError(f"View '{view}' of '{lifted.name}' has no plain 2D answer.")
    return plain
