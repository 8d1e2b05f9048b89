"""What to do with a scene that failed. The only place where errors of Ray become errors of ours."""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray import exceptions

from lift3d.errors import ConfigError, Lift3dError, OutOfMemoryError, PreemptedError, WorkerError, WorkerLostError
from lift3d.runs.failures import first_line, own_error

# Records are a few kilobytes and their call has finished: what takes longer is a broken node.
_FETCH_TIMEOUT_S = 30.0
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
# Once more on a fresh worker, whose memory holds nothing of other scenes.
_OUT_OF_MEMORY_TRIES = 2
# A machine that goes says nothing about the scene, so this only ends what would never end: at one try per two
# minutes, the notice that spot machines get, a scene is given up after more than three hours.
_PREEMPTED_TRIES = 100

# Ray says in words alone that it was the node that died.
_NODE_DEATH = re.compile(r"node (has died|was terminated|failure|is dead|died)|drain|preempt", re.IGNORECASE)

Budget = Literal["lost", "memory", "preempted", "store"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the item: abort stops the run with the error, skip records it and goes on, retry tries again."""

    action: Literal["abort", "skip", "retry"]
    wait_s: float = 0.0


def decide(error: Lift3dError, tries: int, attempts: int) -> Decision:
    """Return what to do after an item has failed ``tries`` times in the same way (see ``budget_of``).

    What is worth another try gets one until its budget is used up; then a lost worker costs its scene, for the others
    may do better, and a store that still does not answer ends the run, for no scene could be kept.
    """
    if error.disposition != "retry":
        return Decision(error.disposition)
    limits = {"memory": min(attempts, _OUT_OF_MEMORY_TRIES), "preempted": _PREEMPTED_TRIES}
    if tries < limits.get(budget_of(error), attempts):
        return Decision("retry", 0.0 if isinstance(error, WorkerError) else _back_off(tries))
    return Decision("skip" if isinstance(error, WorkerError) else "abort")


def budget_of(error: Lift3dError) -> Budget:
    """Return which tries a failure uses up: machines that go use up none of a scene that kills its workers."""
    if isinstance(error, OutOfMemoryError):
        return "memory"
    if isinstance(error, PreemptedError):
        return "preempted"
    return "lost" if isinstance(error, WorkerError) else "store"


def fetch(call: "ray.ObjectRef[Any]") -> Any:
    """Return what a finished call gave, or the error of ours that its failure means."""
    try:
        return ray.get(call, timeout=_FETCH_TIMEOUT_S)
    except exceptions.RayTaskError as error:
        return _caused(own_error(error.cause), error)
    except (exceptions.RayError, TimeoutError) as error:
        return _caused(_of_ray(error), error)


@contextmanager
def translated_connection(address: str | None) -> Iterator[None]:
    """Translate what goes wrong when Ray is started or connected to."""
    try:
        yield
    except exceptions.AuthenticationError as error:
        raise ConfigError(
            f"The Ray cluster at '{address}' refuses this process: {first_line(error)} Set RAY_AUTH_MODE to "
            "the same value on both sides (token or disabled), and for token the same RAY_AUTH_TOKEN or _PATH."
        ) from error
    except (exceptions.RayError, ValueError, RuntimeError, OSError, OverflowError) as error:
        where = f"connect to Ray at '{address}'" if address else "start Ray in this process"
        raise ConfigError(
            f"Cannot {where}: {first_line(error)} Check the address (HOST:6379 or auto), "
            "RAY_AUTH_MODE on both sides, or run with --serial."
        ) from error


def _of_ray(error: BaseException) -> Lift3dError:
    """Translate what happened to a worker."""
    if isinstance(error, exceptions.OutOfMemoryError):
        return OutOfMemoryError(
            f"Ray stopped a worker before memory ran out: {first_line(error)} Use fewer --workers or "
            "a lower --image-height."
        )
    if isinstance(error, exceptions.RuntimeEnvSetupError | exceptions.ActorUnschedulableError):
        return ConfigError(f"Ray cannot place a worker: {first_line(error)} Check the cluster and the worker's needs.")
    if getattr(error, "preempted", False) or _NODE_DEATH.search(str(error)):
        return PreemptedError(
            f"A worker's node is gone ({type(error).__name__}): {first_line(error)} Its scenes are tried on others."
        )
    return WorkerLostError(
        f"A worker was lost ({type(error).__name__}): {first_line(error)} Look at the node's memory and logs."
    )


def _caused(error: Lift3dError, cause: BaseException) -> Lift3dError:
    error.__cause__ = cause
    return error


def _back_off(tries: int) -> float:
    """Return a wait that doubles, spread over half of it so that workers do not come back in step."""
    longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** (tries - 1))
    return longest * (0.5 + 0.5 * random.random())
