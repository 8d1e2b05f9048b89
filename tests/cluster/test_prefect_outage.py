"""Prefect goes away in the middle of a run: the work goes on, and the store says what came of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from lift3d.config import Execution, Recipe
from lift3d.runs.driver import run_serially
from lift3d.runs.status import run_states
from lift3d.storage.location import open_store
from tests.support.disturbed import OPEN
from tests.support.prefect_server import PrefectServer, prefect_server
from tests.support.store_content import committed_content

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(
    scenes=tuple(f"procedural:room?seed={seed}&views=3&height=24&width=32" for seed in range(3)),
    lifters=("nearest_view",),
    image_height=24,
    target_mode="heldout",
)


@pytest.mark.slow
@pytest.mark.fault(19, "the Prefect server is stopped in the middle of a scene and does not come back")
def test_a_run_outlives_its_prefect_server(tmp_path: Path) -> None:
    run_serially(RECIPE, Execution(store=str(tmp_path / "serial")))
    store, gate = open_store(str(tmp_path / "store"), create=True), tmp_path / "gate"
    gate.mkdir()
    with prefect_server(tmp_path, ROOT, PREFECT_CLIENT_MAX_RETRIES="1") as server:
        flow = _flow(server, store.url, gate)
        server.wait(lambda: flow.poll() is not None or any(gate.glob("held-*")), 180)
    (gate / OPEN).touch()
    _, said = flow.communicate(timeout=200)
    assert committed_content(store) == committed_content(open_store(str(tmp_path / "serial"))), said
    (state,) = run_states(store.url)
    assert (state.committed, state.failed) == (len(RECIPE.scenes), ())


def _flow(server: PrefectServer, store: str, gate: Path) -> subprocess.Popen[str]:
    execution = Execution(store=store, workers=1)
    command = [sys.executable, "-m", "tests.support.disturbed", "flow", RECIPE.model_dump_json()]
    return subprocess.Popen(
        [*command, execution.model_dump_json(), str(gate)],
        cwd=ROOT,
        env={**server.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
