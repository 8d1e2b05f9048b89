"""One scene along the line, with its I/O: read what is committed, compute the rest, commit, score."""

from collections.abc import Sequence

from lift3d.config import Recipe
from lift3d.domain.features import SceneState
from lift3d.domain.records import LiftedProduct, SceneRecord
from lift3d.domain.scores import ScoreRow
from lift3d.domain.shard import Shard
from lift3d.domain.target import Target
from lift3d.pipeline.device import computing_on
from lift3d.pipeline.fit import fitted_state
from lift3d.pipeline.inputs import Report, SceneInputs, quiet
from lift3d.pipeline.lift import lift_scene, plan_products
from lift3d.pipeline.lifting import Lifting
from lift3d.pipeline.models import Models
from lift3d.pipeline.reliability import reliable_surface
from lift3d.pipeline.score import score_products
from lift3d.pipeline.surface import StoredSurface, scene_surface
from lift3d.pipeline.targets import scene_targets, sources_of_any, views_to_encode
from lift3d.storage.scene_index import write_scene_index


def run_scene(
    inputs: SceneInputs, recipe: Recipe, models: Models, report: Report = quiet
) -> tuple[SceneRecord, list[ScoreRow]]:
    """Walk a scene along the line and return its record and its score rows.

    Whatever is committed is read, not computed. The recipe's list of scenes is not looked at; ``report`` is called with
    a stage's name, how much of it is done, and out of how much. SceneError if fewer than two views are usable.
    """
    with computing_on(models.device):
        targets, products, surface = _encode_and_lift(inputs, recipe, models, report, None)
        rows = score_products(inputs, recipe, models, targets, products, report)
    stored = [one.path for one in inputs.stored.values()]
    write_scene_index(inputs.store, inputs.scene.id, [*stored, *(path for one in products for path in one.parts)])
    record = SceneRecord(
        scene=inputs.scene.id,
        location=inputs.scene.location,
        outcome="ok",
        protocol=recipe.protocol,
        inputs=models.digest_of(inputs, recipe),
        view_count=len(inputs.views),
        target_count=len(targets),
        dropped=tuple(inputs.dropped),
        notes=(*inputs.scene.notes, *inputs.notes),
        surface=surface.shown_as if surface else "",
        surface_path=surface.path if surface else "",
        lifted=tuple(products),
        computed=dict(inputs.computed),
    )
    return record, rows


def run_shard(inputs: SceneInputs, recipe: Recipe, models: Models, shard: Shard, report: Report = quiet) -> None:
    """Commit a shard of what run_scene would compute, and nothing else; run_scene then finds it.

    Every shard decodes all views, since which of them are usable decides what is a target and a source.
    """
    with computing_on(models.device):
        _encode_and_lift(inputs, recipe, models, report, shard)


def _encode_and_lift(
    inputs: SceneInputs, recipe: Recipe, models: Models, report: Report, shard: Shard | None
) -> tuple[Sequence[Target], list[LiftedProduct], StoredSurface | None]:
    inputs.decode_all(report)
    targets = scene_targets(tuple(inputs.views.values()), recipe, inputs.scene.depth_range)
    used = views_to_encode(targets, is_anchored=models.is_anchored)
    # Held-out targets are no source of any target, so nothing may be fitted on them either.
    fitted_on = sources_of_any(targets)
    if shard is not None and shard.stage == "encode":
        for operator in (*models.operators, *models.judges):
            inputs.encode(operator, used, report, shard.takes)
        return targets, [], None
    states: dict[str, SceneState] = {}
    for operator in models.operators:
        inputs.encode(operator, used, report)
        states[operator.spec.name] = fitted_state(inputs, operator, fitted_on)
    surface = None
    if models.is_anchored:
        # As of a fit: what is held out has no part in the surface.
        shown_by = [name for name in inputs.views if name in fitted_on]
        surface = scene_surface(inputs, recipe.geometry, shown_by, report, recipe.plugins)
        for judge in models.judges:
            inputs.encode(judge, used, report)
        surface = reliable_surface(inputs, surface, models.judges, recipe.tap_count, report)
    if shard is not None and shard.stage == "fit":
        return targets, [], surface
    products = plan_products(inputs, recipe, models, states, targets, surface.path if surface else "")
    work = Lifting(inputs, recipe, models, states, surface.surface if surface else None)
    lift_scene(inputs, recipe, work, targets, products, report, shard)
    return targets, [*products], surface
