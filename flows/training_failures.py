"""What a failure of Ray Train means, as an error of ours. What to do about it, the retry policy says."""

from ray import exceptions
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

from lift3d.errors import ContractError, Lift3dError, OutOfMemoryError, ResourcePromiseError, WorkerLostError
from lift3d.runs.failures import first_line


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
    if ours:
        return ours[0]
    if lost:
        return _lost(lost[0])
    cause = causes[0]
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
