"""The flow ``tune-encoder``: an encoder tuned on its lifted features on Ray, its figures beside the run in Prefect."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.train_lifter import completed
from flows.training_workers import train_on_ray
from lift3d.config import Execution
from lift3d.training.tuning.settings import TuningSettings
from lift3d.training.tuning.tune import tune


@flow(name="tune-encoder", persist_result=False, result_serializer="json")
def tune_encoder(settings: TuningSettings, ray_address: str | None = None, attempts: int = 3) -> Any:
    """Tune the last blocks of an encoder and write its weights, card and history.

    Running it again continues where it stopped.

    Args:
        settings: Which encoder, on which scenes, and where it is kept.
        ray_address: Ray cluster to use; none starts one in this process.
        attempts: Tries when a process is lost; each goes on from the last saved step.
    """
    execution = Execution(
        store=str(settings.folder), ray_address=ray_address, workers=settings.processes, attempts=attempts
    )
    weights = tune_network(settings, execution)
    return completed(weights, settings.folder, "less is better, but for staying where it was")


@task(name="tune-network", retries=0, cache_policy=NO_CACHE, persist_result=False, result_serializer="json")
def tune_network(settings: TuningSettings, execution: Execution) -> Path:
    """Tune on Ray; retries happen there, from the last saved step."""
    return train_on_ray(settings, execution, work=tune)
