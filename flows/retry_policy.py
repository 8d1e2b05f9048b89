"""What to do with a scene that failed. The only place where errors of Ray become errors of ours."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray import exceptions

from lift3d.errors import (
    ConfigError,
    ContractError,
    Lift3dError,
    OutOfMemoryError,
    WorkerError,
    WorkerLostError,
)

# Manifests are a few kilobytes and their call has finished: what takes longer is a broken node.
_FETCH_TIMEOUT_S = 30.0
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
# "With half the batch, once": a scene is not divisible, so it is tried once more on a fresh worker.
_OUT_OF_MEMORY_TRIES = 2


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the item.

    Attributes:
        action: abort stops the run with the error, skip records it and goes on, retry tries again.
        wait_s: Not before so many seconds have passed.
    """

    action: Literal["abort", "skip", "retry"]
    wait_s: float = 0.0


def decide(error: Lift3dError, tries: int, attempts: int) -> Decision:
    """Return what to do after an item has failed ``tries`` times.

    What is worth another try gets one until the attempts are used up. Then a lost worker costs its scene, for
    the others may do better; a store that still does not answer ends the run, for no scene could be kept.

    Args:
        error: The last failure.
        tries: How often the item was tried, this failure included.
        attempts: How often it may be tried.
    """
    if error.disposition != "retry":
        return Decision(error.disposition)
    is_memory = isinstance(error, OutOfMemoryError)
    if tries < (min(attempts, _OUT_OF_MEMORY_TRIES) if is_memory else attempts):
        return Decision("retry", 0.0 if isinstance(error, WorkerError) else _back_off(tries))
    return Decision("skip" if isinstance(error, WorkerError) else "abort")


def is_worker_spoilt(error: Lift3dError) -> bool:
    """Whether the worker that gave this error must not be used again."""
    return isinstance(error, WorkerError)


def fetch(call: "ray.ObjectRef[Any]") -> Any:
    """Return what a finished call gave, or the error of ours that its failure means."""
    try:
        return ray.get(call, timeout=_FETCH_TIMEOUT_S)
    except exceptions.RayTaskError as error:
        return _caused(_of_application(error.cause), error)
    except (exceptions.RayError, TimeoutError) as error:
        return _caused(_of_ray(error), error)


@contextmanager
def translated_connection(address: str | None) -> Iterator[None]:
    """Translate what goes wrong when Ray is started or connected to."""
    try:
        yield
    except exceptions.AuthenticationError as error:
        raise ConfigError(
            f"The Ray cluster at '{address}' refuses this process: {_first_line(error)} Set RAY_AUTH_MODE to "
            "the same value on both sides (token or disabled), and for token the same RAY_AUTH_TOKEN."
        ) from error
    except (exceptions.RayError, ValueError, RuntimeError, OSError, OverflowError) as error:
        where = f"connect to Ray at '{address}'" if address else "start Ray in this process"
        raise ConfigError(
            f"Cannot {where}: {_first_line(error)} Check the address (HOST:6379 or auto), "
            "RAY_AUTH_MODE on both sides, or run with --serial."
        ) from error


def _of_application(cause: BaseException) -> Lift3dError:
    """Translate what the code in a worker raised."""
    if isinstance(cause, Lift3dError):
        return cause
    # torch raises its own class, or a RuntimeError that says so in words; torch need not be imported here.
    if isinstance(cause, MemoryError) or "out of memory" in str(cause).lower():
        return OutOfMemoryError(
            f"A scene does not fit: {_first_line(cause)} Lower image_height or sources, or use fewer workers."
        )
    return ContractError(
        f"A worker failed with {type(cause).__name__}: {_first_line(cause)} This is a defect of an operator, "
        "a lifter, a metric or of lift3d, not of the scene; run it with --serial to see where."
    )


def _of_ray(error: BaseException) -> Lift3dError:
    """Translate what happened to a worker."""
    if isinstance(error, exceptions.OutOfMemoryError):
        return OutOfMemoryError(
            f"Ray stopped a worker before memory ran out: {_first_line(error)} Use fewer workers or a "
            "lower image_height."
        )
    if isinstance(error, exceptions.RuntimeEnvSetupError | exceptions.ActorUnschedulableError):
        return ConfigError(f"Ray cannot place a worker: {_first_line(error)} Check the cluster and the worker's needs.")
    return WorkerLostError(
        f"A worker was lost ({type(error).__name__}): {_first_line(error)} Look at the node's memory and logs."
    )


def _caused(error: Lift3dError, cause: BaseException) -> Lift3dError:
    error.__cause__ = cause
    return error


def _first_line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text if text.endswith(".") else f"{text}."


def _back_off(tries: int) -> float:
    """Return a wait that doubles, spread over half of it so that workers do not come back in step."""
    longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** (tries - 1))
    return longest * (0.5 + 0.5 * random.random())
