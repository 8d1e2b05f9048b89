"""Reliability: what views show that is no part of the scene, found by features of 2D models, leaves the surface."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.errors import NoOverlapError
from lift3d.metrics.counting import evenly
from lift3d.operators.protocol import Operator
from lift3d.pipeline.anchor import OnSurface
from lift3d.pipeline.decode import COVERED, Answers
from lift3d.pipeline.digests import reliability_digest
from lift3d.pipeline.fit import fitted_state
from lift3d.pipeline.inputs import Report, SceneInputs
from lift3d.pipeline.surface import StoredSurface, read_surface, write_surface
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.location import Store
from lift3d.storage.products import open_product, understood
from lift3d.surface.anchored import Anchored
from lift3d.surface.keyframes import keyframes
from lift3d.surface.reliability import (
    beyond,
    contradiction,
    is_contradicted,
    residual,
    unrelated_residual,
    views_beside,
    without,
)
from lift3d.surface.scene_surface import SceneSurface

# Of a view's cells, to tell what unrelated places differ by.
_CELLS_PER_VIEW = 256
# Features of which unrelated places differ no more than views of one do tell nothing.
_LEAST_SCALE = 1e-3


def reliable_surface(
    inputs: SceneInputs, stored: StoredSurface, judges: Sequence[Operator], taps: int, report: Report
) -> StoredSurface:
    """Return a surface without what single views show and the others contradict; kept in the store beside it.

    ``taps`` is how many views are asked per cell. What is not part of the scene leaves the views that show it, too:
    they are shown there what others see.
    """
    if not judges:
        return stored
    digest = reliability_digest(stored.path, [judge.spec for judge in judges], taps)
    path = layout.geometry_path(inputs.scene.id, stored.surface.method, inputs.height, digest)
    if committed(inputs.store, path) is None:
        with torch.inference_mode():
            scores = _scores(inputs, stored.surface, judges, taps, report)
            cut = without(stored.surface, {name: is_contradicted(score) for name, score in scores.items()})
        write_surface(inputs.store, path, cut, keyframes(cut), inputs.scene.id, scores)
        inputs.computed["surfaces"] += 1
    return replace(stored, path=path, surface=read_surface(inputs.store, path))


def read_contradiction(store: Store, path: str) -> dict[ViewId, Float[Tensor, "row col"]]:
    """Return how far each view of a surface that was judged contradicts the others, at the cells of its depth."""
    product = open_product(store, path)
    with understood(product, "The surface"):
        scores = torch.as_tensor(product.array("contradiction").copy())
        grids = [FeatureGrid(**fields) for fields in product.attrs["grids"]]
        names = [str(name) for name in product.array("view")]
    return {name: one[: grid.rows, : grid.cols] for name, one, grid in zip(names, scores, grids, strict=True)}


def _scores(
    inputs: SceneInputs, surface: SceneSurface, judges: Sequence[Operator], taps: int, report: Report
) -> dict[ViewId, Float[Tensor, "row col"]]:
    """Return how far each view contradicts the others, as the mean of the judges."""
    scores = {view.id: torch.zeros(view.grid.shape) for view in surface.views}
    for judge in judges:
        found, usual = _differing(inputs, surface, judge, taps, report)
        unrelated = unrelated_residual(
            torch.cat([evenly(_rows(inputs.features(judge, name)[0]), _CELLS_PER_VIEW) for name in found])
        )
        scale = (unrelated - usual).clamp(min=_LEAST_SCALE)
        for view in surface.views:
            if view.id in found:
                scores[view.id] += contradiction(found[view.id], scale, view.grid) / len(judges)
    return scores


def _differing(
    inputs: SceneInputs, surface: SceneSurface, judge: Operator, taps: int, report: Report
) -> tuple[dict[ViewId, FeatureMap], Float[Tensor, ""]]:
    """Return how much more views differ from those beside than these do, NaN where they show little, and usually."""
    state, found, every = fitted_state(inputs, judge, surface.ids), {}, []
    on = OnSurface(inputs, Answers(inputs), judge, state, surface.ids, taps)
    for number, view in enumerate(surface.views):
        report(f"reliability ({judge.spec.name})", number, len(surface.views))
        try:
            anchored = Anchored().anchor(surface, view.camera, views_beside(surface, number), taps)
        except NoOverlapError:
            continue
        (shown, agreement), own = on.consensus(anchored), inputs.features(judge, view.id)[0]
        is_shown, features = shown.coverage >= COVERED, (_rows(own), _rows(shown.features))
        every.append(residual(*features)[is_shown.flatten()])
        excess = beyond(*features, agreement.flatten()).reshape(own.grid.shape)
        found[view.id] = FeatureMap(torch.where(is_shown, excess, torch.nan)[None], own.grid)
    if not any(len(one) for one in every):
        raise NoOverlapError("No view of the surface shows what others do; nothing tells which of them is right.")
    return found, torch.cat(every).median()


def _rows(one: FeatureMap) -> Float[Tensor, "cell channel"]:
    return one.values.float().flatten(1).T
