"""infra/prefect/zombies.yaml on a real server, with shorter times than there."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import yaml

from lift3d.config import Execution, Recipe
from lift3d.runs.driver import run_serially
from lift3d.storage.location import open_store
from tests.infra import infra_files
from tests.infra.infra_files import ROOT
from tests.support.prefect_server import PrefectServer, prefect_server
from tests.support.store_content import committed_content

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

# The shortest that Prefect takes: of windows, and of the time between two heartbeats.
SHORTEST_WINDOW_S, SHORTEST_HEARTBEAT_S = 10, 30
RECIPE = Recipe(
    scenes=tuple(f"procedural:room?seed={seed}&views=4&height=48&width=64" for seed in range(4)),
    lifters=("nearest_view",),
    image_height=48,
    target_mode="heldout",
)
FLOW = f"""
import sys
from flows.lift_scenes import lift_scenes
lift_scenes({RECIPE.model_dump()}, dict(store=sys.argv[1], workers=1))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    settings = {
        "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(SHORTEST_HEARTBEAT_S),
    }
    with prefect_server(tmp_path_factory.mktemp("home"), ROOT, **settings) as running:
        yield running


@pytest.mark.slow
@pytest.mark.fault(21, "a run that is Running, with no process and so no heartbeat behind it")
def test_a_run_that_dies_before_its_first_heartbeat_is_crashed_and_one_that_has_ended_is_not(
    server: PrefectServer, tmp_path: Path
) -> None:
    with _automation(server, tmp_path, SHORTEST_WINDOW_S):
        ended, zombie = _new_run(server), _new_run(server)
        _set_state(server, ended, "RUNNING")
        _set_state(server, ended, "COMPLETED")
        # It was on its way when the run ended, and arms the trigger again: for this run, too, it fires.
        _heartbeat(server, ended)
        _set_state(server, zombie, "RUNNING")
        server.wait(lambda: _state(server, zombie) == "CRASHED")
        assert "No heartbeat" in server.ask(f"/flow_runs/{zombie}")["state"]["message"]
        server.wait(lambda: _count_fired(server, ended) > 0)
        assert _state(server, ended) == "COMPLETED"


@pytest.mark.slow
@pytest.mark.fault(18, "SIGKILL of the flow's process and all below it, half-way through its scenes")
def test_a_killed_driver_is_crashed_and_the_next_run_goes_on_from_what_is_committed(
    server: PrefectServer, tmp_path: Path
) -> None:
    serial, store = (open_store(str(tmp_path / name), create=True) for name in ("serial", "store"))
    run_serially(RECIPE, Execution(store=serial.url))
    whole = committed_content(serial)
    with _automation(server, tmp_path, SHORTEST_HEARTBEAT_S + SHORTEST_WINDOW_S + 5):
        with _driver(server, store.url) as driver:
            server.wait(lambda: driver.poll() is not None or len(committed_content(store)) > 0)
            (killed,) = server.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})
            _kill_with_children(driver.pid)
        assert 0 < len(committed_content(store)) < len(whole)
        with _driver(server, store.url) as driver:
            assert driver.wait(timeout=120) == 0
        assert committed_content(store) == whole
        server.wait(lambda: _state(server, killed["id"]) == "CRASHED")
    states = [run["state"]["type"] for run in server.ask("/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 2})]
    assert states == ["COMPLETED", "CRASHED"]


@contextmanager
def _automation(server: PrefectServer, folder: Path, window_s: int) -> Iterator[None]:
    """Have the automation of the file during the block, with another window."""
    automations = infra_files.load("prefect/zombies.yaml")
    (automation,) = automations["automations"]
    automation["trigger"]["within"] = window_s
    (folder / "zombies.yaml").write_text(yaml.safe_dump(automations))
    server.succeeds("automation", "create", "--from-file", str(folder / "zombies.yaml"))
    try:
        yield
    finally:
        server.succeeds("--no-prompt", "automation", "delete", automation["name"])


@contextmanager
def _driver(server: PrefectServer, store: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the flow in a process of its own; what is left of it at the end of the block is killed."""
    with subprocess.Popen([sys.executable, "-c", FLOW, store], cwd=ROOT, env=server.environment) as driver:
        try:
            yield driver
        finally:
            _kill_with_children(driver.pid)


def _count_fired(server: PrefectServer, run: str) -> int:
    """Return how often an action was tried for a run, and failed since the server refused it."""
    names = {"name": ["prefect.automation.action.failed"]}
    found = server.ask("/events/filter", {"filter": {"event": names}})["events"]
    return sum(f"prefect.flow-run.{run}" in json.dumps(event) for event in found)


def _new_run(server: PrefectServer) -> str:
    flow = server.ask("/flows/", {"name": "lift-scenes"})
    return str(server.ask("/flow_runs/", {"flow_id": flow["id"], "state": {"type": "PENDING"}})["id"])


def _set_state(server: PrefectServer, run: str, state: str) -> None:
    answer = server.ask(f"/flow_runs/{run}/set_state", {"state": {"type": state, "name": state.capitalize()}})
    assert answer["status"] == "ACCEPT", answer


def _state(server: PrefectServer, run: str) -> str:
    return str(server.ask(f"/flow_runs/{run}")["state"]["type"])


def _heartbeat(server: PrefectServer, run: str) -> None:
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
    }
    server.ask("/events", [event])


def _kill_with_children(pid: int) -> None:
    """Kill a process and all below it, as a machine that loses its power does."""
    with suppress(psutil.NoSuchProcess):
        driver = psutil.Process(pid)
        for process in [*driver.children(recursive=True), driver]:
            process.kill()
