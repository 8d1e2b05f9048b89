"""The deployment of prefect.yaml on a real Prefect server with a process worker, as infra/README.md says it."""

import json
import os
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from lift3d.config import Recipe
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store
from tests.support.prefect_server import PrefectServer, prefect_server
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
# As infra/prefect/compose.yaml has it.
PASSWORD = "lift3d:of-the-tests"
PROTECTED = {
    "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
    "PREFECT_API_AUTH_STRING": PASSWORD,
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
}
RECIPE = Recipe(
    scenes=tuple(f"procedural:room?seed={seed}&views=3&height=24&width=32" for seed in range(2)),
    lifters=("nearest_view", "depth_mean"),
    image_height=24,
    target_mode="heldout",
)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("home"), ROOT, **PROTECTED) as server:
        server.deploys()
        yield server


def test_the_nightly_schedule_is_there_and_off(deployed: PrefectServer) -> None:
    shown = json.loads(deployed.succeeds("deployment", "inspect", "lift-scenes/default", "--output", "json"))
    assert [schedule["active"] for schedule in shown["schedules"]] == [False]
    assert shown["concurrency_options"]["grace_period_seconds"] == 3600


def test_who_has_no_password_gets_nothing_but_the_health(deployed: PrefectServer) -> None:
    assert deployed.ask("/health") is True
    with pytest.raises(urllib.error.HTTPError, match="401"):
        deployed.ask("/admin/version")
    # What a page of another site would send, from the browser of somebody who is logged in.
    with pytest.raises(urllib.error.HTTPError, match="403"):
        deployed.ask("/flow_runs/filter", {})


def test_a_deployment_run_leaves_its_table_in_the_store(deployed: PrefectServer, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    with deployed.worker("lift3d"):
        _run(deployed, store)
    _check_table(store)


@pytest.mark.slow
def test_a_deployment_run_into_a_real_object_store(
    deployed: PrefectServer, swift_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    swift_server.use(monkeypatch)
    store = f"s3://{swift_server.new_bucket()}/deployment"
    credentials = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    with deployed.worker("lift3d", **credentials):
        _run(deployed, store)
    _check_table(store)


def _run(server: PrefectServer, store: str) -> None:
    execution = {"store": store, "workers": 1}
    server.runs("lift-scenes/default", "--watch", recipe=RECIPE.model_dump(), execution=execution)


def _check_table(store: str) -> None:
    table = run_table(open_store(store), RECIPE.run_id).frame
    assert set(table["lifter"]) == {"raw2d", "nearest_view", "depth_mean"}
    assert table["scene"].nunique() == len(RECIPE.scenes)
