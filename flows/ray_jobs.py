"""The thin supervisor of a Ray job: submit, attach, poll, stop. Holds no connection that a job could die of.

A job's id is run, batch and attempt, so whoever comes back (a retried task, a restarted flow, a second flow of
the same run) finds the job that is there: one at work is attached to, one that succeeded for this flow is
accepted, one that failed is followed by the next attempt.
"""

import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from ray.job_submission import JobStatus, JobSubmissionClient

from flows.batch_files import BatchFiles
from flows.progress import Listener, OnScene
from flows.retry_policy import translated_connection
from lift3d.config import Execution, Recipe
from lift3d.domain.keys import digest
from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError, Lift3dError, StoreUnavailableError, WorkerError, WorkerLostError
from lift3d.runs.circuit_breaker import CircuitBreaker
from lift3d.runs.driver import read_scene_record
from lift3d.storage.location import open_store

_POLL_S = 1.0
# A head that restarts with its state in Redis is back within minutes.
_SILENT_HEAD_S = 300.0
_RULES = ("attempts", "retry_quarantined", "scene_deadline_s", "heartbeat_s", "breaker_failures")
_AT_WORK = (JobStatus.PENDING, JobStatus.RUNNING)
_ENTRY = "python -m flows.batch_job {store} {run} {batch} {attempt}"
# Ray's own client waits for ever for a head that went without a word.
_REQUEST_S = 30.0


def is_jobs_address(address: str | None) -> bool:
    """Whether an address is that of Ray's Jobs API, as against a node's."""
    return address is not None and urlsplit(address).scheme in ("http", "https")


def job_prefix(run: str, store_url: str) -> str:
    """Return what the ids of all jobs of a run into a store begin with."""
    return f"lift3d-{run}-{digest(store_url)[:8]}-"


