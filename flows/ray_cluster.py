"""The Ray cluster of a run: one that is already there, or one in this process for the time of the run."""

import logging
import math
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from flows.retry_policy import translated_connection
from lift3d.config import Execution, Recipe
from lift3d.errors import ConfigError

NAMESPACE = "lift3d"
# Arrays never cross Ray, only records do; Ray's own minimum is 75 MiB.
_OBJECT_STORE_BYTES = 128 * 2**20
_KNOCK_S = 10.0
# Of this process; one only, since Ray keeps the first that it sees.
_OWN_TOKEN = secrets.token_hex(32)


@contextmanager
def connect(execution: Execution) -> Iterator[None]:
    """Give the block a Ray cluster, and shut down what was started for it.

    A process that is connected already keeps its connection. With an address, the cluster there is used; its
    workers die with this process, since they belong to it. Without, a cluster of one node is started: no
    dashboard, no usage statistics, a token of its own, and no other Ray on the machine is looked at.

    Raises:
        ConfigError: If there is no cluster at the address, it refuses, or none can be started.
    """
    if "://" in (execution.ray_address or "").removeprefix("ray://"):
        raise ConfigError(
            f"'{execution.ray_address}' is no node of a Ray cluster. Give HOST:6379 on one of its machines, or hand it "
            f"the run: ray job submit --address {execution.ray_address} -- lift3d run … --ray-address auto"
        )
    if ray.is_initialized():
        yield
        return
    with translated_connection(execution.ray_address):
        _initialize(execution)
    try:
        yield
    finally:
        ray.shutdown()


def require_paths_that_travel(recipe: Recipe, execution: Execution) -> None:
    """Refuse what means another file, or none, on the machines of a cluster that is there already."""
    if execution.ray_address is None:
        return
    files = [plugin.rpartition(":")[0] for plugin in recipe.plugins if ".py:" in plugin]
    named = [
        ("store", execution.store),
        *(("scene", one) for one in recipe.scenes),
        *(("plugin", one) for one in files),
    ]
    named += [("targets", recipe.targets)] if recipe.targets else []
    for what, place in named:
        if ":" not in place and not place.startswith("/"):
            raise ConfigError(
                f"The {what} '{place}' is a relative path, which means another place on the cluster. Give an absolute "
                "path that all its machines see" + (", or s3://." if what == "store" else ".")
            )


def worker_count(execution: Execution, scene_count: int) -> int:
    """Return how many workers a batch of scenes gets: as many as were asked for, or as the cluster holds."""
    if execution.workers is not None:
        return min(execution.workers, scene_count)
    held = ray.cluster_resources()
    # A worker keeps as many cores busy as it has threads, whatever it reserves.
    room = held.get("CPU", 1.0) / max(execution.cpus_per_worker, float(execution.threads_per_worker))
    if execution.gpus_per_worker > 0:
        room = min(room, held.get("GPU", 0.0) / execution.gpus_per_worker)
    return int(max(1, min(math.floor(room), scene_count)))


def _initialize(execution: Execution) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "namespace": NAMESPACE}
    if execution.ray_address is not None:
        _knock(execution.ray_address)
        ray.init(address=execution.ray_address, **quiet)
        return
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # Ray asks for a token by default and would write one into the home folder; it need not outlive us.
        os.environ["RAY_AUTH_TOKEN"] = _OWN_TOKEN
    # CPUs are bookkeeping here: workers that were asked for must all find room, or they would wait for ever.
    asked = math.ceil((execution.workers or 1) * execution.cpus_per_worker)
    ray.init(
        address="local",
        num_cpus=max(len(os.sched_getaffinity(0)), asked),
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        **quiet,
    )


def _knock(address: str) -> None:
    """Look whether anything listens at HOST:PORT: Ray itself tries for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
