"""The driver of a batch of scenes: hand out, poll, enforce deadlines, replace workers that died.

Nothing here waits for one answer: the driver looks at all workers at least twice a second, so a deadline, a
lost worker and a cancelled run are noticed whatever a worker is doing.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

import ray

from flows.progress import Listener
from flows.retry_policy import budget_of, decide
from flows.scene_queue import Item, SceneQueue
from flows.worker_pool import MOST_SHARDS, Worker, WorkerPool
from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError, Lift3dError, PreemptedError, ResourcePromiseError, WorkerError, WorkerLostError
from lift3d.runs.driver import failed_record
from lift3d.runs.records import write_record

# A cluster that grows on demand may need twenty minutes for a machine with a GPU, its first or another one.
_WORKER_WITHIN_S = 1800.0


def run_batch(locations: Sequence[str], pool: WorkerPool, listener: Listener | None = None) -> list[SceneRecord]:
    """Run scenes on the workers of a pool; records are in the order of the locations.

    A scene that cannot be run gets a record that says why, as in a serial run; so does one whose deadline
    passes or whose workers are lost as often as there are attempts. Those are quarantined: later runs leave them
    alone until they are told otherwise. The first error that concerns more than one scene is raised.
    """
    try:
        return _Batch(locations, pool, listener or Listener()).run()
    finally:
        pool.abandon_scenes()


class _Batch:
    """The state of run_batch: scenes waiting, workers busy, records done."""

    def __init__(self, locations: Sequence[str], pool: WorkerPool, listener: Listener) -> None:
        self._locations = tuple(locations)
        self._pool = pool
        self._listener = listener
        self._execution = pool.execution
        # At least as many as may share one scene: the last one may take them all.
        self._most_workers = min(pool.most_workers, max(len(locations), MOST_SHARDS))
        shards = min(self._most_workers, MOST_SHARDS), pool.execution.split_views
        self._queue = SceneQueue(locations, pool.recipe, pool.store, pool.execution.retry_quarantined, *shards)
        self._done: dict[str, SceneRecord] = {}
        self._failed_starts = 0
        self._worker_by = time.monotonic() + _WORKER_WITHIN_S

    def run(self) -> list[SceneRecord]:
        """Loop until every scene has a record."""
        while len(self._done) < len(self._locations):
            at_work = sum(worker.item is not None for worker in self._pool.workers)
            self._pool.grow(min(self._most_workers, at_work + len(self._queue)))
            self._hand_out()
            self._poll()
            self._enforce_deadlines()
        return [self._done[location] for location in self._locations]

    def _hand_out(self) -> None:
        """Give each idle worker the longest scene whose time has come."""
        for worker in self._pool.idle():
            item = self._queue.take(time.monotonic())
            if item is None:
                return
            self._pool.start_scene(worker, item, self._execution.scene_deadline_s)

    def _poll(self) -> None:
        for heard in self._pool.poll(self._listener.on_stage):
            if heard.item is None:
                self._hear_start(heard.worker, heard.value)
            else:
                self._hear_scene(heard.worker, heard.item, heard.value)

    def _hear_start(self, worker: Worker, found: object) -> None:
        if not isinstance(found, Lift3dError):
            self._failed_starts = 0
            if found != version("lift3d"):
                # Both sides pickle to one another: refused before any scene rather than wrong in the middle of one.
                raise ConfigError(
                    f"A worker has lift3d {found} and this process {version('lift3d')}. Use one image for both."
                )
            return
        self._pool.drop(worker)
        # A machine that was taken away says nothing about what is installed on it.
        self._failed_starts += not isinstance(found, PreemptedError)
        if found.disposition == "abort":
            raise found
        if self._failed_starts >= self._execution.attempts:
            raise WorkerLostError(
                f"{self._failed_starts} workers in a row died before their first scene. Check that lift3d is "
                f"installed on every node of the cluster. The last one: {found}"
            ) from found

    def _hear_scene(self, worker: Worker, item: Item, found: SceneRecord | Lift3dError) -> None:
        error = found if isinstance(found, Lift3dError) else None
        if isinstance(error, WorkerError):
            self._pool.drop(worker)  # it must not be used again
        if item.shard is not None and (error is None or error.disposition != "abort"):
            self._queue.finish_shard(item)
        elif isinstance(found, Lift3dError):
            self._settle(item, found)
        else:
            # A scene that an earlier run gave up says nothing about this one.
            self._finish(item, found, is_news=not found.is_quarantined)

    def _settle(self, item: Item, error: Lift3dError) -> None:
        """Do with a failed scene what the policy says."""
        tries = self._queue.count_failure(item, budget_of(error)) if error.disposition == "retry" else 1
        decision = decide(error, tries, self._execution.attempts)
        if decision.action == "abort":
            raise error
        if decision.action == "retry":
            item.not_before = time.monotonic() + decision.wait_s
            self._queue.put(item)
            return
        tried = f" (tried {tries} times)" if tries > 1 else ""
        self._record_failure(item, error.reason, f"{error}{tried}", is_quarantined=isinstance(error, WorkerError))

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for worker in [one for one in self._pool.workers if one.item is not None]:
            item, limit, silence = worker.item, self._execution.scene_deadline_s, self._execution.heartbeat_s
            if item is None or (worker.deadline > now and worker.heard_at + silence > now):
                continue
            self._pool.drop(worker)
            if item.shard is not None:
                self._queue.finish_shard(item)
                continue
            if worker.deadline <= now:
                message = (
                    f"The scene took longer than --scene-deadline-s {limit:g} s and its worker was stopped. "
                    "What it committed stays; raise the deadline and run again with --retry-quarantined."
                )
                self._record_failure(item, "deadline", message, is_quarantined=True)
                continue
            silent = f"A worker finished nothing for --heartbeat-s {silence:g} s and was stopped."
            self._settle(item, WorkerLostError(f"{silent} Raise it if one view may take so long."))
        if any(worker.is_placed for worker in self._pool.workers):
            self._worker_by = now + _WORKER_WITHIN_S
        elif now > self._worker_by:
            raise ResourcePromiseError(
                f"Ray found no place for a worker in {_WORKER_WITHIN_S:g} s: needed are "
                f"{self._execution.cpus_per_worker:g} CPU and {self._execution.gpus_per_worker:g} GPU, the "
                f"cluster has {ray.cluster_resources()}. Lower what a worker reserves, or add a node; "
                "what is committed stays."
            )

    def _record_failure(self, item: Item, reason: str, message: str, is_quarantined: bool) -> None:
        record = replace(failed_record(item.location, reason, message), is_quarantined=is_quarantined)
        self._finish(item, write_record(self._pool.store, self._pool.recipe, record))

    def _finish(self, item: Item, record: SceneRecord, is_news: bool = True) -> None:
        self._done[item.location] = record
        self._listener.on_scene(record)
        if is_news:
            self._pool.breaker.record(record)