class _Client(JobSubmissionClient):
    """Ray's client, with a limit for every request."""

    def _do_request(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("timeout", _REQUEST_S)
        return super()._do_request(*args, **kwargs)


class JobSupervisor:
    """Runs batches as Ray jobs on the cluster of an address."""

    def __init__(self, recipe: Recipe, execution: Execution, began_at: float) -> None:
        """Connect.

        Args:
            recipe: What to compute; recorded in the store already.
            execution: Where and how; ``ray_address`` is that of the Jobs API.
            began_at: Unix seconds at which this flow began first; what succeeded since then is accepted.

        Raises:
            ConfigError: If there is no cluster at the address, it refuses, or has another version of Ray.
        """
        self._recipe = recipe
        self._execution = execution
        self._began_ms = began_at * 1000.0
        self._store = open_store(execution.store)
        # Of the run: the one in a job sees its own batch alone.
        self._breaker = CircuitBreaker(execution.breaker_failures)
        self._client = client_of(execution.ray_address)

    def run_batch(self, locations: Sequence[str], listener: Listener) -> list[SceneRecord]:
        """Run a batch to its end, whoever began it.

        Raises:
            Lift3dError: What concerned more than one scene, of the class that the job saw.
            WorkerLostError: If as many jobs as there are attempts ended without a word.
            BreakerError: If scenes of this batch and those before failed alike.
        """
        listener = Listener(self._counted(listener.on_scene), listener.on_stage)
        files = BatchFiles.of(self._store, self._recipe.run_id, locations)
        files.write_batch(locations, self._execution)
        told: set[str] = set()
        with _renewed_lease(files, self._execution.lease_s):
            self._run_attempts(files, listener, told)
        records = [read_scene_record(self._store, self._recipe, location) for location in locations]
        for record in records:
            # What came too late to be told on the way.
            if record.location not in told:
                listener.on_scene(record)
        return records

    def _counted(self, on_scene: OnScene) -> OnScene:
        def counted(record: SceneRecord) -> None:
            on_scene(record)
            # What an earlier run gave up says nothing about this one.
            if not record.is_quarantined:
                self._breaker.record(record)

        return counted

    def _run_attempts(self, files: BatchFiles, listener: Listener, told: set[str]) -> None:
        number, losses = self._first_attempt(files.batch), 0
        while True:
            status = self._follow(files, number, listener, told)
            error = files.read_end(number)
            if status is not JobStatus.SUCCEEDED and (error is None or status is JobStatus.STOPPED):
                # Whatever an end says that it cannot have written itself.
                error = WorkerLostError(f"Attempt {number} of batch {files.batch} was stopped or killed.")
            if error is None:
                return
            if not isinstance(error, WorkerError):
                raise error
            losses += 1
            if losses >= self._execution.attempts:
                raise WorkerLostError(
                    f"{losses} Ray jobs in a row did not reach their end, the last one is "
                    f"{self._id(files.batch, number)}: {error} What is committed stays; run again to go on."
                ) from error
            number += 1

    def _first_attempt(self, batch: str) -> int:
        """Return the attempt to attach to or to accept, else a new one."""
        number = 1
        while (found := self._find(self._id(batch, number))) is not None:
            is_new = (found.end_time or 0) >= self._began_ms
            if found.status in _AT_WORK or (found.status is JobStatus.SUCCEEDED and is_new):
                return number
            number += 1
        return number

    def _follow(self, files: BatchFiles, number: int, listener: Listener, told: set[str]) -> JobStatus:
        """Submit an attempt unless it is there, and poll it to its end."""
        name = self._id(files.batch, number)
        if self._find(name) is None:
            files.forget(number)
            self._submit(name, files, number)
        heard_at = time.monotonic()
        while True:
            status = self._status(name)
            if status is not None:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > _SILENT_HEAD_S:
                raise WorkerLostError(
                    f"The Ray cluster at {self._execution.ray_address} has been silent for {_SILENT_HEAD_S:g} s. "
                    "What is committed stays; run again when it is back."
                )
            self._tell(files, number, listener, told)
            if status is not None and status not in _AT_WORK:
                return status
            time.sleep(_POLL_S)

    def _submit(self, name: str, files: BatchFiles, number: int) -> None:
        store = shlex.quote(self._store.url)
        entry = _ENTRY.format(store=store, run=files.run, batch=files.batch, attempt=number)
        with translated_connection(self._execution.ray_address):
            try:
                # The driver of a batch moves records only: it needs no core of its own.
                self._client.submit_job(entrypoint=entry, submission_id=name, entrypoint_num_cpus=0)
            except (RuntimeError, OSError):
                # Another was faster, or the answer to our own was lost: the job that is there is the one.
                if self._find(name) is None:
                    raise

    def _tell(self, files: BatchFiles, number: int, listener: Listener, told: set[str]) -> None:
        """Pass on what the job wrote down since the last look."""
        try:
            progress = files.read_progress(number)
            for location in progress["finished"]:
                if location not in told:
                    listener.on_scene(read_scene_record(self._store, self._recipe, location))
                    told.add(location)
        except StoreUnavailableError:
            return  # only news are late
        for location, (stage, done, total) in progress["at_work"].items():
            listener.on_stage(location, stage, done, total)

    def _find(self, name: str) -> Any:
        """Return a job, or None if the cluster knows none of that name; a head that restarts is waited for."""
        until = time.monotonic() + _SILENT_HEAD_S
        with translated_connection(self._execution.ray_address):
            while True:
                try:
                    return self._client.get_job_info(name)
                except (RuntimeError, OSError) as error:
                    if _is_unknown(error):
                        return None
                    if time.monotonic() > until:
                        raise
                time.sleep(_POLL_S)

    def _status(self, name: str) -> JobStatus | None:
        """Return a job's status; None while the cluster does not answer."""
        try:
            return self._client.get_job_status(name)
        except RuntimeError as error:
            # A head that came back without its memory: the job is gone with it.
            return JobStatus.FAILED if _is_unknown(error) else None
        except OSError:
            return None

    def _id(self, batch: str, number: int) -> str:
        # A request with other rules for what is tried again is not answered by a job that had the old ones.
        rules = digest(self._execution.model_dump(mode="json", include=set(_RULES)))[:6]
        return f"{job_prefix(self._recipe.run_id, self._store.url)}{batch}-{rules}-{number}"


@contextmanager
def _renewed_lease(files: BatchFiles, lease_s: float) -> Iterator[None]:
    """Renew a batch's lease during the block, from a thread of its own: the block may be held up for longer."""
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(lease_s / 6):
            # A store that does not answer for so long ends the job, which could not commit either.
            with suppress(StoreUnavailableError):
                files.renew_lease()

    files.renew_lease()
    threading.Thread(target=renew, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def client_of(address: str | None) -> JobSubmissionClient:
    """Connect to a Jobs API.

    Raises:
        ConfigError: If it is not there, refuses, or is of another version of Ray.
    """
    with translated_connection(address):
        client = _Client(address)
        # Its get_version is that of the API; the cluster's own it keeps from the first answer.
        theirs, ours = str(getattr(client, "_server_ray_version", _own_version())), _own_version()
    # Drivers and workers pickle to one another: Ray itself refuses other versions, only much later and thrice.
    if _minor(theirs) != _minor(ours):
        raise ConfigError(
            f"The cluster at {address} runs Ray {theirs} and this process {ours}. Use one image for both, "
            "or install the cluster's version here."
        )
    return client


def stop_jobs(address: str, prefix: str) -> list[str]:
    """Stop every job at work whose id begins so, and return their ids."""
    client = client_of(address)
    names = [
        job.submission_id
        for job in client.list_jobs()
        if job.submission_id and job.submission_id.startswith(prefix) and job.status in _AT_WORK
    ]
    for name in names:
        client.stop_job(name)
    return names


@contextmanager
def stopped_on_error(address: str, prefix: str) -> Iterator[None]:
    """Stop the jobs of a run when the block is left by anything but its end: nobody would wait for them."""
    try:
        yield
    except BaseException:
        # Where the cluster cannot be reached, their lease ends them; the error that is on its way says more.
        with suppress(Lift3dError):
            stop_jobs(address, prefix)
        raise


def _is_unknown(error: Exception) -> bool:
    return "status code 404" in str(error)


def _own_version() -> str:
    import ray

    return str(ray.__version__)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
