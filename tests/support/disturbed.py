"""Workers of the real line to whom something happens in the middle of a scene, and a driver of some that halt there.

``python -m tests.support.disturbed run|flow RECIPE EXECUTION GATE`` prints the outcomes; RECIPE and EXECUTION are JSON.
A worker of GATE, a folder, makes the file ``held-PID`` there when it lifts its first scene, whose features are
committed by then, and goes on when there is a file ``open``: what dies is alive and at work, however fast the machine.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen

from flows.batch_driver import run_batch
from flows.ray_cluster import connect
from flows.scene_workers import AttemptScene, prepare_scenes
from flows.worker_pool import WorkerPool
from lift3d.config import Execution, Recipe, parse_execution, parse_recipe
from lift3d.domain.records import SceneRecord
from lift3d.domain.shard import Shard
from lift3d.pipeline.inputs import Report
from lift3d.runs.records import begin_run
from lift3d.storage.location import Store, open_store

ROOT = Path(__file__).parents[2]
OPEN, HELD = "open", "held-{}"


@dataclass(frozen=True)
class Disturbed:
    """A ``Prepare`` that builds the models; ``at_lift`` is told the scene and how many of its targets are lifted."""

    at_lift: Callable[[str, int], None]

    def __call__(self, recipe: Recipe, execution: Execution, store: Store) -> AttemptScene:
        attempt = prepare_scenes(recipe, execution, store)

        def disturbed(location: str, report: Report, shard: Shard | None = None) -> SceneRecord:
            def tell(stage: str, done: int, total: int) -> None:
                report(stage, done, total)
                if stage == "lift":
                    self.at_lift(location, done)

            return attempt(location, tell, shard)

        return disturbed


def die_once(mark: Path, scene: str, location: str, done: int) -> None:
    """Kill the worker that lifts the second target of a scene, once."""
    if location == scene and done == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def halt(gate: Path, location: str, done: int) -> None:
    (gate / HELD.format(os.getpid())).touch()
    while not (gate / OPEN).exists():
        time.sleep(0.05)


def start(how: str, recipe: Recipe, execution: Execution, gate: Path, settings: dict[str, str]) -> Popen[str]:
    """Start a driver of workers that halt at a gate, in a process of its own with such an environment."""
    given = [recipe.model_dump_json(), execution.model_dump_json(), str(gate)]
    pipes = {"stdout": PIPE, "stderr": PIPE, "text": True}
    environment = {**settings, "PYTHONPATH": str(ROOT)}
    return Popen([sys.executable, "-m", __name__, how, *given], cwd=ROOT, env=environment, **pipes)


def main(how: str, recipe_json: str, execution_json: str, gate: str) -> None:
    recipe, execution = parse_recipe(json.loads(recipe_json)), parse_execution(json.loads(execution_json))
    held = Disturbed(partial(halt, Path(gate)))
    if how == "flow":
        # Of no use to workers, which import this module, too.
        from flows.local_run import run_flow

        records = run_flow(recipe, execution, lambda record: None, lambda stage, done, total: None, held)
    else:
        begin_run(recipe, open_store(execution.store, create=True))
        with connect(execution), WorkerPool(recipe, execution, held) as pool:
            records = run_batch(recipe.scenes, pool)
    sys.stdout.write(json.dumps([record.outcome for record in records]))


if __name__ == "__main__":
    main(*sys.argv[1:])
