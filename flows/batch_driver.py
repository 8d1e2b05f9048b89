"""The driver of a batch of scenes: hand out, poll, enforce deadlines, replace workers that died.

Nothing here waits for one answer: the driver looks at all workers at least twice a second, so a deadline, a
lost worker and a cancelled run are noticed whatever a worker is doing.
"""

import json
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from flows.progress import Listener, Manifest, no_stage
from flows.ray_cluster import worker_count
from flows.retry_policy import decide, fetch, is_worker_spoilt
from flows.scene_workers import Prepare, actor_factory, prepare_scenes
from lift3d.config import Execution, Recipe
from lift3d.errors import ConfigError, Lift3dError, ResourcePromiseError, WorkerLostError
from lift3d.runs import failed_manifest, scene_record_path
from lift3d.storage.location import Store, open_store

_POLL_S = 0.5
_STATUS_EVERY_S = 1.0
# A cluster that grows on demand needs minutes for its first machine.
_FIRST_WORKER_WITHIN_S = 900.0


def run_batch(
    locations: Sequence[str],
    recipe: Recipe,
    execution: Execution,
    listener: Listener | None = None,
    prepare: Prepare = prepare_scenes,
) -> list[Manifest]:
    """Run scenes on workers of the connected cluster.

    A scene that cannot be run gets a manifest that says why, as in a serial run; so does one whose deadline
    passes or whose workers are lost as often as there are attempts.

    Args:
        locations: Scenes of the recipe, each once.
        recipe: What to compute.
        execution: Where and how.
        listener: Told of every finished scene and of the stages of those at work.
        prepare: What a worker builds before its first scene; sent to the workers.

    Returns:
        Manifests in the order of ``locations``.

    Raises:
        Lift3dError: The first error that concerns more than one scene; the other workers are stopped.
    """
    store = open_store(execution.store, create=True)
    if store.url.startswith("memory:"):
        raise ConfigError(
            f"The store '{store.url}' lives in one process and workers are several. Give a folder or "
            "s3://, or run with --serial."
        )
    batch = _Batch(locations, recipe, execution, store, listener or Listener(), prepare)
    try:
        return batch.run()
    finally:
        batch.stop()


@dataclass(slots=True)
class _Item:
    """A scene that is not finished."""

    location: str
    tries: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class _Worker:
    """An actor, the call it is busy with, and the scene of that call (none while it starts)."""

    actor: Any
    call: Any = None
    item: _Item | None = None
    deadline: float = math.inf
    is_placed: bool = False
    status_call: Any = None
    status_at: float = 0.0


