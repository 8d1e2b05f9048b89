"""Who runs a batch: workers that this process drives, or a Ray job that it only looks after."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flows.batch_driver import run_batch
from flows.progress import Listener, Manifest
from flows.ray_cluster import connect
from flows.ray_jobs import JobSupervisor, is_jobs_address, job_prefix, stopped_on_error
from flows.scene_workers import Prepare, prepare_scenes
from flows.worker_pool import WorkerPool
from lift3d.config import Execution, Recipe
from lift3d.errors import ConfigError
from lift3d.storage.location import parse_url

BatchRunner = Callable[[Sequence[str], Listener], list[Manifest]]


@contextmanager
def batch_runner(
    recipe: Recipe, execution: Execution, began_at: float, prepare: Prepare | None = None
) -> Iterator[BatchRunner]:
    """Give the block what runs batches; everything that concerns all of them is found out before the first.

    Args:
        recipe: What to compute; recorded in the store already.
        execution: Where and how.
        began_at: Unix seconds at which the flow began first.
        prepare: What a worker builds before its first scene; the models of the recipe if None.

    Raises:
        ConfigError: If there is no cluster at the address, it refuses, or has another version.
    """
    address = execution.ray_address
    if address is None or not is_jobs_address(address):
        # The workers outlive a batch: models are built once per run.
        with connect(execution), WorkerPool(recipe, execution, prepare or prepare_scenes) as pool:
            yield lambda batch, listener: run_batch(batch, recipe, execution, listener, pool=pool)
        return
    if "://" not in parse_url(execution.store) and not execution.store.startswith("/"):
        raise ConfigError(
            f"The store '{execution.store}' is a relative path, which means another folder on the cluster. Give an "
            "absolute path that all machines see, or s3://."
        )
    supervisor = JobSupervisor(recipe, execution, began_at)
    with stopped_on_error(address, job_prefix(recipe.run_id, parse_url(execution.store))):
        yield supervisor.run_batch
