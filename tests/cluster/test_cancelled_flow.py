"""A flow run cancelled in Prefect leaves no worker on the Ray cluster that it drives."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.prefect_server import PrefectServer, prefect_server
from tests.support.ray_nodes import ray_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
LONG = ("procedural:room?seed=9&views=96&height=96&width=128",)
# Longer than the test: it is not the lease that ends the workers.
LEASE_S = 3600.0


@pytest.mark.fault(20, "the flow run of a deployment is cancelled in Prefect")
def test_a_flow_cancelled_in_prefect_leaves_no_worker_within_a_minute(tmp_path: Path) -> None:
    # Not below pytest's folder: the path of a socket has at most 107 characters.
    home = Path(tempfile.mkdtemp(prefix="ray-"))
    (tmp_path / "prefect").mkdir()
    execution = {"store": str(tmp_path / "store"), "lease_s": LEASE_S, "workers": 1}
    try:
        with ray_cluster(home, ROOT) as cluster, prefect_server(tmp_path / "prefect", ROOT) as server:
            _succeeds(server, "work-pool", "create", "lift3d", "--type", "process")
            _succeeds(server, "--no-prompt", "deploy", "--all")
            token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.environment["RAY_AUTH_TOKEN"]}
            with server.worker("lift3d", **token):
                parameters = {"recipe": {"scenes": LONG}, "execution": {**execution, "ray_address": cluster.address}}
                given = [
                    part for name, value in parameters.items() for part in ("--param", f"{name}={json.dumps(value)}")
                ]
                _succeeds(server, "deployment", "run", "lift-scenes/default", *given)
                _wait(lambda: bool(cluster.head.worker_pids()), server, 180)
                (run,) = server.ask("/flow_runs/filter", {})
                _succeeds(server, "flow-run", "cancel", run["id"])
                _wait(lambda: not cluster.head.worker_pids(), server, 60)
                _wait(lambda: server.ask(f"/flow_runs/{run['id']}")["state"]["type"] == "CANCELLED", server, 60)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _wait(condition: Callable[[], bool], server: PrefectServer, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, server.logs()
        time.sleep(0.5)


def _succeeds(server: PrefectServer, *arguments: str) -> str:
    done = server.prefect(*arguments, timeout_s=240)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.logs()}"
    return done.stdout
