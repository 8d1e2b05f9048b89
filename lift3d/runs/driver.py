"""The one driver of a scene, from its location to its record: of serial runs, workers, ``lift`` and renders."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from lift3d.config import Execution, Recipe, scene_name
from lift3d.domain.keys import digest
from lift3d.domain.records import DroppedView, SceneRecord
from lift3d.domain.scene import Scene
from lift3d.domain.scores import ScoreRow
from lift3d.domain.shard import Shard
from lift3d.errors import ConfigError, Lift3dError, SceneFormatError, WorkerError
from lift3d.pipeline.device import worker_device
from lift3d.pipeline.inputs import Report, SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.scene import run_scene, run_shard
from lift3d.runs.failures import CircuitBreaker, own_error
from lift3d.runs.records import begin_run, read_record, standing_record, write_record
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import Store, open_store
from lift3d.storage.repair import repaired

OnScene = Callable[[SceneRecord], None]
Admit = Callable[[Scene], None]


def run_serially(
    recipe: Recipe, execution: Execution, on_scene: OnScene = lambda record: None, report: Report = quiet
) -> list[SceneRecord]:
    """Run every scene in this process, one after the other: the reference that a distributed run must equal."""
    torch.set_num_threads(execution.threads_per_worker)
    models = Models.of(recipe, worker_device(execution))  # a misspelt name is refused before a store is made
    store = open_store(execution.store, create=True)
    begin_run(recipe, store)
    breaker = CircuitBreaker(execution.breaker_failures)
    records = []
    for location in recipe.scenes:
        given_up = None if execution.retry_quarantined else quarantined_record(store, recipe, location)
        try:
            record = given_up or attempt_scene(
                location, recipe, models, store, report, keeps_features=execution.keep_features is not False
            )
        except WorkerError as error:
            # What costs a worker its life elsewhere must not cost this process the other scenes.
            record = write_record(store, recipe, failed_record(location, error.reason, str(error)))
        records.append(record)
        on_scene(record)
        if given_up is None:
            breaker.record(record)
    return records


def attempt_scene(
    location: str,
    recipe: Recipe,
    models: Models,
    store: Store,
    report: Report = quiet,
    admit: Admit = lambda scene: None,
    *,
    keeps_features: bool = True,
) -> SceneRecord:
    """Run one scene and record what came of it; a scene that is unusable becomes a record with the reason.

    ``admit`` is called with a scene that has work left, before it is done, and may refuse it by an error;
    ``keeps_features`` says whether features that fit into memory are stored. What is not the scene's fault is raised.
    """
    dropped: Sequence[DroppedView] = ()
    try:
        inputs = _inputs_of(location, recipe, store, keeps_features=keeps_features)
        dropped = inputs.dropped
        return walk_scene(inputs, location, recipe, models, report, admit)
    except Exception as raised:
        error = _of_the_scene(raised, location)
        return write_record(store, recipe, failed_record(location, error.reason, str(error), dropped))


def attempt_shard(
    location: str, shard: Shard, recipe: Recipe, models: Models, store: Store, report: Report = quiet
) -> None:
    """Commit a shard of a scene that is not done; what is wrong with the scene its own run says, the rest is raised."""
    try:
        inputs = _inputs_of(location, recipe, store)
        if standing_record(store, recipe, location, models.digest_of(inputs, recipe)) is None:
            repaired(store, lambda: run_shard(inputs, recipe, models, shard, report))
    except Exception as raised:
        _of_the_scene(raised, location)


def walk_scene(
    inputs: SceneInputs,
    location: str,
    recipe: Recipe,
    models: Models,
    report: Report = quiet,
    admit: Admit = lambda scene: None,
) -> SceneRecord:
    """Walk a scene that was read along the line and record it.

    A scene whose record stands, whose inputs are the same and whose products are all committed is returned as it is.
    The location is what the recipe calls it: the scene knows its absolute path alone.
    """
    standing = standing_record(inputs.store, recipe, location, models.digest_of(inputs, recipe))
    if standing is not None:
        return standing
    admit(inputs.scene)
    record, rows = compute_scene(inputs, recipe, models, report)
    return write_record(inputs.store, recipe, replace(record, location=location), rows)


def compute_scene(
    inputs: SceneInputs, recipe: Recipe, models: Models, report: Report = quiet
) -> tuple[SceneRecord, list[ScoreRow]]:
    """Return what comes of a scene, and its score rows, without recording them as part of a run.

    A product that is found damaged is taken back and computed again, once.
    """
    return repaired(inputs.store, lambda: run_scene(inputs, recipe, models, report))


def quarantined_record(store: Store, recipe: Recipe, location: str) -> SceneRecord | None:
    """Return the record of a scene that was given up after it had cost too many workers; None for all others."""
    record = read_record(store, recipe.run_id, location)
    return record if record is not None and record.is_quarantined else None


def failed_record(location: str, reason: str, message: str, dropped: Sequence[DroppedView] = ()) -> SceneRecord:
    """Return the record of a scene that could not be run, with the views that could not be used."""
    return SceneRecord(scene_name(location), location, "failed", f"{reason}: {message}", dropped=tuple(dropped))


def named_scene(scene: Scene, location: str, recipe: Recipe) -> Scene:
    """Give two scenes of one name in a run different ids."""
    is_shared = scene_name(location) in recipe.shared_names
    return replace(scene, id=f"{scene.id}-{digest(location)[:6]}") if is_shared else scene


def _inputs_of(location: str, recipe: Recipe, store: Store, *, keeps_features: bool = True) -> SceneInputs:
    """Read a scene; a location that cannot be one is that scene's fault, not the request's."""
    try:
        scene = read_scene(location)
    except ConfigError as error:
        raise SceneFormatError(str(error), scene=location) from error
    scene = named_scene(scene, location, recipe)
    return SceneInputs(scene, store, recipe.image_height, keeps_features=keeps_features)


def _of_the_scene(raised: Exception, location: str) -> Lift3dError:
    """Return what an exception says of the scene; what is not the scene's fault goes on."""
    error = own_error(raised, location)
    if error.disposition != "skip":
        raise error from (None if error is raised else raised)
    return error
