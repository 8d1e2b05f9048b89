"""A scene walked along the line on some device: its rows and its lifted views, read on the host, and comparing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import pytest
import torch
from torch import Tensor

from lift3d.domain.lifted import LiftedView
from lift3d.domain.scene import Scene
from lift3d.domain.scores import ScoreRow
from lift3d.lifters.catalog import build_lifter
from lift3d.metrics.catalog import build_metrics
from lift3d.operators.protocol import Operator
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.models import Models
from lift3d.pipeline.scene import run_scene
from lift3d.pipeline.stored_views import read_lifted
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product
from tests.support.runs import small_recipe

_NUMBERS = count()


@dataclass(frozen=True)
class Walk:
    """Rows by what they are of, and lifted views by operator, lifter and target."""

    rows: dict[tuple[str, ...], ScoreRow]
    views: dict[tuple[str, str, str], LiftedView]


def walked(
    device: torch.device,
    scene: Scene,
    operators: Sequence[Operator],
    lifters: Sequence[str],
    metrics: Sequence[str] | None = None,
    judges: Sequence[Operator] = (),
    **fields: object,
) -> Walk:
    """Walk a scene on a device, each view held out in turn."""
    recipe = small_recipe(operators=[one.spec.name for one in operators], lifters=lifters, **fields)
    store = open_store(f"memory://walk-{next(_NUMBERS)}", create=True)
    models = Models(tuple(operators), tuple(map(build_lifter, lifters)), build_metrics(metrics), device, tuple(judges))
    record, rows = run_scene(SceneInputs(scene, store, recipe.image_height), recipe, models)
    views = {
        (product.operator, product.lifter, view.target): view
        for product in record.lifted
        for path in product.parts
        for view in read_lifted(open_product(store, path))
    }
    return Walk(
        {(row.target, row.other, row.operator, row.lifter, row.metric, row.protocol): row for row in rows}, views
    )


def arrays_of(view: LiftedView) -> list[Tensor]:
    """All that a lifted view says."""
    lifted = [part for one in view.lifted for part in (one.features.values, one.coverage, one.z_depth, one.confidence)]
    return [part for part in (*lifted, view.prediction.values, view.prediction.is_valid) if part is not None]


def assert_alike(found: Walk, wanted: Walk, figures: float = 1e-3, odd: float = 0.0) -> None:
    """Two walks are the same but for rounding: figures to that share, values but for an odd share of each array."""
    assert found.rows.keys() == wanted.rows.keys()
    assert found.views.keys() == wanted.views.keys()
    for key, row in wanted.rows.items():
        other = found.rows[key]
        three, others = ((one.value, one.weight, one.coverage) for one in (row, other))
        assert others == pytest.approx(three, rel=figures, abs=figures / 10, nan_ok=True), row
        assert (other.outcome, other.reason) == (row.outcome, row.reason)
    for key, view in wanted.views.items():
        for one, another in zip(arrays_of(view), arrays_of(found.views[key]), strict=True):
            same_but_for_rounding(another, one, str(key), odd)


def same_but_for_rounding(found: Tensor, wanted: Tensor, what: str, odd: float = 0.0) -> None:
    """Equal up to the order of sums (stored features have eleven bits), but for an odd share; labels for 0.1 %."""
    assert found.shape == wanted.shape, what
    if wanted.is_floating_point():
        is_odd = ~torch.isclose(found, wanted, rtol=2e-3, atol=2e-4, equal_nan=True)
    else:
        is_odd, odd = found != wanted, max(odd, 1e-3)
    assert float(is_odd.float().mean()) <= odd, (what, float((found.double() - wanted.double()).abs().nanmean()))
