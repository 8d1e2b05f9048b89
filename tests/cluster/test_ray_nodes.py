"""A run on a cluster of two nodes whose parts die: what is left goes on, and nothing differs in the end."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lift3d.config import Execution
from lift3d.storage.location import Store, open_store
from tests.support.disturbed import HELD, OPEN, start
from tests.support.isolation import wait
from tests.support.ray_nodes import Node, RayCluster, ray_cluster
from tests.support.runs import ROOM, run_into, small_recipe
from tests.support.store_content import committed_content

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

RECIPE = small_recipe(scenes=[f"{ROOM}&seed={seed}" for seed in range(6)], operators=["rgb"], sources=8)


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("serial") / "store")
    assert {record.outcome for record in run_into(url, RECIPE)} == {"ok"}
    return open_store(url)


@pytest.mark.slow
@pytest.mark.fault(18, "SIGKILL of the driver while both nodes are at work")
def test_a_killed_driver_takes_its_workers_along_and_the_next_run_completes_the_store(cluster, serial, tmp_path):
    store, gate = open_store(str(tmp_path / "store"), create=True), _gate(tmp_path)
    with cluster.node() as node:
        with _driver(cluster, store, gate) as driver:
            wait(lambda: _is_held(gate, node) and _is_held(gate, cluster.head))
        wait(lambda: not node.worker_pids() and not cluster.head.worker_pids())
        assert 0 < len(committed_content(store)) < len(committed_content(serial))
        (gate / OPEN).touch()
        with _driver(cluster, store, gate) as driver:
            assert _outcomes(driver) == ["ok"] * len(RECIPE.scenes)
    assert committed_content(store) == committed_content(serial)


@pytest.mark.fault(17, "SIGKILL of a whole node while both are at work")
@pytest.mark.fault(1, "SIGKILL of a node with its worker in the middle of a scene")
def test_a_killed_node_costs_its_scene_one_more_try_and_the_rest_nothing(cluster, serial, tmp_path):
    store, gate = open_store(str(tmp_path / "store"), create=True), _gate(tmp_path)
    with cluster.node() as node, _driver(cluster, store, gate) as driver:
        wait(lambda: _is_held(gate, node) and _is_held(gate, cluster.head))
        node.kill()
        (gate / OPEN).touch()
        assert _outcomes(driver) == ["ok"] * len(RECIPE.scenes)
    assert committed_content(store) == committed_content(serial)


def _gate(tmp_path: Path) -> Path:
    gate = tmp_path / "gate"
    gate.mkdir()
    return gate


def _is_held(gate: Path, node: Node) -> bool:
    return any((gate / HELD.format(pid)).exists() for pid in node.worker_pids())


@contextmanager
def _driver(cluster: RayCluster, store: Store, gate: Path) -> Iterator[subprocess.Popen[str]]:
    # Features are kept as in a serial run, so that the stores are equal.
    execution = Execution(store=store.url, ray_address=cluster.address, workers=2, keep_features=True)
    with start("run", RECIPE, execution, gate, cluster.environment) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def _outcomes(driver: subprocess.Popen[str]) -> list[str]:
    output, errors = driver.communicate(timeout=180)
    assert driver.returncode == 0, errors
    outcomes: list[str] = json.loads(output.splitlines()[-1])  # Ray prints above it
    return outcomes
