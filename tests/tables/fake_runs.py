"""Runs of many scenes without models: records and rows as workers write them."""

from collections.abc import Iterable
from dataclasses import replace

from lift3d.config import Recipe
from lift3d.domain.records import SceneRecord
from lift3d.runs.driver import failed_record
from lift3d.runs.records import begin_run, write_record
from lift3d.storage.location import Store, open_store
from tests.tables.score_rows import missing_row, score_row


def locations(count: int) -> tuple[str, ...]:
    return tuple(f"data/scene-{number:04d}" for number in range(count))


def begin(url: str, scenes: Iterable[str], **fields: object) -> tuple[Store, Recipe]:
    store = open_store(url, create=True)
    recipe = Recipe(scenes=tuple(scenes), **fields)
    begin_run(recipe, store)
    return store, recipe


def finish(store: Store, recipe: Recipe, location: str, values: dict[str, list[float]]) -> SceneRecord:
    """Record a scene with rows of a lifter, a value per view and metric."""
    name = location.rsplit("/", 1)[-1]
    rows = [
        score_row(run=recipe.run_id, scene=name, metric=metric, target=f"v{view}", value=value)
        for metric, given in values.items()
        for view, value in enumerate(given)
    ]
    rows.append(missing_row(run=recipe.run_id, scene=name, metric="rho", target="blind"))
    return write_record(store, recipe, SceneRecord(name, location, "ok"), rows)


def fail(store: Store, recipe: Recipe, location: str, **more: object) -> SceneRecord:
    return write_record(store, recipe, replace(failed_record(location, "scene-format", "no cameras"), **more))
