"""Ray actors that hold the models and run scenes. Only locations and records cross Ray, never arrays."""

import os
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import ray
import torch

from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.domain.scene import Scene
from lift3d.domain.shard import Shard
from lift3d.overlap import use_cores
from lift3d.pipeline.device import worker_device
from lift3d.pipeline.inputs import Report
from lift3d.pipeline.models import Models
from lift3d.runs.driver import attempt_scene, attempt_shard, quarantined_record
from lift3d.runs.plan import require_room, scene_size
from lift3d.storage.location import Store

# A location, who is told of progress, and a shard of the scene if it is not all of it.
AttemptScene = Callable[..., SceneRecord | None]
Prepare = Callable[[Recipe, Execution, Store], AttemptScene]

# Exit code of a worker whose driver went silent.
LEASE_EXIT_CODE = 75


def prepare_scenes(recipe: Recipe, execution: Execution, store: Store) -> AttemptScene:
    """Build the models of a recipe once and return what runs a scene with them, if it fits into the worker."""
    models = Models.of(recipe, worker_device(execution))

    def attempt(location: str, report: Report, shard: Shard | None = None) -> SceneRecord | None:
        given_up = None if execution.retry_quarantined else quarantined_record(store, recipe, location)
        if given_up is not None:
            return given_up

        def admit(scene: Scene) -> None:
            size = scene_size(scene.views, recipe)
            require_room(scene.id, size, recipe, models, execution.memory_allowance_bytes)

        if shard is not None:
            attempt_shard(location, shard, recipe, models, store, report)
            return None
        keeps = execution.keep_features is True
        return attempt_scene(location, recipe, models, store, report, admit, keeps_features=keeps)

    return attempt


class SceneWorker:
    """A Ray actor that runs scenes one after the other and says how far it is.

    The models are built with the first scene, not at construction: an error there keeps its type. A worker that
    nobody asks for longer than its lease ends itself: its driver is gone or cut off, and another may have taken over.
    """

    def __init__(self, recipe: Recipe, execution: Execution, store: Store, prepare: Prepare) -> None:
        self._recipe = recipe
        self._store = store
        self._execution = execution
        self._prepare = prepare
        self._attempt: AttemptScene | None = None
        self._stage = ("start", 0, 1)
        self._asked_at = self._reported_at = time.monotonic()
        threading.Thread(target=self._end_with_lease, daemon=True).start()

    def ready(self) -> str:
        """Return the version of lift3d, which says that the actor has found its place and imports."""
        self._asked_at = time.monotonic()
        return version("lift3d")

    def run(self, location: str, shard: Shard | None = None) -> SceneRecord | None:
        """Run one scene and return its record, or a shard of one."""
        # The number is the calling thread's own, and Ray may call from another one each time.
        torch.set_num_threads(self._execution.threads_per_worker)
        use_cores(self._execution.cpus_per_worker)
        self._asked_at = time.monotonic()
        self._report("start", 0, 1)
        if self._attempt is None:
            self._attempt = self._prepare(self._recipe, self._execution, self._store)
        shards = () if shard is None else (shard,)
        return self._attempt(location, self._report, *shards)

    def stage(self) -> tuple[str, int, int, float]:
        """Return the stage at work, how much of it is done, out of how much, and for how many seconds it was silent."""
        self._asked_at = time.monotonic()
        return (*self._stage, time.monotonic() - self._reported_at)

    def _report(self, stage: str, done: int, total: int) -> None:
        self._stage = (stage, done, total)
        self._reported_at = time.monotonic()

    def _end_with_lease(self) -> None:
        lease_s = self._execution.lease_s
        silences = 0
        # Twice in a row: a scene that held the interpreter for long wakes this thread before calls that wait are heard.
        while True:
            time.sleep(lease_s / 4)
            silences = silences + 1 if time.monotonic() - self._asked_at > lease_s else 0
            if silences > 1:
                # Not an exception: the scene's thread may be anywhere, and nothing uncommitted is to be kept.
                os._exit(LEASE_EXIT_CODE)


def actor_factory(recipe: Recipe, execution: Execution, store: Store, prepare: Prepare) -> Callable[[], Any]:
    """Return what starts one more worker; a lost one is replaced by us, counted, never restarted by Ray."""
    actor_class = ray.remote(SceneWorker).options(
        num_cpus=execution.cpus_per_worker,
        num_gpus=execution.gpus_per_worker,
        # Ray puts no more workers on a node than their peaks, which are held to this, have room there.
        memory=execution.memory_allowance_bytes,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=2,  # one thread runs the scene, the other says how far it is
        scheduling_strategy="SPREAD",
    )
    # Once into the object store, not with every worker: a recipe may name many thousands of scenes.
    shared = ray.put(recipe)
    return lambda: actor_class.remote(shared, execution, store, prepare)
