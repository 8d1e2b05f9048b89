"""Ray and servers as tests need them: a home folder of their own (Ray writes a token there), nothing left running."""

import gc
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from flows.ray_cluster import connect
from lift3d.config import Execution


def environment_in(home: Path, **settings: str) -> dict[str, str]:
    """Return the variables of a process with a home folder of its own, and with these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PREFECT_"))}
    return {**kept, "HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "DO_NOT_TRACK": "1", **settings}


@contextmanager
def isolated_environment(home: Path, **settings: str) -> Iterator[None]:
    before, inside = dict(os.environ), environment_in(home, **settings)
    os.environ.clear()
    os.environ.update(inside)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def embedded_ray(home: Path, workers: int = 2) -> Iterator[None]:
    """Give the block an embedded Ray with room for so many workers."""
    with isolated_environment(home, OMP_NUM_THREADS="1"), connect(Execution(store=str(home), workers=workers)):
        yield
        with collected_quietly():
            ray.shutdown()


@contextmanager
def collected_quietly() -> Iterator[None]:
    """Collect garbage after the block: Ray and Prefect leave processes and files to it, which then warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def wait(condition: Callable[[], bool], seconds: float = 180.0, said: Callable[[], object] = str) -> None:
    """Wait until something is so; if it never is, show what was said meanwhile."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"what the test waits for did not happen: {said()}"
        time.sleep(0.2)
