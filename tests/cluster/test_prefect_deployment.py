"""The deployment of prefect.yaml on a real Prefect server with a process worker, as infra/README.md says it."""

import json
import os
import urllib.error

import pytest

from tests.support.prefect_server import PrefectServer, prefect_server
from tests.support.runs import rows_of, tiny_rooms

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

# As infra/prefect/compose.yaml has it.
PASSWORD = "lift3d:of-the-tests"
PROTECTED = {
    "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
    "PREFECT_API_AUTH_STRING": PASSWORD,
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
}
RECIPE = tiny_rooms(2, lifters=["plane_sweep", "anchored"])


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    with prefect_server(tmp_path_factory.mktemp("home"), **PROTECTED) as server:
        server.deploys()
        yield server


def test_the_nightly_schedule_is_there_and_off(deployed):
    shown = json.loads(deployed.succeeds("deployment", "inspect", "lift-scenes/default", "--output", "json"))
    assert [schedule["active"] for schedule in shown["schedules"]] == [False]
    assert shown["concurrency_options"]["grace_period_seconds"] == 3600


def test_who_has_no_password_gets_nothing_but_the_health(deployed):
    assert deployed.ask("/health") is True
    with pytest.raises(urllib.error.HTTPError, match="401"):
        deployed.ask("/admin/version")
    # What a page of another site would send, from the browser of somebody who is logged in.
    with pytest.raises(urllib.error.HTTPError, match="403"):
        deployed.ask("/flow_runs/filter", {})


def test_a_deployment_run_leaves_its_table_in_the_store(deployed, tmp_path):
    _run(deployed, str(tmp_path / "store"))


@pytest.mark.slow
def test_a_deployment_run_into_a_real_object_store(deployed, swift_server, monkeypatch):
    swift_server.use(monkeypatch)
    store = f"s3://{swift_server.new_bucket()}/deployment"
    _run(deployed, store, **{name: value for name, value in os.environ.items() if name.startswith("AWS_")})


def _run(server: PrefectServer, store: str, **credentials: str) -> None:
    execution = {"store": store, "workers": 1}
    with server.worker("lift3d", **credentials):
        server.runs("lift-scenes/default", "--watch", recipe=RECIPE.model_dump(), execution=execution)
    rows = rows_of(store, RECIPE)
    assert set(rows["lifter"]) == {"raw2d", "plane_sweep", "anchored"}
    assert rows["scene"].nunique() == len(RECIPE.scenes)
