"""Who runs a batch: workers that this process drives, or a Ray job that it only looks after."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flows.batch_driver import run_batch
from flows.progress import Listener
from flows.ray_cluster import connect
from flows.ray_jobs import JobSupervisor, is_jobs_address, job_prefix, stopped_on_error
from flows.scene_workers import Prepare, prepare_scenes
from flows.worker_pool import WorkerPool
from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError
from lift3d.storage.location import parse_url

BatchRunner = Callable[[Sequence[str], Listener], list[SceneRecord]]


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
    _require_paths_that_travel(recipe, execution)
    supervisor = JobSupervisor(recipe, execution, began_at)
    with stopped_on_error(address, job_prefix(recipe.run_id, parse_url(execution.store))):
        yield supervisor.run_batch


def _require_paths_that_travel(recipe: Recipe, execution: Execution) -> None:
    """Refuse what means another file, or none, on the machines of a cluster.

    Raises:
        ConfigError: Naming the path.
    """
    store = execution.store
    if store.startswith("memory:"):
        raise ConfigError(
            f"The store '{store}' lives in one process. Give an absolute path that all machines see, or s3://."
        )
    plugin_files = [plugin.rpartition(":")[0] for plugin in recipe.plugins if ".py:" in plugin]
    named = [("store", store), *(("scene", one) for one in recipe.scenes), *(("plugin", one) for one in plugin_files)]
    named += [("targets", recipe.targets)] if recipe.targets and not recipe.targets.startswith("path:") else []
    for what, place in named:
        if ":" not in place and not place.startswith("/"):
            raise ConfigError(
                f"The {what} '{place}' is a relative path, which means another place on the cluster. Give an absolute "
                "path that all its machines see" + (", or s3://." if what == "store" else ".")
            )