class _Batch:
    """The state of run_batch: scenes waiting, workers busy, manifests done."""

    def __init__(
        self,
        locations: Sequence[str],
        recipe: Recipe,
        execution: Execution,
        store: Store,
        listener: Listener,
        prepare: Prepare,
    ) -> None:
        self._locations = tuple(locations)
        self._waiting = deque(_Item(location) for location in locations)
        self._recipe = recipe
        self._execution = execution
        self._store = store
        self._listener = listener
        self._make_actor = actor_factory(recipe, execution, store, prepare)
        self._workers: list[_Worker] = []
        self._done: dict[str, Manifest] = {}
        self._failed_starts = 0
        self._first_worker_by = time.monotonic() + _FIRST_WORKER_WITHIN_S

    def run(self) -> list[Manifest]:
        """Loop until every scene has a manifest."""
        count = worker_count(self._execution, len(self._locations))
        while len(self._done) < len(self._locations):
            unfinished = len(self._locations) - len(self._done)
            while len(self._workers) < min(count, unfinished):
                self._start_worker()
            self._hand_out()
            self._poll()
            self._enforce_deadlines()
        return [self._done[location] for location in self._locations]

    def stop(self) -> None:
        """Kill every worker; what they have not committed is as if it had never been."""
        while self._workers:
            self._drop(self._workers[-1])

    def _start_worker(self) -> None:
        actor = self._make_actor()
        self._workers.append(_Worker(actor, call=actor.ready.remote()))

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        ray.kill(worker.actor, no_restart=True)

    def _hand_out(self) -> None:
        """Give each idle worker the first scene whose time has come."""
        now = time.monotonic()
        for worker in self._workers:
            item = next((one for one in self._waiting if one.not_before <= now), None)
            if item is None:
                return
            if worker.is_placed and worker.call is None:
                self._waiting.remove(item)
                worker.item, worker.deadline = item, now + self._execution.scene_deadline_s
                worker.call = worker.actor.run.remote(item.location)
                worker.status_at = now + _STATUS_EVERY_S

    def _poll(self) -> None:
        """Look at all calls, for half a second at most."""
        self._ask_for_stages()
        calls = {call: worker for worker in self._workers for call in (worker.call, worker.status_call) if call}
        if not calls:
            time.sleep(_POLL_S)
            return
        ready, _ = ray.wait(list(calls), num_returns=1, timeout=_POLL_S)
        for call in ready:
            worker = calls[call]
            if call is worker.status_call:
                self._hear_stage(worker)
            elif worker.item is None:
                self._hear_start(worker)
            else:
                self._hear_scene(worker, worker.item)

    def _ask_for_stages(self) -> None:
        if self._listener.on_stage is no_stage:
            return
        now = time.monotonic()
        for worker in self._workers:
            if worker.item is not None and worker.status_call is None and worker.status_at <= now:
                worker.status_call = worker.actor.stage.remote()
                worker.status_at = now + _STATUS_EVERY_S

    def _hear_stage(self, worker: _Worker) -> None:
        found, worker.status_call = fetch(worker.status_call), None
        # A worker that died is found out through its scene's call.
        if worker.item is not None and not isinstance(found, Lift3dError):
            self._listener.on_stage(worker.item.location, *found)

    def _hear_start(self, worker: _Worker) -> None:
        found, worker.call = fetch(worker.call), None
        if not isinstance(found, Lift3dError):
            worker.is_placed = True
            self._failed_starts = 0
            return
        self._drop(worker)
        self._failed_starts += 1
        if found.disposition == "abort":
            raise found
        if self._failed_starts >= self._execution.attempts:
            raise WorkerLostError(
                f"{self._failed_starts} workers in a row died before their first scene. Check that lift3d is "
                f"installed on every node of the cluster. The last one: {found}"
            ) from found

    def _hear_scene(self, worker: _Worker, item: _Item) -> None:
        found = fetch(worker.call)
        worker.call, worker.item, worker.deadline = None, None, math.inf
        if not isinstance(found, Lift3dError):
            self._finish(item, found)
            return
        if is_worker_spoilt(found):
            self._drop(worker)
        self._settle(item, found)

    def _settle(self, item: _Item, error: Lift3dError) -> None:
        """Do with a failed scene what the policy says."""
        item.tries += 1
        decision = decide(error, item.tries, self._execution.attempts)
        if decision.action == "abort":
            raise error
        if decision.action == "retry":
            item.not_before = time.monotonic() + decision.wait_s
            self._waiting.append(item)
            return
        tried = f" (tried {item.tries} times)" if item.tries > 1 else ""
        self._record_failure(item, error.reason, f"{error}{tried}")

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for worker in [one for one in self._workers if one.item is not None and one.deadline <= now]:
            item, limit = worker.item, self._execution.scene_deadline_s
            self._drop(worker)
            if item is not None:
                self._record_failure(
                    item,
                    "deadline",
                    f"The scene took longer than scene_deadline_s={limit:g} s and its worker was stopped. "
                    "What it committed stays; raise the deadline and run again.",
                )
        if now > self._first_worker_by and not self._done and not any(one.is_placed for one in self._workers):
            raise ResourcePromiseError(
                f"Ray found no place for a worker in {_FIRST_WORKER_WITHIN_S:g} s: needed are "
                f"{self._execution.cpus_per_worker:g} CPU and {self._execution.gpus_per_worker:g} GPU, the "
                f"cluster has {ray.cluster_resources()}. Lower what a worker reserves, or add a node."
            )

    def _record_failure(self, item: _Item, reason: str, message: str) -> None:
        manifest = failed_manifest(item.location, reason, message)
        path = scene_record_path(self._recipe, item.location)
        self._store.write_bytes(path, json.dumps(manifest, sort_keys=True).encode())
        self._finish(item, manifest)

    def _finish(self, item: _Item, manifest: Manifest) -> None:
        self._done[item.location] = manifest
        self._listener.on_scene(manifest)
