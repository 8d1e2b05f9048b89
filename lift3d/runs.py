"""Runs: the record of a recipe in a store, one record per scene, the serial driver, and the table of a run.

The serial driver is the reference that the distributed one must equal: both call ``attempt_scene`` and nothing else.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from lift3d.config import Execution, Recipe, parse_recipe
from lift3d.domain.keys import digest
from lift3d.domain.scene import DroppedView, Scene
from lift3d.domain.scores import ScoreRow
from lift3d.errors import ConfigError, Lift3dError, ProductMissingError, SceneFormatError
from lift3d.models import Models
from lift3d.pipeline import read_scene
from lift3d.scene_inputs import Report, SceneInputs, quiet
from lift3d.scene_run import run_scene
from lift3d.scene_scores import ALL_PIXELS
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.documents import read_document
from lift3d.storage.location import Store, open_store
from lift3d.tables.schema import ScoreTable

Manifest = dict[str, Any]
OnScene = Callable[[Manifest], None]


def begin_run(recipe: Recipe, store: Store) -> str:
    """Record the recipe before anything is computed and return the run's id. Safe to repeat."""
    path = f"{layout.run_path(recipe.run_id)}/recipe.json"
    if not store.exists(path):
        store.write_bytes(path, json.dumps(recipe.model_dump(mode="json"), indent=1, sort_keys=True).encode())
    return recipe.run_id


def run_serially(
    recipe: Recipe, execution: Execution, report: Report = quiet, on_scene: OnScene = lambda manifest: None
) -> list[Manifest]:
    """Run every scene in this process, one after the other.

    Args:
        recipe: What to compute.
        execution: Where; its cluster fields are not looked at.
        report: Called with a stage's name, how much of it is done, and out of how much.
        on_scene: Called with each scene's manifest.
    """
    torch.set_num_threads(execution.threads_per_worker)
    store = open_store(execution.store, create=True)
    models = Models.of(recipe)
    begin_run(recipe, store)
    manifests = []
    for location in recipe.scenes:
        manifests.append(attempt_scene(location, recipe, models, store, report))
        on_scene(manifests[-1])
    return manifests


def attempt_scene(location: str, recipe: Recipe, models: Models, store: Store, report: Report = quiet) -> Manifest:
    """Run one scene and record what came of it; a scene that is unusable becomes a record with the reason.

    A scene whose record stands, whose inputs are the same and whose products are all committed is returned as it is.

    Raises:
        Lift3dError: Everything that is not the scene's fault.
    """
    key = scene_record_path(recipe, location)
    dropped: Sequence[DroppedView] = ()
    try:
        scene = named_scene(_read(location), location, recipe)
        inputs = SceneInputs(scene, store, recipe.image_height)
        dropped = inputs.dropped
        standing = standing_manifest(store, key, models.digest_of(inputs, recipe))
        # A record is called what the recipe calls it: the scene knows its absolute path alone.
        if standing is not None:
            return {**standing, "location": location}
        manifest = {**run_scene(inputs, recipe, models, report), "location": location}
    except Lift3dError as error:
        if error.disposition != "skip":
            raise
        manifest = failed_manifest(location, error.reason, str(error), dropped)
    store.write_bytes(key, json.dumps(manifest, sort_keys=True).encode())
    return manifest


def failed_manifest(location: str, reason: str, message: str, dropped: Sequence[DroppedView] = ()) -> Manifest:
    """Return the record of a scene that could not be run, with the views that could not be used."""
    return {
        "scene": scene_name(location),
        "location": location,
        "outcome": "failed",
        "reason": f"{reason}: {message}",
        "dropped": [[view.id, view.reason, view.message] for view in dropped],
        "lifted": [],
        "scores": [],
        "computed": {},
    }


def scene_name(location: str) -> str:
    """Return the name of a scene that could not be read: the last part of its location."""
    return location.rstrip("/").rsplit("/", 1)[-1] or location


def scene_record_path(recipe: Recipe, location: str) -> str:
    """Return where a run keeps its record of a scene."""
    return f"{layout.run_path(recipe.run_id)}/scenes/{digest(location)}.json"


def read_run(store: Store, run_id: str) -> tuple[Recipe, list[Manifest]]:
    """Return the recipe of a run and the records of its scenes so far, in the recipe's order.

    Raises:
        ProductMissingError: If the store has no such run.
    """
    recipe = parse_recipe(json.loads(store.read_bytes(f"{layout.run_path(run_id)}/recipe.json")))
    manifests = []
    for location in recipe.scenes:
        try:
            manifests.append(json.loads(store.read_bytes(scene_record_path(recipe, location))))
        except ProductMissingError:
            continue
    return recipe, manifests


