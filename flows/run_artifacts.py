"""What a run shows in the Prefect UI: a bar, the outcome of every scene, the table of scores.

A server that does not answer costs the run its pictures and nothing else: the store has everything.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
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

from flows.progress import Manifest
from lift3d.config import Recipe
from lift3d.errors import Lift3dError
from lift3d.present.headline import headline_means, headline_of_means
from lift3d.run_tables import run_parts
from lift3d.storage.location import Store

# An artifact is one row of Prefect's database; the whole list is in the store.
_ARTIFACT_ROWS = 500
_REASON_LENGTH = 300
_TABLE_CHARACTERS = 200_000
_UPDATE_EVERY_S = 5.0

_log = logging.getLogger(__name__)


class RunArtifacts:
    """The artifacts of one run."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._done = 0
        self._failed = 0
        self._updated_at = time.monotonic()
        self._bar: UUID | None = _told(
            lambda: create_progress_artifact(0.0, key=f"progress-{recipe.run_id}", description=self._words())
        )

    def on_scene(self, manifest: Manifest) -> None:
        """Count a finished scene; the bar follows within seconds."""
        self._done += 1
        self._failed += manifest["outcome"] != "ok"
        if time.monotonic() - self._updated_at > _UPDATE_EVERY_S:
            self._update()

    def show_end(self, scenes: Sequence[Mapping[str, Any]], store: Store) -> None:
        """Show the outcome of each scene, failures first, and the scores."""
        self._update()
        rows = [
            {"scene": scene["scene"], "outcome": scene["outcome"], "reason": scene["reason"][:_REASON_LENGTH]}
            for is_ok in (False, True)
            for scene in scenes
            if (scene["outcome"] == "ok") == is_ok
        ]
        run = self._recipe.run_id
        description = f"Outcome of {len(rows)} scenes of run {run}, failures first."
        _told(lambda: create_table_artifact(rows[:_ARTIFACT_ROWS], key=f"scenes-{run}", description=description))
        try:
            text = headline_of_means(headline_means(run_parts(store, run)), is_brief=True)
        except Lift3dError as error:
            text = f"The table could not be made: {error}"
        if len(text) > _TABLE_CHARACTERS:
            text = f"Too long to be shown here: `lift3d tables --store {store.url} --run {run}` prints it."
        _told(lambda: create_markdown_artifact(text, key=f"scores-{run}", description=f"Scores of run {run}."))

    def _update(self) -> None:
        self._updated_at = time.monotonic()
        bar = self._bar
        if bar is not None:
            share = 100.0 * self._done / len(self._recipe.scenes)
            _told(lambda: update_progress_artifact(bar, share, description=self._words()))

    def _words(self) -> str:
        return f"{self._done} of {len(self._recipe.scenes)} scenes finished, {self._failed} of them failed"


def _told(show: Callable[[], Any]) -> Any:
    try:
        return show()
    except (httpx.HTTPError, PrefectException, OSError) as error:
        _log.warning("Prefect does not answer, the run goes on without its artifacts: %s", error)
        return None
