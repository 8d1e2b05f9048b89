"""A training on Ray: the same ``train`` in one process or several that average their gradients.

All of them read and write one folder, so several nodes need it on a disk that they share.
"""

import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer

from flows.ray_cluster import connect
from flows.retry_policy import decide
from flows.training_failures import cause_of
from lift3d.config import Execution
from lift3d.errors import Lift3dError
from lift3d.training.loop import Team
from lift3d.training.settings import TrainingSettings
from lift3d.training.train import Listener, read_history, train

_POLL_S = 1.0


def train_on_ray(settings: TrainingSettings, execution: Execution, listener: Listener | None = None) -> Path:
    """Train on the cluster that the execution names, or on one started here, and return the checkpoint.

    What is worth another try is tried again and goes on from the last saved step.
    """
    anchored, tries = settings.anchored(), 1
    with connect(execution):
        while (failure := _attempt(anchored, execution, listener or Listener())) is not None:
            cause = cause_of(failure)
            if not isinstance(cause, Lift3dError):
                raise cause
            decision = decide(cause, tries, execution.attempts)
            if decision.action != "retry":
                raise cause
            time.sleep(decision.wait_s)
            tries += 1
    return settings.out


def _attempt(settings: TrainingSettings, execution: Execution, listener: Listener) -> BaseException | None:
    """Train until the end or the first failure, and return that."""
    trainer = TorchTrainer(
        _train_in_worker,
        train_loop_config={"settings": settings},
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


def _train_in_worker(config: dict[str, TrainingSettings]) -> None:
    """Train as the process of the team that Ray says this is."""
    context = get_context()
    train(config["settings"], team=Team(context.get_world_rank(), context.get_world_size()))
