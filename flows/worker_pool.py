"""The actors of a run: started once, kept from batch to batch, replaced when they die, ended by their lease."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray

from flows.progress import OnStage, no_stage
from flows.ray_cluster import worker_count, worker_memory
from flows.retry_policy import fetch
from flows.scene_queue import Item, size_hint
from flows.scene_workers import Prepare, actor_factory, prepare_scenes
from lift3d.config import Execution, Recipe
from lift3d.errors import ConfigError, Lift3dError
from lift3d.runs.failures import CircuitBreaker
from lift3d.storage.location import Store, open_store

# Every shard decodes all views: with more, decoding would be most of the work.
MOST_SHARDS = 16
_POLL_S = 0.5
_STATUS_EVERY_S = 1.0
# Often enough that one lost answer does not end a lease or pass for silence.
_ASKS_PER_LEASE = 6.0


@dataclass(slots=True, eq=False)
class Worker:
    """An actor, the call it is busy with (none when idle), and the scene of that call (none while it starts).

    ``deadline`` and ``heard_at``, on the monotonic clock, say when the scene's time is up and when it last finished
    something; ``is_placed`` that the actor has found a node and answered.
    """

    actor: Any
    call: Any = None
    item: Item | None = None
    deadline: float = math.inf
    heard_at: float = math.inf
    is_placed: bool = False
    status_call: Any = None
    status_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker's call for a scene (None: its start) gave: a value, or the error of ours that its failure means."""

    worker: Worker
    item: Item | None
    value: Any


class WorkerPool:
    """Workers of one recipe. As a context manager it kills them at the end.

    Every worker is asked how far it is, several times within its lease: that renews the lease, and tells one that
    is at work from one that hangs.
    """

    def __init__(self, recipe: Recipe, execution: Execution, prepare: Prepare = prepare_scenes) -> None:
        self.recipe = recipe
        self.execution = execution
        self.store: Store = open_store(execution.store, create=True)
        if self.store.url.startswith("memory:"):
            raise ConfigError(
                f"The store '{self.store.url}' lives in one process and workers are several. Give a folder or "
                "s3://, or run with --serial."
            )
        self.workers: list[Worker] = []
        # Of the run, not of a batch: twenty failures may be spread over many small ones.
        self.breaker = CircuitBreaker(execution.breaker_failures)
        is_split = any(size_hint(one) > execution.split_views for one in recipe.scenes[:MOST_SHARDS])
        self.most_workers = worker_count(execution, max(len(recipe.scenes), MOST_SHARDS * is_split))
        share = worker_memory(execution, self.most_workers)
        within = execution.model_copy(update={"memory_allowance_bytes": share})
        self._make_actor = actor_factory(recipe, within, self.store, prepare)
        self._ask_every_s = min(execution.lease_s, execution.heartbeat_s) / _ASKS_PER_LEASE
        self._is_over = threading.Event()

    def __enter__(self) -> "WorkerPool":
        # A thread of its own: the driver may be held up by the store or by Prefect for longer than a lease.
        threading.Thread(target=self._renew_leases, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        while self.workers:
            self.drop(self.workers[-1])

    def grow(self, count: int) -> None:
        """Start workers until there are so many."""
        while len(self.workers) < count:
            actor = self._make_actor()
            self.workers.append(Worker(actor, call=actor.ready.remote()))

    def drop(self, worker: Worker) -> None:
        """Kill a worker; what it has not committed is as if it had never been."""
        self.workers.remove(worker)
        ray.kill(worker.actor, no_restart=True)

    def abandon_scenes(self) -> None:
        """Kill the workers that are at work, for nobody waits for their scenes any more."""
        for worker in [one for one in self.workers if one.item is not None]:
            self.drop(worker)

    def idle(self) -> Iterator[Worker]:
        """Yield the workers that wait for a scene."""
        return (worker for worker in list(self.workers) if worker.is_placed and worker.call is None)

    def start_scene(self, worker: Worker, item: Item, within_s: float) -> None:
        """Give a worker a scene."""
        now = time.monotonic()
        worker.item, worker.deadline, worker.heard_at = item, now + within_s, now
        worker.call = worker.actor.run.remote(item.location, item.shard)
        worker.status_at = now + min(_STATUS_EVERY_S, self._ask_every_s)

    def poll(self, on_stage: OnStage) -> Iterator[Answer]:
        """Look at all calls, for half a second at most, yield what came back, and tell what scenes are doing."""
        self._ask(self._ask_every_s if on_stage is no_stage else _STATUS_EVERY_S)
        calls = {call: worker for worker in self.workers for call in (worker.call, worker.status_call) if call}
        if not calls:
            time.sleep(_POLL_S)
            return
        ready, _ = ray.wait(list(calls), num_returns=1, timeout=_POLL_S)
        if ready:
            # One may have been waited for; whatever else is there is taken along.
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for call in ready:
            worker = calls[call]
            if call is worker.status_call:
                self._hear_stage(worker, on_stage)
            else:
                yield self._hear_call(worker)

    def _renew_leases(self) -> None:
        while not self._is_over.wait(self._ask_every_s):
            for worker in [one for one in list(self.workers) if one.is_placed]:
                with suppress(ray.exceptions.RayError):
                    worker.actor.ready.remote()

    def _ask(self, every_s: float) -> None:
        now = time.monotonic()
        for worker in self.workers:
            if worker.is_placed and worker.status_call is None and worker.status_at <= now:
                worker.status_call = worker.actor.stage.remote()
                worker.status_at = now + min(every_s, self._ask_every_s)

    def _hear_stage(self, worker: Worker, on_stage: OnStage) -> None:
        found, worker.status_call = fetch(worker.status_call), None
        if isinstance(found, Lift3dError):
            # One at work is found out through its scene's call; an idle one must not be given a scene.
            if worker.item is None and worker in self.workers:
                self.drop(worker)
        elif worker.item is not None:
            stage, done, total, silent_s = found
            worker.heard_at = max(worker.heard_at, time.monotonic() - silent_s)
            on_stage(worker.item.location, stage, done, total)

    def _hear_call(self, worker: Worker) -> Answer:
        found, item = fetch(worker.call), worker.item
        worker.call, worker.item, worker.deadline, worker.heard_at = None, None, math.inf, math.inf
        if item is None and not isinstance(found, Lift3dError):
            worker.is_placed = True
        return Answer(worker, item, found)
