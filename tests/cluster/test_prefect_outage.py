"""Prefect goes away in the middle of a run: the work goes on, and the store says what came of it."""

import pytest

from lift3d.config import Execution
from lift3d.runs.status import run_states
from lift3d.storage.location import open_store
from tests.support.disturbed import OPEN, start
from tests.support.prefect_server import prefect_server
from tests.support.runs import run_into, tiny_rooms
from tests.support.store_content import committed_content

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

RECIPE = tiny_rooms(3)


@pytest.mark.slow
@pytest.mark.fault(19, "the Prefect server is stopped in the middle of a scene and does not come back")
def test_a_run_outlives_its_prefect_server(tmp_path):
    run_into(str(tmp_path / "serial"), RECIPE)
    store, gate = open_store(str(tmp_path / "store"), create=True), tmp_path / "gate"
    gate.mkdir()
    with prefect_server(tmp_path, PREFECT_CLIENT_MAX_RETRIES="1") as server:
        # Features are kept as in a serial run, so that the stores are equal.
        execution = Execution(store=store.url, workers=1, keep_features=True)
        flow = start("flow", RECIPE, execution, gate, server.environment)
        server.wait(lambda: flow.poll() is not None or any(gate.glob("held-*")), 180)
    (gate / OPEN).touch()
    _, said = flow.communicate(timeout=200)
    assert committed_content(store) == committed_content(open_store(str(tmp_path / "serial"))), said
    (state,) = run_states(store.url)
    assert (state.committed, state.failed) == (len(RECIPE.scenes), ())
