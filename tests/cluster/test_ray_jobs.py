"""Batches as Ray jobs on a real cluster: whoever comes back finds the job that is there, whatever dies."""

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ray._private.authentication_test_utils import reset_auth_token_state

from flows.progress import Listener
from flows.ray_jobs import JobSupervisor, client_of, job_prefix, stop_jobs
from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError, WorkerLostError
from lift3d.runs.driver import begin_run, run_serially
from lift3d.storage.location import open_store
from tests.support.isolated_ray import isolated_environment
from tests.support.ray_nodes import RayCluster, ray_cluster
from tests.support.store_content import committed_content

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
SCENES = tuple(f"procedural:room?seed={seed}&views=3&height=24&width=32" for seed in range(2))
# Long enough to be met at work: a second at least, of which nothing depends on the machine.
LONG = ("procedural:room?seed=9&views=64&height=96&width=128",)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    # Not below pytest's folder: the path of a socket has at most 107 characters.
    home = Path(tempfile.mkdtemp(prefix="ray-"))
    try:
        with ray_cluster(home, ROOT, with_jobs=True) as running:
            token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": running.environment["RAY_AUTH_TOKEN"]}
            with isolated_environment(home, **token):
                # Ray reads the environment once per process, and this one may have used Ray before.
                reset_auth_token_state()
                yield running
            reset_auth_token_state()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_a_job_equals_the_serial_run_and_is_found_again(cluster: RayCluster, tmp_path: Path) -> None:
    recipe = _recipe(SCENES)
    run_serially(recipe, Execution(store=str(tmp_path / "serial")))
    told: list[str] = []
    supervisor = _supervisor(cluster, tmp_path, recipe, began_at=0.0)
    records = supervisor.run_batch(SCENES, Listener(lambda record: told.append(record.location)))
    assert [record.location for record in records] == list(SCENES)
    assert sorted(told) == sorted(SCENES)
    assert committed_content(_store(tmp_path)) == committed_content(open_store(str(tmp_path / "serial")))
    # The same flow accepts what succeeded; a later one looks again, and computes nothing.
    assert supervisor.run_batch(SCENES, Listener()) == records
    assert _attempts(cluster, tmp_path, recipe) == 1
    later = _supervisor(cluster, tmp_path, recipe, began_at=time.time()).run_batch(SCENES, Listener())
    assert {str(record.computed) for record in later} == {"{}"} or later == records
    assert _attempts(cluster, tmp_path, recipe) == 2


@pytest.mark.slow
@pytest.mark.fault(20, "the job is stopped, as the hook of a cancelled flow does it")
def test_a_stopped_job_leaves_no_worker_within_a_minute(cluster: RayCluster, tmp_path: Path) -> None:
    recipe = _recipe(LONG)
    run = _Running(_supervisor(cluster, tmp_path, recipe, attempts=1), LONG)
    _wait(lambda: bool(cluster.head.worker_pids()))
    began = time.monotonic()
    assert len(stop_jobs(cluster.jobs_address, job_prefix(recipe.run_id, _store(tmp_path).url))) == 1
    _wait(lambda: not cluster.head.worker_pids(), seconds=60 - (time.monotonic() - began))
    assert isinstance(run.end(), WorkerLostError)


@pytest.mark.slow
@pytest.mark.fault(18, "SIGKILL of the driver on the cluster")
@pytest.mark.fault(1, "SIGKILL of the driver and all its workers in the middle of a scene")
def test_a_killed_job_is_followed_by_the_next_attempt(cluster: RayCluster, tmp_path: Path) -> None:
    recipe = _recipe(LONG)
    run = _Running(_supervisor(cluster, tmp_path, recipe), LONG)
    _wait(lambda: bool(cluster.head.worker_pids()) and bool(_drivers()))
    for driver in _drivers():
        driver.send_signal(signal.SIGKILL)
    run.end()
    assert [record.outcome for record in run.records] == ["ok"]
    assert _attempts(cluster, tmp_path, recipe) == 2


