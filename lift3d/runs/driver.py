"""Runs: the record of a recipe in a store, one record per scene, and the serial driver.

The serial driver is the reference that the distributed one must equal: both call ``attempt_scene`` and nothing else.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from lift3d.config import Execution, Recipe, scene_name
from lift3d.domain.keys import digest
from lift3d.domain.records import DroppedView, SceneRecord
from lift3d.domain.scene import Scene
from lift3d.domain.shard import Shard
from lift3d.errors import ConfigError, ProductMissingError, SceneFormatError, WorkerError
from lift3d.pipeline.inputs import Report, SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.scene import run_scene, run_shard
from lift3d.runs.circuit_breaker import CircuitBreaker
from lift3d.runs.record_index import read_or_nothing
from lift3d.runs.table import (
    scene_record_path,
    write_scene_table,
)
from lift3d.runs.unexpected import own_error
from lift3d.scenes.catalog import read_scene
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.documents import read_document
from lift3d.storage.location import Store, open_store
from lift3d.storage.mending import mended

OnScene = Callable[[SceneRecord], None]


def begin_run(recipe: Recipe, store: Store) -> str:
    """Record the recipe before anything is computed and return the run's id. Safe to repeat."""
    path = f"{layout.run_path(recipe.run_id)}/recipe.json"
    if not store.exists(path):
        store.write_bytes(path, json.dumps(recipe.model_dump(mode="json"), indent=1, sort_keys=True).encode())
    return recipe.run_id


def read_scene_record(store: Store, recipe: Recipe, location: str) -> SceneRecord:
    """Return a run's record of a scene.

    Raises:
        ProductMissingError: If the scene was not finished.
    """
    key = scene_record_path(recipe, location)
    record = SceneRecord.parsed(store.read_bytes(key))
    if record is None:
        raise ProductMissingError(f"'{key}' in {store.url} is no record of a scene. Run the scene again.")
    return record


def run_serially(
    recipe: Recipe, execution: Execution, report: Report = quiet, on_scene: OnScene = lambda record: None
) -> list[SceneRecord]:
    """Run every scene in this process, one after the other.

    Args:
        recipe: What to compute.
        execution: Where; its cluster fields are not looked at.
        report: Called with a stage's name, how much of it is done, and out of how much.
        on_scene: Called with each scene's record.
    """
    torch.set_num_threads(execution.threads_per_worker)
    store = open_store(execution.store, create=True)
    models = Models.of(recipe)
    begin_run(recipe, store)
    breaker = CircuitBreaker(execution.breaker_failures)
    records = []
    for location in recipe.scenes:
        given_up = None if execution.retry_quarantined else quarantined_record(store, recipe, location)
        try:
            record = given_up or attempt_scene(location, recipe, models, store, report)
        except WorkerError as error:
            # What costs a worker its life elsewhere must not cost this process the other scenes.
            record = failed_record(location, error.reason, str(error))
            store.write_bytes(scene_record_path(recipe, location), record.to_bytes())
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
    admit: Callable[[Scene], None] = lambda scene: None,
) -> SceneRecord:
    """Run one scene and record what came of it; a scene that is unusable becomes a record with the reason.

    A scene whose record stands, whose inputs are the same and whose products are all committed is returned as it is.
    A product that is found damaged is taken back and computed again, once; damaged again, the scene has failed.

    Args:
        location: The scene.
        recipe: What to compute.
        models: Those of the recipe.
        store: Where products and the record go.
        report: Told of progress.
        admit: Called with a scene that has work left, before it is done; may refuse it by an error.

    Raises:
        Lift3dError: Everything that is not the scene's fault.
    """
    key = scene_record_path(recipe, location)
    dropped: Sequence[DroppedView] = ()
    try:
        scene = named_scene(_read(location), location, recipe)
        inputs = SceneInputs(scene, store, recipe.image_height)
        dropped = inputs.dropped
        digest_now = models.digest_of(inputs, recipe)
        standing = mended(store, lambda: standing_record(store, key, digest_now))
        # A record is called what the recipe calls it: the scene knows its absolute path alone.
        if standing is not None:
            return replace(standing, location=location)
        admit(scene)
        found = mended(store, lambda: run_scene(inputs, recipe, models, report))
        record = replace(found, location=location)
    except Exception as raised:
        error = own_error(raised, location)
        if error.disposition != "skip":
            raise error from (None if error is raised else raised)
        record = failed_record(location, error.reason, str(error), dropped)
    content = record.to_bytes()
    store.write_bytes(key, content)
    write_scene_table(store, recipe, record, content)
    return record


def attempt_shard(
    location: str, shard: Shard, recipe: Recipe, models: Models, store: Store, report: Report = quiet
) -> None:
    """Commit a shard of a scene's work, unless the scene is done. What is wrong with it, its own run will say.

    Raises:
        Lift3dError: Everything that is not the scene's fault.
    """
    try:
        inputs = SceneInputs(named_scene(_read(location), location, recipe), store, recipe.image_height)
        key = scene_record_path(recipe, location)
        now = models.digest_of(inputs, recipe)
        if mended(store, lambda: standing_record(store, key, now)) is None:
            mended(store, lambda: run_shard(inputs, recipe, models, shard, report))
    except Exception as raised:
        error = own_error(raised, location)
        if error.disposition != "skip":
            raise error from (None if error is raised else raised)


def quarantined_record(store: Store, recipe: Recipe, location: str) -> SceneRecord | None:
    """Return the record of a scene that was given up after it had cost too many workers; None for all others."""
    try:
        record = read_scene_record(store, recipe, location)
    except ProductMissingError:
        return None
    return record if record.is_quarantined else None


def failed_record(location: str, reason: str, message: str, dropped: Sequence[DroppedView] = ()) -> SceneRecord:
    """Return the record of a scene that could not be run, with the views that could not be used."""
    return SceneRecord(scene_name(location), location, "failed", f"{reason}: {message}", dropped=tuple(dropped))


def _read(location: str) -> Scene:
    """Read a scene; a location that cannot be one is that scene's fault, not the request's."""
    try:
        return read_scene(location)
    except ConfigError as error:
        raise SceneFormatError(str(error), scene=location) from error


def named_scene(scene: Scene, location: str, recipe: Recipe) -> Scene:
    """Give two scenes of one name in a run different ids."""
    is_shared = scene_name(location) in recipe.shared_names
    return replace(scene, id=f"{scene.id}-{digest(location)[:6]}") if is_shared else scene


def standing_record(store: Store, key: str, inputs: str) -> SceneRecord | None:
    """Return a scene's record if the scene is done for the inputs of now and everything the record names is there.

    Scores are read, for tables are made of them. Of arrays the marker is looked at, no more: that a chunk is gone or
    empty shows when it is read, and ``lift3d fsck`` looks for it without reading.

    Args:
        store: Where the record lies.
        key: The record, see ``scene_record_path``.
        inputs: Digest of what the scene depends on now.
    """
    record = SceneRecord.parsed(read_or_nothing(store, key))
    if record is None or not record.is_ok or record.inputs != inputs:
        return None
    if any(committed(store, path) is None for path in record.paths):
        return None
    for path in record.scores:
        read_document(store, path)
    return replace(record, computed={})
