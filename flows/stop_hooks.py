"""What happens to a run's Ray jobs when its flow is cancelled or crashes: Prefect stops only what it started."""

import logging
from typing import Any

from flows.ray_jobs import is_jobs_address, job_prefix, stop_jobs
from lift3d.config import parse_recipe
from lift3d.errors import Lift3dError
from lift3d.runs.scene_lists import with_listed_scenes
from lift3d.storage.location import parse_url

_log = logging.getLogger(__name__)


def stop_ray_jobs(flow: Any, flow_run: Any, state: Any) -> None:
    """Stop the jobs of a flow run. Called by Prefect, in the worker that ran the flow or in the flow itself.

    Where it cannot be called or does not reach the cluster, the jobs end with their lease.
    """
    given = flow_run.parameters
    address = given["execution"].get("ray_address")
    if not is_jobs_address(address):
        return
    try:
        recipe = with_listed_scenes(parse_recipe(given["recipe"]))
        stopped = stop_jobs(address, job_prefix(recipe.run_id, parse_url(given["execution"]["store"])))
    except (Lift3dError, RuntimeError, OSError) as error:
        _log.warning("The Ray jobs of this run could not be stopped, their lease ends them: %s", error)
        return
    _log.info("Stopped %d Ray jobs: %s", len(stopped), ", ".join(stopped))
