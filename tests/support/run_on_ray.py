"""A driver in a process of its own, whose workers halt in the middle of a scene until they may go on.

``python -m tests.support.run_on_ray RECIPE EXECUTION GATE`` prints the outcomes; RECIPE and EXECUTION are JSON. A
worker of GATE, a folder, makes the file ``held-PID`` there when it lifts its first scene, whose features are
committed by then, and goes on when there is a file ``open``: what dies is alive and at work, however fast the machine.
"""

import json
import os
import sys
import time
from pathlib import Path

from flows.batch_driver import run_batch
from flows.ray_cluster import connect
from flows.scene_workers import AttemptScene, prepare_scenes
from flows.worker_pool import WorkerPool
from lift3d.config import Execution, Recipe, parse_execution, parse_recipe
from lift3d.domain.records import SceneRecord
from lift3d.pipeline.inputs import Report
from lift3d.runs.records import begin_run
from lift3d.storage.location import Store, open_store

OPEN = "open"
HELD = "held-{}"


class HeldScenes:
    """A ``Prepare`` whose workers halt at the gate."""

    def __init__(self, gate: Path) -> None:
        self._gate = gate

    def __call__(self, recipe: Recipe, execution: Execution, store: Store) -> AttemptScene:
        """Build the models and return what runs a scene."""
        attempt = prepare_scenes(recipe, execution, store)

        def held(location: str, report: Report) -> SceneRecord:
            def halt(stage: str, done: int, total: int) -> None:
                report(stage, done, total)
                if stage == "lift":
                    self._wait()

            return attempt(location, halt)

        return held

    def _wait(self) -> None:
        (self._gate / HELD.format(os.getpid())).touch()
        while not (self._gate / OPEN).exists():
            time.sleep(0.05)


def main(recipe_json: str, execution_json: str, gate: str) -> None:
    recipe, execution = parse_recipe(json.loads(recipe_json)), parse_execution(json.loads(execution_json))
    begin_run(recipe, open_store(execution.store, create=True))
    with connect(execution), WorkerPool(recipe, execution, HeldScenes(Path(gate))) as pool:
        records = run_batch(recipe.scenes, pool)
    sys.stdout.write(json.dumps([record.outcome for record in records]))


if __name__ == "__main__":
    main(*sys.argv[1:])
