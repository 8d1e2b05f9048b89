"""What a run shows in the Prefect UI: a bar, the outcome of every scene, the table of scores.

A server that does not answer costs the run its pictures and nothing else: the store has everything.
"""

import logging
import time
from collections.abc import Callable, Sequence
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

from flows.artifact_texts import outcome_rows, outcome_words, progress_words, scores_page, scores_words
from lift3d.config import Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import Lift3dError
from lift3d.results.tables import closing_table, headline_means
from lift3d.runs.table import run_parts
from lift3d.storage.location import Store

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

    def show_end(self, scenes: Sequence[SceneRecord], store: Store) -> None:
        """Show the outcome of each scene, failures first, and the scores."""
        self._update()
        run = self._recipe.run_id
        rows, words = outcome_rows(scenes), outcome_words(self._recipe, scenes, store.url)
        _best_effort(lambda: create_table_artifact(rows, key=f"scenes-{run}", description=words))
        try:
            table, trouble = closing_table(headline_means(run_parts(store, run))), ""
        except Lift3dError as error:
            table, trouble = None, str(error)
        page = scores_page(self._recipe, scenes, store.url, table, trouble)
        _best_effort(
            lambda: create_markdown_artifact(page, key=f"scores-{run}", description=scores_words(scenes, store.url))
        )

    def _update(self) -> None:
        self._updated_at = time.monotonic()
        bar = self._bar
        if bar is not None:
            share = 100.0 * self._done / len(self._recipe.scenes)
            _best_effort(lambda: update_progress_artifact(bar, share, description=self._words()))

    def _words(self) -> str:
        elapsed = time.monotonic() - self._began_at
        return progress_words(self._recipe, self._store_url, (self._done, self._failed), elapsed)


def _best_effort(show: Callable[[], Any]) -> Any:
    try:
        return show()
    except (httpx.HTTPError, PrefectException, OSError) as error:
        _log.warning("Prefect does not answer, the run goes on without its artifacts: %s", error)
        return None
