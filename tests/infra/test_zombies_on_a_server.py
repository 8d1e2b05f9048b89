"""infra/prefect/zombies.yaml on a real server, with a shorter time than there."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import yaml

from tests.infra import infra_files
from tests.support.prefect_server import PrefectServer, prefect_server

# The shortest that Prefect takes.
WINDOW_S = 10


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(400)
@pytest.mark.fault(21, "a run that is Running, with no process and so no heartbeat behind it")
def test_a_run_that_dies_before_its_first_heartbeat_is_crashed_and_one_that_has_ended_is_not(tmp_path):
    automations = infra_files.load("prefect/zombies.yaml")
    automations["automations"][0]["trigger"]["within"] = WINDOW_S
    (tmp_path / "zombies.yaml").write_text(yaml.safe_dump(automations))
    with prefect_server(tmp_path, PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY="PT1S") as server:
        server.succeeds("automation", "create", "--from-file", str(tmp_path / "zombies.yaml"))
        ended, zombie = _new_run(server), _new_run(server)
        _set_state(server, ended, "RUNNING")
        _set_state(server, ended, "COMPLETED")
        # It was on its way when the run ended, and arms the trigger again: for this run, too, it fires.
        _heartbeat(server, ended)
        _set_state(server, zombie, "RUNNING")
        server.wait(lambda: _state(server, zombie)["type"] == "CRASHED")
        assert "No heartbeat" in _state(server, zombie)["message"]
        server.wait(lambda: _count_fired(server, ended) > 0)
        assert _state(server, ended)["type"] == "COMPLETED"


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


def _state(server: PrefectServer, run: str) -> dict[str, str]:
    state: dict[str, str] = server.ask(f"/flow_runs/{run}")["state"]
    return state


def _heartbeat(server: PrefectServer, run: str) -> None:
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
    }
    server.ask("/events", [event])
