"""Truths of the driver, with scenes whose location says what happens to them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from flows import batch_driver
from flows.batch_driver import run_batch
from flows.progress import Listener
from flows.scene_workers import actor_factory
from flows.worker_pool import WorkerPool
from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import BreakerError, ConfigError, UnknownNameError
from lift3d.runs.records import read_record
from lift3d.storage.location import open_store
from tests.support.scene_fakes import prepare_fakes, prepare_nothing, tries_of, workers_of

# Workers that die and start again by the dozen are the cluster's; one run on Ray stays with the rest.
pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here")]

SCENES = ("slow:1", "killed:2", "ok:3", "missing:4", "memory:5")
SCENES += ("unavailable-once:6", "sleep:7", "ok:8", "defect:9", "device:10")


@pytest.fixture(scope="module")
def mixed(ray_here, tmp_path_factory):
    """One batch in which everything happens: starting workers is what costs."""
    url = str(tmp_path_factory.mktemp("mixed") / "store")
    recipe = Recipe(scenes=SCENES)
    # Three workers where the cluster has room for two: the third waits and must hold nobody up.
    execution = Execution(store=url, workers=3, attempts=2, scene_deadline_s=4.0)
    found = SimpleNamespace(store=open_store(url, create=True), recipe=recipe, told=[], stages=set())
    listener = Listener(lambda record: found.told.append(record.location), lambda *stage: found.stages.add(stage))
    with WorkerPool(recipe, execution, prepare_fakes) as pool:
        records = run_batch(SCENES, pool, listener)
    found.records = {record.location: record for record in records}
    return found


def test_records_come_in_the_order_of_the_recipe_and_are_told_once_each_as_are_stages(mixed):
    assert list(mixed.records) == list(SCENES)
    assert sorted(mixed.told) == sorted(SCENES)
    assert ("slow:1", "fake", 1, 2) in mixed.stages


POISON = pytest.mark.fault(23, "scenes that kill their worker, run out of memory or time")
CRASH = pytest.mark.fault(15, "a process that kills itself, an error of CUDA")
MEMORY = pytest.mark.fault(13, "an operator that runs out of memory")
MONITOR = pytest.mark.fault(14, "a scene whose memory never suffices, counted as Ray's own monitor is")
DEFECT = pytest.mark.fault(30, "an operator that breaks its promise on one scene of many")


@pytest.mark.parametrize(
    ("location", "reason", "tries"),
    [
        pytest.param("killed:2", "worker-lost: ", 2, marks=[POISON, CRASH]),
        pytest.param("device:10", "worker-lost: ", 2, marks=[POISON, CRASH]),
        pytest.param("memory:5", "out-of-memory: ", 2, marks=[POISON, MEMORY, MONITOR]),
        pytest.param("sleep:7", "deadline: ", 1, marks=POISON),
        pytest.param("defect:9", "contract: Operator 'own' gives NaN for view 'v7'.", 1, marks=DEFECT),
    ],
)
def test_a_scene_that_fails_is_given_up_after_its_tries_each_on_a_fresh_worker(mixed, location, reason, tries):
    assert mixed.records[location].reason.startswith(reason)
    # What is merely wrong is tried again by the next run, poison is not.
    assert mixed.records[location].is_quarantined == (location != "defect:9")
    workers = workers_of(mixed.store, location)
    assert len(set(workers)) == len(workers) == tries


@pytest.mark.slow
@pytest.mark.fault(16, "a scene that sleeps for ever")
def test_a_scene_that_hangs_loses_its_worker_and_then_is_given_up(tmp_path):
    records = _run(tmp_path, scenes=("sleep:a", "ok:b"), heartbeat_s=2.0, attempts=2)
    assert records[0].reason.startswith("worker-lost: A worker finished nothing for --heartbeat-s 2 s")
    assert records[0].is_quarantined
    assert records[1].outcome == "ok"
    assert tries_of(open_store(str(tmp_path / "store")), "sleep:a") == 2


@pytest.mark.fault(22, "an operator with a defect")
def test_scenes_that_all_fail_alike_stop_the_run(tmp_path):
    scenes = tuple(f"defect:{number}" for number in range(9))
    with pytest.raises(BreakerError, match="3 of 3 finished scenes failed alike") as caught:
        _run(tmp_path, scenes=scenes, breaker_failures=3)
    assert "gives NaN for view 'v7'" in str(caught.value)
    store = open_store(str(tmp_path / "store"))
    assert sum(tries_of(store, location) for location in scenes) < len(scenes)


@pytest.mark.slow
def test_failures_are_remembered_from_driver_to_driver_until_told_otherwise(tmp_path):
    scenes = ("killed:a",)
    _run(tmp_path, scenes=scenes, attempts=1)
    store = open_store(str(tmp_path / "store"))
    _run(tmp_path, scenes=scenes, attempts=2)
    assert tries_of(store, "killed:a") == 2
    _run(tmp_path, scenes=scenes, attempts=2, retry_quarantined=True)
    assert tries_of(store, "killed:a") == 4


def test_workers_and_their_models_outlive_scenes_and_batches(tmp_path):
    recipe = Recipe(scenes=("ok:a", "ok:b", "ok:c"))
    execution = Execution(store=str(tmp_path / "store"), workers=1)
    with WorkerPool(recipe, execution, prepare_fakes) as pool:
        records = [*run_batch(recipe.scenes[:2], pool), *run_batch(recipe.scenes[2:], pool)]
    assert len({record.computed["worker"] for record in records}) == 1


@pytest.mark.slow
@pytest.mark.fault(1, "a driver that is gone: its workers hear nothing")
def test_a_worker_that_nobody_asks_ends_itself(tmp_path):
    recipe = Recipe(scenes=("sleep:a",))
    execution = Execution(store=str(tmp_path / "store"), workers=1, lease_s=2.0)
    store = open_store(execution.store, create=True)
    actor = actor_factory(recipe, execution, store, prepare_fakes)()
    ray.get(actor.ready.remote(), timeout=60)
    call = actor.run.remote("sleep:a")
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(call, timeout=30)


def test_the_rest_is_done_whatever_fails_and_what_the_driver_gave_up_is_recorded_in_the_store(mixed):
    done = {name for name, record in mixed.records.items() if record.outcome == "ok"}
    assert done == {"slow:1", "ok:3", "unavailable-once:6", "ok:8"}
    # Records of others are the workers'; those of this test write none.
    for location in set(SCENES) - done - {"defect:9"}:
        assert read_record(mixed.store, mixed.recipe.run_id, location) == mixed.records[location]


def test_what_concerns_all_scenes_ends_the_run_with_its_own_class_and_ids(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'rgb'") as caught:
        _run(tmp_path, prepare=prepare_nothing)
    assert type(caught.value) is UnknownNameError
    assert caught.value.operator == "rbg"
    assert "ray::" not in str(caught.value)
    assert "scene_fakes.py" in str(caught.value.__cause__)


@pytest.mark.fault(37, "a worker has another version of lift3d than its driver")
def test_a_worker_of_another_version_is_refused_before_any_scene(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_driver, "version", lambda package: "0.0.1")
    with pytest.raises(ConfigError, match=r"A worker has lift3d .* and this process 0\.0\.1"):
        _run(tmp_path)
    assert tries_of(open_store(str(tmp_path / "store")), "ok:a") == 0


def test_a_cluster_without_room_is_an_error_not_a_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_driver, "_WORKER_WITHIN_S", 1.0)
    with pytest.raises(ConfigError, match="no place for a worker"):
        _run(tmp_path, cpus_per_worker=1000.0)


def test_a_cluster_that_lost_its_room_in_mid_run_is_an_error_not_a_wait(tmp_path, monkeypatch):
    done: list[str] = []
    recipe = Recipe(scenes=("ok:a", "killed:b"), operators=("rbg",))
    execution = Execution(store=str(tmp_path / "store"), workers=1)
    with WorkerPool(recipe, execution, prepare_fakes) as pool:

        def told(record: SceneRecord) -> None:
            # From here on new workers ask for more than there is, as where the last machine is gone.
            done.append(record.location)
            monkeypatch.setattr(batch_driver, "_WORKER_WITHIN_S", 1.0)
            pool._make_actor = actor_factory(
                recipe, execution.model_copy(update={"cpus_per_worker": 1000.0}), pool.store, prepare_fakes
            )

        with pytest.raises(ConfigError, match="no place for a worker"):
            run_batch(recipe.scenes, pool, Listener(told))
    assert done == ["ok:a"]


def test_a_store_of_one_process_is_refused():
    recipe = Recipe(scenes=("ok:a",))
    with pytest.raises(ConfigError, match="--serial"):
        WorkerPool(recipe, Execution(store="memory://driver"), prepare_fakes)


def _run(
    tmp_path: Path, prepare: Any = prepare_fakes, scenes: tuple[str, ...] = ("ok:a",), **fields: Any
) -> list[dict[str, Any]]:
    recipe = Recipe(scenes=scenes, operators=("rbg",))
    execution = Execution(store=str(tmp_path / "store"), workers=1, **fields)
    with WorkerPool(recipe, execution, prepare) as pool:
        return run_batch(recipe.scenes, pool)