def list_runs(store: Store) -> list[str]:
    """Return the ids of the runs recorded in a store."""
    return sorted(key.split("/")[1] for key in store.list("runs") if key.endswith("/recipe.json"))


def run_table(store: Store, run_id: str) -> ScoreTable:
    """Return the score table of a run: the rows of its scenes, and a row for everything that failed.

    Raises:
        ProductMissingError: If the store has no such run, or scores that a record names are gone.
    """
    recipe, manifests = read_run(store, run_id)
    rows: list[ScoreRow] = []
    for manifest, name in zip(manifests, unique_names(manifests), strict=True):
        for path in manifest["scores"]:
            rows += [_row(fields, run_id, name) for fields in read_document(store, path)]
        rows += _rows_without_value({**manifest, "scene": name}, recipe)
    return ScoreTable.from_rows(rows)


def unique_names(manifests: Sequence[Manifest]) -> list[str]:
    """Return a name per scene of a run: its own, with a digest of its location where several have the same."""
    named = [(manifest["scene"], manifest["location"]) for manifest in manifests]
    count = Counter(name for name, _ in named)
    return [name if count[name] == 1 else f"{name}-{digest(location)[:6]}" for name, location in named]


def _rows_without_value(manifest: Mapping[str, Any], recipe: Recipe) -> list[ScoreRow]:
    """Rows of what has no figure: a failed scene, dropped views, lifters that cannot run on the scene."""
    dropped: dict[str, str] = {}
    for view, reason, message in manifest["dropped"]:
        # Files may list a view several times; it has one row.
        dropped.setdefault(view, f"{reason}: {message}")
    missing = [(view, "", "", "view", sentence) for view, sentence in dropped.items()]
    if manifest["outcome"] != "ok":
        missing.append(("", "", "", "scene", manifest["reason"]))
    missing += [
        ("", product["operator"], product["lifter"], "lifter", product["reason"])
        for product in manifest["lifted"]
        if product["reason"]
    ]
    return [
        ScoreRow(
            run=recipe.run_id,
            scene=manifest["scene"],
            target=target,
            other="",
            operator=operator,
            lifter=lifter,
            target_mode=recipe.row_target_mode,
            metric=f"usable_{what}",
            protocol=f"{protocol}/{ALL_PIXELS}" if (protocol := manifest.get("protocol", "")) else "",
            threshold_source="",
            scoring_geometry="none",
            value=float("nan"),
            weight=0.0,
            coverage=float("nan"),
            outcome="failed" if what == "scene" else "skipped",
            reason=reason,
        )
        for target, operator, lifter, what, reason in missing
    ]


def _row(fields: Mapping[str, Any], run_id: str, scene: str) -> ScoreRow:
    """Rebuild a stored row: numbers that were missing are NaN again, the run and the scene's name are this one's."""
    numbers = {name: float("nan") if fields[name] is None else fields[name] for name in ("value", "weight", "coverage")}
    return ScoreRow(**{**fields, **numbers, "run": run_id, "scene": scene})


def _read(location: str) -> Scene:
    """Read a scene; a location that cannot be one is that scene's fault, not the request's."""
    try:
        return read_scene(location)
    except ConfigError as error:
        raise SceneFormatError(str(error), scene=location) from error


def named_scene(scene: Scene, location: str, recipe: Recipe) -> Scene:
    """Give two scenes of one name in a run different ids."""
    same = [other for other in recipe.scenes if scene_name(other) == scene_name(location)]
    return scene if len(same) < 2 else replace(scene, id=f"{scene.id}-{digest(location)[:6]}")


def standing_manifest(store: Store, key: str, inputs: str) -> Manifest | None:
    """Return a scene's record if the scene is done for the inputs of now and everything the record names is there.

    Args:
        store: Where the record lies.
        key: The record, see ``scene_record_path``.
        inputs: Digest of what the scene depends on now.
    """
    try:
        manifest: Manifest = json.loads(store.read_bytes(key))
    except ProductMissingError:
        return None
    if manifest["outcome"] != "ok" or manifest["inputs"] != inputs:
        return None
    paths = [path for product in manifest["lifted"] for path in product["parts"]] + manifest["scores"]
    if any(committed(store, path) is None for path in paths):
        return None
    return {**manifest, "computed": {}}
