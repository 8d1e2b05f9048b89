"""Ray as tests need it: a home folder of its own, since Ray writes a token there, and nothing left running."""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from flows.ray_cluster import connect
from lift3d.config import Execution


@contextmanager
def isolated_environment(home: Path, **settings: str) -> Iterator[None]:
    """Set variables for the block, with ``home`` as home folder, and put everything back after it."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("RAY_", "PREFECT_"))]:
        del os.environ[name]
    os.environ.update({"HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "DO_NOT_TRACK": "1", **settings})
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
        with warnings.catch_warnings():
            # Ray leaves its processes and log files to the garbage collector, which then warns.
            warnings.simplefilter("ignore", ResourceWarning)
            ray.shutdown()
            gc.collect()
