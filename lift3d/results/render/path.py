"""Lifting to cameras that nobody took a picture from: along the path through a lifted scene's own cameras."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lift3d.config import Recipe, parse_recipe
from lift3d.errors import ConfigError, Lift3dError, SceneError
from lift3d.lifters.catalog import build_lifter, is_packaged
from lift3d.messages import message_console
from lift3d.metrics.catalog import build_metrics
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import Operator
from lift3d.operators.stored_names import build_stored
from lift3d.pipeline.device import named_device
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.models import Models
from lift3d.results.lifted_scene import LiftedScene
from lift3d.runs.driver import compute_scene
from lift3d.runs.own_runs import is_own_run
from lift3d.runs.progress import RunProgress
from lift3d.storage.commit import committed
from lift3d.surface.catalog import parse_geometry

# The operator whose answer is the lifted picture itself.
PICTURE = "rgb"
# There is no true view to compare a novel camera's with.
_METRICS = ("coverage",)
_REMEDY = "--frames 0 makes a video of the views that are lifted already, and needs nothing else."


@dataclass(frozen=True, slots=True, eq=False)
class PathLift:
    """A scene lifted along a path: what the operator says there, and what the place looks like there.

    There are no pictures if the run did not lift them, or the answers are they. What no source sees of the targets has
    no view among the answers; ``computed`` counts products that were missing.
    """

    answers: LiftedScene
    pictures: LiftedScene | None
    targets: tuple[str, ...]
    computed: Mapping[str, int]


def lift_along_path(base: LiftedScene, count: int) -> PathLift:
    """Lift to ``count`` cameras along the path through a scene's own; what the store holds is read, not computed.

    The products go into the scene's store; no run is recorded, so the store's latest run stays what it was. Of the
    plug-ins and files that the store names, only those are loaded that the user names, too: ``base.trusted``.
    """
    if base.lifter not in base.trusted and not is_packaged(base.lifter):
        raise ConfigError(
            f"Lifter '{base.lifter}' reads a file that the store names, and a store is data. If you trust it, name it "
            f"yourself: --plugin '{base.lifter}'. {_REMEDY}"
        )
    _require_own_geometry(base)
    operators = _operators(base)
    recipe = path_recipe(base, count, tuple(operator.spec.name for operator in operators))
    # The surface may be completed by an operator; what the store names is not loaded for that.
    recipe = recipe.model_copy(update={"plugins": tuple(one for one in recipe.plugins if one in base.trusted)})
    models = Models(operators, (build_lifter(base.lifter),), build_metrics(_METRICS), named_device("auto"))
    try:
        inputs = SceneInputs(base.scene, base.store, recipe.image_height)
    except Lift3dError as error:
        raise SceneError(f"The photographs of '{base.name}' cannot be read again: {error} {_REMEDY}") from error
    with RunProgress(message_console(), 1) as progress:
        found, _ = compute_scene(inputs, recipe, models, progress.report)
    record = replace(found, location=base.record.location)
    lifted = [replace(base, recipe=recipe, record=record, operator=one.spec.name) for one in operators]
    answers = lifted[-1]
    if not answers.targets:
        reason = next(iter(record.reasons(base.operator)), "no source sees what any of its cameras sees")
        raise SceneError(f"'{base.operator}' was not lifted along the path of '{base.name}': {reason}. {_REMEDY}")
    targets = tuple(f"novel-{index:04d}" for index in range(count))
    return PathLift(answers, lifted[0] if len(lifted) > 1 else None, targets, record.computed)


def _require_own_geometry(base: LiftedScene) -> None:
    """Refuse a file of geometry, or a model, that a stranger's recipe names: of a capture's own folder, none is."""
    geometry = base.recipe.geometry or ""
    prior = parse_geometry(geometry).prior if geometry else ""
    if prior and not is_own_run(base.recipe.run_id):
        build_stored(prior, base.trusted)
    path = Path(geometry.partition("?path=")[2]).expanduser()
    if path.is_absolute() and not is_own_run(base.recipe.run_id):
        raise ConfigError(
            f"The geometry '{geometry}' is a file that the store names, and a store is data. If you trust it, run the "
            f"scene yourself with it. {_REMEDY}"
        )


def path_recipe(base: LiftedScene, count: int, operators: tuple[str, ...]) -> Recipe:
    """Return the recipe of a lifted scene with another set of targets, and nothing that is not needed for them."""
    fields = base.recipe.model_dump(mode="json")
    changed = {"operators": operators, "lifters": (base.lifter,), "metrics": _METRICS, "targets": f"path:{count}"}
    return parse_recipe({**fields, **changed})


def _operators(base: LiftedScene) -> tuple[Operator, ...]:
    """Return the operators to lift: that of the picture if the run lifted it, then the one that was chosen."""
    chosen = _rebuilt(base)
    has_picture = base.operator != PICTURE and (PICTURE, base.lifter) in base.record.pairs
    return (build_operator(PICTURE), chosen) if has_picture else (chosen,)


def _rebuilt(base: LiftedScene) -> Operator:
    """Build the operator of a lifted scene by what its run calls it."""
    first: Lift3dError | None = None
    # An operator may spell its name in another way than the recipe; the one that is spelt alike is tried first.
    for name in sorted(base.recipe.operators, key=lambda name: name != base.operator):
        try:
            operator = build_stored(name, base.trusted)
        except Lift3dError as error:
            first = first or error
            continue
        if operator.spec.name == base.operator:
            _check_same(base, operator)
            return operator
    plugins = " ".join(f"--plugin '{one}'" for one in base.recipe.plugins if one not in base.trusted)
    raise ConfigError(
        f"Operator '{base.operator}' cannot be built again from its name: {first or 'no name of the run gives it'} "
        f"It may have been an object in Python, or a plug-in{f': the run had {plugins}' if plugins else ''}. {_REMEDY}"
    )


def _check_same(base: LiftedScene, operator: Operator) -> None:
    """Refuse an operator of the same name that would give other features than those the scene was lifted from."""
    leaves = (committed(base.store, path) for path in base.record.parts(base.operator, base.lifter))
    known = [leaf.manifest.attrs.get("operator_identity") for leaf in leaves if leaf is not None]
    if known and operator.spec.identity not in known:
        raise ConfigError(
            f"Operator '{base.operator}' is not what it was when '{base.name}' was lifted: its code or weights differ. "
            f"Run it again on the scene to see the new one. {_REMEDY}"
        )
