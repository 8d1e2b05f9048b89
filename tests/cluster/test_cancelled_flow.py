"""A flow run cancelled in Prefect leaves no worker on the Ray cluster that it drives."""

import pytest

from tests.support.prefect_server import prefect_server
from tests.support.ray_nodes import ray_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

LONG = ("procedural:room?seed=9&views=96&height=96&width=128",)
# Longer than the test: it is not the lease that ends the workers.
LEASE_S = 3600.0


@pytest.mark.fault(20, "the flow run of a deployment is cancelled in Prefect")
def test_a_flow_cancelled_in_prefect_leaves_no_worker_within_a_minute(tmp_path):
    with ray_cluster() as cluster, prefect_server(tmp_path) as server:
        server.deploys()
        execution = {"store": str(tmp_path / "store"), "lease_s": LEASE_S, "workers": 1, "ray_address": cluster.address}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.environment["RAY_AUTH_TOKEN"]}
        with server.worker("lift3d", **token):
            server.runs("lift-scenes/default", recipe={"scenes": LONG}, execution=execution)
            server.wait(lambda: bool(cluster.head.worker_pids()), 180)
            (run,) = server.ask("/flow_runs/filter", {})
            server.succeeds("flow-run", "cancel", run["id"])
            server.wait(lambda: not cluster.head.worker_pids(), 60)
            server.wait(lambda: server.ask(f"/flow_runs/{run['id']}")["state"]["type"] == "CANCELLED", 60)
