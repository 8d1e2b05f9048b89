"""Runs of many scenes without models: records and score documents as workers write them."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lift3d.config import Recipe
from lift3d.domain.records import SceneRecord
from lift3d.runs.driver import begin_run, failed_record
from lift3d.runs.table import scene_record_path
from lift3d.storage import layout
from lift3d.storage.documents import write_document
from lift3d.storage.location import Store, open_store
from tests.tables.score_rows import missing_row, score_row


def locations(count: int) -> tuple[str, ...]:
    return tuple(f"data/scene-{number:04d}" for number in range(count))


def begin(url: str, scenes: Iterable[str], **fields: object) -> tuple[Store, Recipe]:
    store = open_store(url, create=True)
    recipe = Recipe(scenes=tuple(scenes), **fields)
    begin_run(recipe, store)
    return store, recipe


def finish(store: Store, recipe: Recipe, location: str, values: dict[str, list[float]], salt: str = "") -> bytes:
    """Record a scene with rows of a lifter, a value per view and metric, and return its record."""
    name = location.rsplit("/", 1)[-1]
    rows = [
        score_row(run="", scene=name, metric=metric, target=f"v{view}", value=value)
        for metric, given in values.items()
        for view, value in enumerate(given)
    ]
    rows.append(missing_row(run="", scene=name, metric="rho", target="blind"))
    path = layout.scores_path(name, f"{recipe.run_id}{salt}")
    write_document(store, path, [row.to_json() for row in rows])
    return record(store, recipe, SceneRecord(name, location, "ok", scores=(path,)))


def fail(store: Store, recipe: Recipe, location: str, **more: object) -> bytes:
    return record(store, recipe, replace(failed_record(location, "scene-format", "no cameras"), **more))


def record(store: Store, recipe: Recipe, found: SceneRecord) -> bytes:
    content = found.to_bytes()
    store.write_bytes(scene_record_path(recipe, found.location), content)
    return content


def make_old(store: Store, seconds: float = 3600.0) -> None:
    """Move all records into the past, so that no clock is too coarse to tell them from what is written now."""
    for path in Path(store.url.removeprefix("file://")).glob("runs/*/scenes/*.json"):
        age = path.stat().st_mtime - seconds
        os.utime(path, (age, age))
