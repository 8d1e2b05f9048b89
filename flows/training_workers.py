"""A training on Ray: the same ``train`` or ``tune`` in one process or several that average their gradients.

All of them read and write one folder, so several nodes need it on a disk that they share.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from ray import exceptions
from ray.train import (
    ControllerError,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    WorkerGroupError,
    get_context,
)
from ray.train.torch import TorchConfig, TorchTrainer

from flows.ray_cluster import connect
from flows.retry_policy import decide
from lift3d.config import Execution
from lift3d.errors import ContractError, Lift3dError, OutOfMemoryError, ResourcePromiseError, WorkerLostError
from lift3d.runs.failures import first_line
from lift3d.training.loop import Team
from lift3d.training.settings import TrainingSettings
from lift3d.training.train import Listener, read_history, train
from lift3d.training.tuning.settings import TuningSettings

_POLL_S = 1.0


# What may be trained, and what trains it: settings, who is told, the team.
AnySettings = TrainingSettings | TuningSettings
Work = Callable[..., Path]


def train_on_ray(
    settings: AnySettings, execution: Execution, listener: Listener | None = None, work: Work = train
) -> Path:
    """Train on the cluster that the execution names, or on one started here, and return the checkpoint.

    What is worth another try is tried again and goes on from the last saved step.
    """
    anchored, tries = settings.anchored(), 1
    with connect(execution):
        while (failure := _attempt(anchored, execution, listener or Listener(), work)) is not None:
            cause = cause_of(failure)
            if not isinstance(cause, Lift3dError):
                raise cause
            decision = decide(cause, tries, execution.attempts)
            if decision.action != "retry":
                raise cause
            time.sleep(decision.wait_s)
            tries += 1
    return settings.out


def _attempt(settings: AnySettings, execution: Execution, listener: Listener, work: Work) -> BaseException | None:
    """Train until the end or the first failure, and return that."""
    trainer = TorchTrainer(
        _train_in_worker,
        train_loop_config={"settings": settings, "work": work},
        # Examples are prepared and networks run on CPUs; gloo is torch's way to average gradients there.
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(
            num_workers=settings.processes, resources_per_worker={"CPU": execution.cpus_per_worker}
        ),
        # Failures are ours to judge: an error in the settings is not worth another try.
        run_config=RunConfig(
            storage_path=str(settings.folder / "ray"),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
        ),
    )
    # In a thread: there Ray leaves Ctrl-C to this process, which goes on to tell how far the training is.
    pool = ThreadPoolExecutor(1, thread_name_prefix="ray-train")
    fitted = pool.submit(trainer.fit)
    pool.shutdown(wait=False)
    told = {stage: len(entries) for stage, entries in read_history(settings.folder).items()}
    while wait([fitted], _POLL_S).not_done:
        _tell(settings.folder, listener, told)
    _tell(settings.folder, listener, told)
    return fitted.exception()


def _tell(folder: Path, listener: Listener, told: dict[str, int]) -> None:
    """Tell of the validations that came since."""
    for stage, entries in read_history(folder).items():
        # A stage that was trained anew has fewer.
        for figures in entries[min(told.get(stage, 0), len(entries)) :]:
            listener.on_validation(stage, figures)
        told[stage] = len(entries)


def _train_in_worker(config: dict[str, Any]) -> None:
    """Train as the process of the team that Ray says this is."""
    context = get_context()
    config["work"](config["settings"], team=Team(context.get_world_rank(), context.get_world_size()))


def cause_of(failure: BaseException) -> BaseException:
    """Return the error of ours that a failed training means; what Ray Train did not raise is returned as it is."""
    if isinstance(failure, ControllerError):
        found: Lift3dError = ResourcePromiseError(
            f"Ray could not start the training processes: {first_line(failure.controller_failure)} Use fewer, or a "
            "cluster with a free CPU for each."
        )
    elif isinstance(failure, TrainingFailedError):
        found = _of_group(
            list(failure.worker_failures.values()) if isinstance(failure, WorkerGroupError) else [failure]
        )
    elif isinstance(failure, exceptions.RayError):
        found = _lost(failure)
    else:
        return failure
    found.__cause__ = failure
    return found


def _of_group(failures: list[Exception]) -> Lift3dError:
    """Return the cause: where one process fails, those that wait for its gradients fail as well, by lesser errors."""
    causes = [_unwrapped(failure) for failure in failures]
    ours = [cause for cause in causes if isinstance(cause, Lift3dError)]
    lost = [cause for cause in causes if type(cause).__module__.split(".")[0] == "ray"]
    cause = [*ours, *lost, *causes][0]
    if isinstance(cause, Lift3dError):
        return cause
    if lost:
        return _lost(cause)
    if isinstance(cause, MemoryError) or "out of memory" in str(cause).lower():
        return OutOfMemoryError(f"A training process does not fit: {first_line(cause)} Use fewer workers.")
    return ContractError(
        f"A training process failed with {type(cause).__name__}: {first_line(cause)} This is a defect of lift3d; "
        "train with one process and without Ray to see where."
    )


def _unwrapped(failure: BaseException) -> BaseException:
    """Return what a training function raised, or what a health check found: Ray wraps both on some of its ways."""
    for inner in ("_base_exc", "health_check_failure"):
        failure = getattr(failure, inner, failure)
    return failure


def _lost(error: BaseException) -> Lift3dError:
    if isinstance(error, exceptions.OutOfMemoryError):
        return OutOfMemoryError(f"Ray stopped a training process before memory ran out: {first_line(error)}")
    return WorkerLostError(
        f"A training process was lost ({type(error).__name__}): {first_line(error)} Look at the node's memory and "
        "logs; the same run again goes on from the last saved step."
    )
