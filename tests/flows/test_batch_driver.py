"""Truths of the driver, with scenes whose location says what happens to them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flows import batch_driver
from flows.batch_driver import run_batch
from flows.progress import Listener
from lift3d.config import Execution, Recipe
from lift3d.errors import ConfigError, UnknownNameError
from lift3d.runs import scene_record_path
from lift3d.storage.location import Store, open_store
from tests.support.scene_fakes import prepare_fakes, prepare_nothing, tries_of, workers_of

SCENES = (
    "slow:1",
    "killed:2",
    "ok:3",
    "missing:4",
    "memory:5",
    "unavailable-once:6",
    "sleep:7",
    "ok:8",
)


@dataclass
class Mixed:
    """One batch in which everything happens: starting workers is what costs."""

    store: Store
    recipe: Recipe
    manifests: dict[str, Any] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    stages: set[tuple[object, ...]] = field(default_factory=set)


@pytest.fixture(scope="module")
def mixed(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    url = str(tmp_path_factory.mktemp("mixed") / "store")
    recipe = Recipe(scenes=SCENES)
    # Three workers where the cluster has room for two: the third waits and must hold nobody up.
    execution = Execution(store=url, workers=3, attempts=2, scene_deadline_s=4.0)
    found = Mixed(open_store(url, create=True), recipe)
    listener = Listener(
        on_scene=lambda manifest: found.told.append(manifest["location"]),
        on_stage=lambda *stage: found.stages.add(stage),
    )
    manifests = run_batch(SCENES, recipe, execution, listener, prepare_fakes)
    found.order = [manifest["location"] for manifest in manifests]
    found.manifests = {manifest["location"]: manifest for manifest in manifests}
    return found


def test_manifests_come_in_the_order_of_the_recipe_and_are_told_once_each(mixed: Mixed) -> None:
    assert mixed.order == list(SCENES)
    assert sorted(mixed.told) == sorted(SCENES)


@pytest.mark.usefixtures("ray_here")
def test_models_are_kept_from_scene_to_scene(tmp_path: Path) -> None:
    manifests = _run(tmp_path, scenes=("ok:a", "ok:b"))
    assert len({manifest["worker"] for manifest in manifests}) == 1


def test_stages_of_scenes_at_work_are_told(mixed: Mixed) -> None:
    assert ("slow:1", "fake", 1, 2) in mixed.stages


def test_a_scene_that_always_loses_its_worker_is_given_up(mixed: Mixed) -> None:
    assert mixed.manifests["killed:2"]["reason"].startswith("worker-lost: ")
    assert tries_of(mixed.store, "killed:2") == 2


def test_a_deadline_stops_the_worker(mixed: Mixed) -> None:
    assert mixed.manifests["sleep:7"]["reason"].startswith("deadline: ")
    assert tries_of(mixed.store, "sleep:7") == 1


def test_memory_that_does_not_suffice_is_tried_once_more_on_a_fresh_worker(mixed: Mixed) -> None:
    assert mixed.manifests["memory:5"]["reason"].startswith("out-of-memory: ")
    assert tries_of(mixed.store, "memory:5") == len(workers_of(mixed.store, "memory:5")) == 2


def test_a_store_that_comes_back_is_waited_for(mixed: Mixed) -> None:
    assert mixed.manifests["unavailable-once:6"]["outcome"] == "ok"


def test_the_rest_is_done_whatever_fails(mixed: Mixed) -> None:
    failed = {name for name, manifest in mixed.manifests.items() if manifest["outcome"] == "failed"}
    assert failed == {"killed:2", "missing:4", "memory:5", "sleep:7"}


def test_what_the_driver_gave_up_is_recorded_in_the_store(mixed: Mixed) -> None:
    for location in ("killed:2", "missing:4", "memory:5", "sleep:7"):
        recorded = json.loads(mixed.store.read_bytes(scene_record_path(mixed.recipe, location)))
        assert recorded == mixed.manifests[location]


@pytest.mark.usefixtures("ray_here")
def test_what_concerns_all_scenes_ends_the_run_with_its_own_class_and_ids(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'rgb'") as caught:
        _run(tmp_path, prepare=prepare_nothing)
    assert type(caught.value) is UnknownNameError
    assert caught.value.operator == "rbg"
    assert "ray::" not in str(caught.value)
    assert "scene_fakes.py" in str(caught.value.__cause__)


@pytest.mark.usefixtures("ray_here")
def test_a_cluster_without_room_is_an_error_not_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_driver, "_FIRST_WORKER_WITHIN_S", 1.0)
    with pytest.raises(ConfigError, match="no place for a worker"):
        _run(tmp_path, cpus_per_worker=1000.0)


def test_a_store_of_one_process_is_refused() -> None:
    recipe = Recipe(scenes=("ok:a",))
    with pytest.raises(ConfigError, match="--serial"):
        run_batch(recipe.scenes, recipe, Execution(store="memory://driver"), prepare=prepare_fakes)


def _run(
    tmp_path: Path, prepare: Any = prepare_fakes, scenes: tuple[str, ...] = ("ok:a",), **fields: Any
) -> list[dict[str, Any]]:
    recipe = Recipe(scenes=scenes, operators=("rbg",))
    execution = Execution(store=str(tmp_path / "store"), workers=1, **fields)
    return run_batch(recipe.scenes, recipe, execution, prepare=prepare)
