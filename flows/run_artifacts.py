"""What a run shows in the Prefect UI, which reads Markdown: a bar, the outcome of every scene, the table of scores.

A server that does not answer costs the run its pictures and nothing else: the store has everything.
"""

import logging
import time
from collections.abc import Callable, Sequence
from textwrap import shorten
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from flows.run_pictures import pictures_page
from lift3d.config import Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import Lift3dError
from lift3d.results.scores.answers import answers_of, glance_table
from lift3d.results.scores.tables import LEGEND, closing_table, headline_means
from lift3d.runs.progress import duration
from lift3d.runs.table import run_parts
from lift3d.storage.location import Store
from lift3d.tables.rendering import Table, escaped, to_markdown

Scenes = Sequence[SceneRecord]

# An artifact is one row of Prefect's database; the whole list is in the store.
_ARTIFACT_ROWS = 500
_PAGE_CHARACTERS = 200_000
_REASON_LENGTH = 300
_UPDATE_EVERY_S = 5.0

_log = logging.getLogger(__name__)


class RunArtifacts:
    """The artifacts of one run."""

    def __init__(self, recipe: Recipe, store_url: str) -> None:
        self._recipe = recipe
        self._store_url = store_url
        self._done = 0
        self._failed = 0
        self._began_at = self._updated_at = time.monotonic()
        self._bar: UUID | None = _best_effort(
            lambda: create_progress_artifact(0.0, key=f"progress-{recipe.run_id}", description=self._words())
        )

    def on_scene(self, record: SceneRecord) -> None:
        """Count a finished scene; the bar follows within seconds."""
        self._done += 1
        self._failed += not record.is_ok
        if time.monotonic() - self._updated_at > _UPDATE_EVERY_S:
            self._update()

    def show_end(self, scenes: Scenes, store: Store) -> None:
        """Show the outcome of each scene, failures first, and the scores."""
        self._update()
        run = self._recipe.run_id
        rows, above = outcome_rows(scenes), outcome_words(self._recipe, scenes, store.url)
        _best_effort(lambda: create_table_artifact(rows, key=f"scenes-{run}", description=above))
        tables: tuple[Table, ...] = ()
        try:
            means = headline_means(run_parts(store, run))
            tables, trouble = (glance_table(answers_of(means), ""), closing_table(means)), ""
        except Lift3dError as error:
            trouble = str(error)
        page = scores_page(self._recipe, scenes, store.url, tables, trouble, pictures_page(store, run))
        words = f"Means over **{len(scenes) - len(_failed(scenes))} of {len(scenes)}** scenes in {_code(store.url)}"
        _best_effort(lambda: create_markdown_artifact(page, key=f"scores-{run}", description=words))

    def _update(self) -> None:
        self._updated_at = time.monotonic()
        bar = self._bar
        if bar is not None:
            share = 100.0 * self._done / len(self._recipe.scenes)
            _best_effort(lambda: update_progress_artifact(bar, share, description=self._words()))

    def _words(self) -> str:
        elapsed = time.monotonic() - self._began_at
        return progress_words(self._recipe, self._store_url, (self._done, self._failed), elapsed)


def progress_words(recipe: Recipe, store_url: str, counts: tuple[int, int], elapsed_s: float) -> str:
    """Return how far a run is, in a line."""
    done, failed = counts
    left = len(recipe.scenes) - done
    parts = [f"**{done} of {len(recipe.scenes)}** scenes finished", f"{failed} failed"]
    if done and left:
        parts.append(f"about {duration(elapsed_s / done * left)} left")
    if store_url:
        parts.append(f"store {_code(store_url)}")
    return " · ".join(parts)


def outcome_rows(scenes: Scenes) -> list[dict[str, str]]:
    """Return a row per scene, failures first; of very many the first."""
    rows = []
    for scene in [*_failed(scenes), *(scene for scene in scenes if scene.is_ok)]:
        code, _, message = scene.reason.partition(":")
        outcome = "✓ lifted" if scene.is_ok else "✗ failed"
        message = shorten(message, _REASON_LENGTH, placeholder=" …")
        rows.append({"scene": scene.scene, "outcome": outcome, "reason": code, "what happened": message})
    return rows[:_ARTIFACT_ROWS]


def outcome_words(recipe: Recipe, scenes: Scenes, store_url: str) -> str:
    """Return what stands above the table of outcomes."""
    failed = len(_failed(scenes))
    shown = f" The first {_ARTIFACT_ROWS} of them." if len(scenes) > _ARTIFACT_ROWS else ""
    return (
        f"**{len(scenes) - failed} of {len(scenes)}** scenes of run {_code(recipe.run_id)} lifted, {failed} failed; "
        f"failures first.{shown} Everything: {_code(f'lift3d status {store_url}')}"
    )


def scores_page(
    recipe: Recipe, scenes: Scenes, store_url: str, tables: Sequence[Table], trouble: str = "", pictures: str = ""
) -> str:
    """Return the page of scores in Markdown: tables, short and whole, or why there are none; where everything lies."""
    said = [to_markdown(table) for table in tables if table.rows]
    if trouble:
        said = [f"The table could not be made: {escaped(trouble)}"]
    elif not said:
        said = ["No scene has a score."]
    elif sum(map(len, said)) > _PAGE_CHARACTERS:
        said = [f"Too long to be shown here: {_code(f'lift3d tables {store_url}')} prints it."]
    head = f"# {len(scenes) - len(_failed(scenes))} of {len(scenes)} scenes lifted"
    operators, lifters = (", ".join(_code(name) for name in names) for names in (recipe.operators, recipe.lifters))
    what = f"Operators {operators}; lifters {lifters}; {recipe.protocol}, images {recipe.image_height} pixels high."
    # Wide tables are cut by the page: the short one comes first.
    glance, *whole = said
    parts = [head, what, "## Scores", glance, *([pictures] if pictures else [])]
    parts += [*(["## All scores", *whole, LEGEND] if whole else []), "## Where everything lies"]
    return "\n\n".join([*parts, _places(recipe.run_id, store_url)])


def _places(run: str, store_url: str) -> str:
    places = {
        "store": store_url,
        "rows of the table": f"{store_url}/runs/{run}/scores/",
        "one page with pictures": f"lift3d report {store_url} --run {run}",
        "look around in 3D": f"lift3d view {store_url} --run {run}",
        "in Python": f'lift3d.lifted_scenes("{store_url}", "{run}")',
    }
    return "\n".join(f"- {name}: {_code(place)}" for name, place in places.items())


def _failed(scenes: Scenes) -> list[SceneRecord]:
    return [scene for scene in scenes if not scene.is_ok]


def _code(text: str) -> str:
    """Return a text in Markdown's code; what would end the code, or a cell, is replaced."""
    return f"`{text.replace('`', chr(39)).replace('|', '%7C')}`"


def _best_effort(show: Callable[[], Any]) -> Any:
    try:
        return show()
    except (httpx.HTTPError, PrefectException, OSError) as error:
        _log.warning("Prefect does not answer, the run goes on without its artifacts: %s", error)
        return None