@pytest.mark.slow
@pytest.mark.fault(18, "the supervisor is gone: nobody renews the lease")
def test_a_job_whose_supervisor_is_silent_ends_itself_and_the_next_one_goes_on(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(LONG)
    silent = _supervisor(cluster, tmp_path, recipe, lease_s=4.0, attempts=1)
    with monkeypatch.context() as patch:
        patch.setattr("flows.batch_files.BatchFiles.renew_lease", lambda files: None)
        run = _Running(silent, LONG)
        assert isinstance(run.end(), WorkerLostError)
    assert not cluster.head.worker_pids()


@pytest.mark.slow
@pytest.mark.fault(3, "two flows of one run at once")
def test_two_supervisors_share_one_job(cluster: RayCluster, tmp_path: Path) -> None:
    recipe = _recipe(SCENES)
    first = _Running(_supervisor(cluster, tmp_path, recipe, began_at=0.0), SCENES)
    _wait(lambda: _attempts(cluster, tmp_path, recipe) == 1)
    second = _Running(_supervisor(cluster, tmp_path, recipe, began_at=0.0), SCENES)
    assert (first.end(), second.end()) == (None, None)
    assert first.records == second.records
    assert _attempts(cluster, tmp_path, recipe) == 1


@pytest.mark.slow
@pytest.mark.fault(37, "the batch was written by another version of lift3d")
def test_a_cluster_with_another_protocol_refuses_before_any_scene(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.batch_files.PROTOCOL", 99)
    with pytest.raises(ConfigError, match="protocol 99 and this cluster speaks 1"):
        _supervisor(cluster, tmp_path, _recipe(SCENES)).run_batch(SCENES, Listener())


@pytest.mark.fault(37, "the cluster runs another Ray")
def test_another_ray_is_refused_at_once(cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.ray_jobs._own_version", lambda: "1.13.0")
    with pytest.raises(ConfigError, match=r"runs Ray .* and this process 1\.13\.0"):
        client_of(cluster.jobs_address)


def test_a_cluster_that_is_not_there_or_refuses_is_one_clear_error(
    cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="Cannot connect to Ray"):
        client_of("http://127.0.0.1:9")
    with monkeypatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", "f" * 64)
        reset_auth_token_state()
        with pytest.raises(ConfigError, match="RAY_AUTH"):
            client_of(cluster.jobs_address).list_jobs()
    reset_auth_token_state()


class _Running:
    """A supervisor at work in a thread."""

    def __init__(self, supervisor: JobSupervisor, scenes: tuple[str, ...]) -> None:
        self.records: list[SceneRecord] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(supervisor, scenes), daemon=True)
        self._thread.start()

    def end(self) -> Exception | None:
        self._thread.join(180)
        assert not self._thread.is_alive()
        return self._error

    def _run(self, supervisor: JobSupervisor, scenes: tuple[str, ...]) -> None:
        try:
            self.records = supervisor.run_batch(scenes, Listener())
        except Exception as error:
            self._error = error


def _recipe(scenes: tuple[str, ...]) -> Recipe:
    return Recipe(scenes=scenes, lifters=("nearest_view",), image_height=24, target_mode="heldout", sources=2)


def _store(tmp_path: Path) -> object:
    return open_store(str(tmp_path / "store"), create=True)


def _supervisor(
    cluster: RayCluster, tmp_path: Path, recipe: Recipe, began_at: float | None = None, **fields: object
) -> JobSupervisor:
    store = _store(tmp_path)
    begin_run(recipe, store)
    execution = Execution(store=store.url, ray_address=cluster.jobs_address, workers=1, **fields)
    return JobSupervisor(recipe, execution, time.time() if began_at is None else began_at)


def _attempts(cluster: RayCluster, tmp_path: Path, recipe: Recipe) -> int:
    prefix = job_prefix(recipe.run_id, _store(tmp_path).url)
    names = {job.submission_id for job in client_of(cluster.jobs_address).list_jobs()}
    return sum(name is not None and name.startswith(prefix) for name in names)


def _drivers() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (line := process.info["cmdline"] or []) and line[1:3] == ["-m", "flows.batch_job"]
    ]


def _wait(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "what the test waits for did not happen"
        time.sleep(0.2)
