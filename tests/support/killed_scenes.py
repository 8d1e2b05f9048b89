"""The real line in a worker that is killed in the middle of one scene, once. Importable by Ray workers."""

import os
import signal
from pathlib import Path
from typing import Any

from flows.scene_workers import AttemptScene, prepare_scenes
from lift3d.config import Execution, Recipe
from lift3d.domain.shard import Shard
from lift3d.pipeline.inputs import Report
from lift3d.storage.location import Store

KILLED = "killed-once"


def prepare_killed_once(recipe: Recipe, execution: Execution, store: Store) -> AttemptScene:
    """Kill the worker that lifts the second target of the recipe's first scene, the first time."""
    attempt = prepare_scenes(recipe, execution, store)
    mark = Path(store.url.removeprefix("file://")) / KILLED

    def killed(location: str, report: Report, shard: Shard | None = None) -> dict[str, Any]:
        def kill(stage: str, done: int, total: int) -> None:
            if location == recipe.scenes[0] and stage == "lift" and done == 1 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            report(stage, done, total)

        return attempt(location, kill, shard)

    return killed
