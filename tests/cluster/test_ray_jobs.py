"""A run that is handed to a real Ray cluster as a job, from outside, as infra/README.md says it."""

import subprocess
import sys

import pytest

from lift3d.config import Execution, Recipe
from lift3d.runs.driver import run_serially
from lift3d.runs.records import read_run
from lift3d.storage.location import open_store
from tests.support.isolation import wait
from tests.support.ray_nodes import RayCluster, ray_cluster
from tests.support.store_content import committed_content

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

# Long enough to be met at work: a second at least, of which nothing depends on the machine.
SHORT, LONG = "procedural:room?seed=0&views=3&height=24&width=32", "procedural:room?seed=9&views=64&height=96&width=128"


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster(with_jobs=True) as running:
        yield running


@pytest.mark.slow
@pytest.mark.fault(20, "the job of a run is stopped from outside")
@pytest.mark.fault(18, "the driver is ended by Ray in the middle of a scene")
def test_a_stopped_job_leaves_no_worker_within_a_minute_and_the_same_command_completes_the_store(cluster, tmp_path):
    fields = {"operators": ("rgb",), "lifters": ("plane_sweep",), "image_height": 24, "target_mode": "heldout"}
    recipe = Recipe(scenes=(SHORT, LONG), sources=2, **fields)
    serial, store = (str(tmp_path / name) for name in ("serial", "store"))
    run_serially(recipe, Execution(store=serial))
    _job(cluster, "submit", "--no-wait", "--submission-id", "first", "--", *_command(recipe, store))
    wait(lambda: bool(cluster.head.worker_pids()))
    _job(cluster, "stop", "--no-wait", "first")
    wait(lambda: not cluster.head.worker_pids(), seconds=60)
    said = _job(cluster, "submit", "--", *_command(recipe, store))
    assert "succeeded" in said
    assert [record.outcome for record in read_run(open_store(store), recipe.run_id)[1]] == ["ok", "ok"]
    assert committed_content(open_store(store)) == committed_content(open_store(serial))


def _command(recipe: Recipe, store: str) -> list[str]:
    fields = {"image-height": recipe.image_height, "sources": recipe.sources, "target-mode": recipe.target_mode}
    options = [part for name, value in fields.items() for part in (f"--{name}", str(value))]
    return [
        *("python", "-m", "lift3d", "run", *recipe.scenes, "--store", store, "--lifter", *recipe.lifters, *options),
        *(part for name in recipe.operators for part in ("--operator", name)),
        *("--ray-address", "auto", "--workers", "1", "--keep-features"),
    ]


def _job(cluster: RayCluster, verb: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", verb, "--address", cluster.jobs_address, *arguments]
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
