"""One scene and one operator from Python: ``lift3d.lift``."""

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lift3d.config import TargetMode, parse_recipe
from lift3d.domain.scene import Scene
from lift3d.errors import ConfigError, SceneError
from lift3d.lifters.catalog import build_lifter
from lift3d.messages import message_console
from lift3d.metrics.catalog import build_metrics
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import Operator
from lift3d.pipeline.device import named_device
from lift3d.pipeline.inputs import Report, SceneInputs
from lift3d.pipeline.models import Models
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.opened import open_lifted
from lift3d.runs.driver import walk_scene
from lift3d.runs.progress import RunProgress
from lift3d.runs.records import begin_run
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import Store, open_store


def lift(
    scene: Scene | str | Path,
    operator: Any,
    lifter: str = "anchored",
    *,
    store: str | Path | None = None,
    target_mode: TargetMode | None = None,
    report: Report | None = None,
    device: str = "auto",
    **settings: Any,
) -> LiftedScene:
    """Lift what a 2D model says of the views of a scene, in this process, and score it beside the plain answers.

    What a store holds already is read, not computed: the same call again costs next to nothing.

    Args:
        scene: A scene, or its location.
        operator: A 2D model, or its name. ``lift3d.operator(module, cuts=…)`` makes one of any torch module.
        lifter: Rule for the weights, by name.
        store: URL of the store to use; a temporary folder that lives as long as what was lifted if None.
        target_mode: refine: a view is one of its own sources. heldout: it never is; the only mode for claims. None is
            heldout if there is a holdout, else refine.
        report: Called with a stage's name, how much of it is done, and out of how much; on a terminal or in a
            notebook there is a bar if None.
        device: Where to compute: cpu, cuda, cuda:N, or auto, a GPU if there is one.
        settings: Other fields of ``lift3d.Recipe``, such as image_height, sources, holdout, targets.

    Raises:
        ConfigError: If a setting is none, a name is unknown, or there is no such device.
        SceneError: If the scene is unusable, or the operator cannot be lifted in it.
        ContractError: If the operator breaks its promise.

    Example:
        >>> lifted = lift3d.lift("procedural:room?views=6&height=48&width=64", "rgb", image_height=48)
        >>> lifted.show().savefig("view.png")
    """
    posed = scene if isinstance(scene, Scene) else read_scene(str(scene))
    built = build_operator(operator, settings.get("plugins", ())) if isinstance(operator, str) else operator
    if not isinstance(built, Operator):
        raise ConfigError(
            f"lift() got an operator of type {type(operator).__name__}; expected a name, or an operator. "
            "Of a torch module lift3d.operator(module, cuts=…) makes one."
        )
    recipe = parse_recipe(
        {
            **settings,
            "scenes": [posed.location],
            "operators": [built.spec.name],
            "lifters": [lifter],
            "target_mode": target_mode,
        }
    )
    opened = open_store(store, create=True) if store else _temporary_store()
    models = Models((built,), (build_lifter(lifter),), build_metrics(recipe.metrics or None), named_device(device))
    begin_run(recipe, opened)
    inputs = SceneInputs(posed, opened, recipe.image_height)
    with nullcontext(report) if report else _bar() as told:
        record = walk_scene(inputs, posed.location, recipe, models, told)
    reasons = record.reasons(built.spec.name)
    if reasons:
        raise SceneError(f"'{built.spec.name}' was not lifted in '{posed.id}': {reasons[0]}", scene=posed.id)
    # A name that no plug-in gives is one of the catalog, with the files that the caller named.
    named = [operator] if isinstance(operator, str) and not recipe.plugins else recipe.plugins
    lifted = open_lifted(opened, run_id=recipe.run_id, plugins=named)
    # Of arrays there is nothing that could be read again.
    lifted.hold(posed)
    return lifted


@contextmanager
def _bar() -> Iterator[Report]:
    with RunProgress(message_console(), 1) as progress:
        yield progress.report


def _temporary_store() -> Store:
    """Make a store whose folder goes with the last that reads it: arrays may be read later than the answer is kept."""
    folder = tempfile.mkdtemp(prefix="lift3d-")
    store = open_store(folder, create=True)
    weakref.finalize(store, shutil.rmtree, folder, ignore_errors=True)
    return store
