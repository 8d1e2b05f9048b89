"""The Ray cluster of a run: one that is already there, or one in this process for the time of the run."""

import logging
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import ray
from ray._private import ray_constants
from ray._private.node import Node

from flows.retry_policy import translated_connection
from lift3d.config import Execution, Recipe
from lift3d.errors import ConfigError
from lift3d.runs.node_memory import node_memory_bytes

NAMESPACE = "lift3d"
# Arrays never cross Ray, only records do; Ray's own minimum is 75 MiB.
_OBJECT_STORE_BYTES = 128 * 2**20
_KNOCK_S = 10.0
LOOPBACK = "127.0.0.1"
# A worker with a small scene; with less, more of them would only fail sooner.
_LEAST_WORKER_BYTES = 2**30
# Of this process; one only, since Ray keeps the first that it sees.
_OWN_TOKEN = secrets.token_hex(32)
# Processes that a node of a run has no use for: nobody reads its dashboard or its logs, and it does not grow. Ray's
# own init, 2.60, has no argument for the last two, and starts the first one's process without a dashboard, too.
_UNUSED = ("start_api_server", "start_log_monitor", "start_monitor")
# Nobody asks what processes count, or for a list of calls.
_SILENT = {"enable_metrics_collection": False, "task_events_report_interval_ms": 0}
# Sockets have paths of 107 characters at most, and folders of users may be deep.
_SHORT_FOLDER = "/tmp"
_END_S = 10.0
# Ends when nobody holds the other end of standard input any more: the process is done, or was killed. Of a Ray whose
# driver was killed some agents would look for its state for more than a minute; by then nobody knows whose they were.
_WATCH = """
import os, select, shutil, sys
import psutil
folder, parent, own = sys.argv[1], psutil.Process(os.getppid()), psutil.Process()
known = set()
while not select.select([0], [], [], 1.0)[0]:
    try:
        for process in set(parent.children(recursive=True)) - known - {own}:
            if process.name().startswith("ray::") or folder in " ".join(process.cmdline()[1:]):
                known.add(process)
    except psutil.Error:
        pass
for process in known:
    try:
        process.kill()
    except psutil.Error:
        pass
shutil.rmtree(folder, ignore_errors=True)
"""


@contextmanager
def connect(execution: Execution) -> Iterator[None]:
    """Give the block a Ray cluster, and shut down what was started for it.

    A process that is connected already keeps its connection. With an address, the cluster there is used; its
    workers die with this process, since they belong to it. Without, a cluster of one node is started: no
    dashboard, no usage statistics, a token of its own, and no other Ray on the machine is looked at. It listens on
    loopback alone, and its sockets lie where nobody else may go. ConfigError if there is no cluster at the address, it
    refuses, or none can be started.
    """
    if "://" in (execution.ray_address or "").removeprefix("ray://"):
        raise ConfigError(
            f"'{execution.ray_address}' is no node of a Ray cluster. Give HOST:6379 on one of its machines, or hand it "
            f"the run: ray job submit --address {execution.ray_address} -- lift3d run … --ray-address auto"
        )
    if ray.is_initialized():
        yield
        return
    with _own_folder() as folder:
        try:
            with translated_connection(execution.ray_address), _kept_termination():
                _initialize(execution, folder)
            yield
        finally:
            ray.shutdown()


def require_paths_that_travel(recipe: Recipe, execution: Execution) -> None:
    """Refuse what means another file, or none, on the machines of a cluster that is there already."""
    if execution.ray_address is None:
        return
    named = [("store", execution.store), *(("scene", one) for one in recipe.scenes)]
    named += [("plugin", plugin.rpartition(":")[0]) for plugin in recipe.plugins if ".py:" in plugin]
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
    return max(1, min(sum(_room(node, execution) for node in _nodes()), scene_count))


def worker_memory(execution: Execution, count: int) -> int:
    """Return what each of so many workers may take, so that all that share a node fit into its memory."""
    rooms = [(node, min(count, _room(node, execution))) for node in _nodes()]
    return int(min([execution.memory_allowance_bytes, *(node["memory"] / room for node, room in rooms if room)]))


def _nodes() -> list[Mapping[str, float]]:
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [node for node in found if node.get("memory")]


def _room(node: Mapping[str, float], execution: Execution) -> int:
    """Return how many workers a node holds, by cores, GPUs, and the least memory that one needs."""
    # A worker keeps as many cores busy as it has threads, whatever it reserves.
    room = node.get("CPU", 0.0) / max(execution.cpus_per_worker, float(execution.threads_per_worker))
    room = min(room, node["memory"] / min(_LEAST_WORKER_BYTES, execution.memory_allowance_bytes))
    if execution.gpus_per_worker > 0:
        room = min(room, node.get("GPU", 0.0) / execution.gpus_per_worker)
    return math.floor(room)


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Give the block a folder that nobody else may enter, not Ray's own, which it opens to all users."""
    folder = tempfile.mkdtemp(prefix="lift3d-ray-", dir=_SHORT_FOLDER if os.path.isdir(_SHORT_FOLDER) else None)
    end, held = os.pipe()
    # Of a session of its own: Ctrl-C is for this process, which then ends Ray.
    watch = subprocess.Popen([sys.executable, "-c", _WATCH, folder], stdin=end, start_new_session=True)
    os.close(end)
    try:
        yield Path(folder)
    finally:
        os.close(held)
        watch.wait(_END_S)


@contextmanager
def _kept_termination() -> Iterator[None]:
    """Leave SIGTERM as it is: Ray takes it over when it starts, and ends in a stack of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _initialize(execution: Execution, folder: Path) -> None:
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
    with _alone():
        ray.init(
            address="local",
            num_cpus=max(len(os.sched_getaffinity(0)), asked),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            # Ray puts the machine's own address for loopback unless it is told that it is alone.
            _node_ip_address=LOOPBACK,
            _temp_dir=str(folder / "ray"),
            _memory=node_memory_bytes(),
            _system_config=_SILENT,
            **quiet,
        )


@contextmanager
def _alone() -> Iterator[None]:
    """Let Ray start a node that looks for no other one, with no more processes than workers need."""
    with ExitStack() as kept:
        kept.enter_context(patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False))
        for name in _UNUSED:
            kept.enter_context(patch.object(Node, name, lambda node, **options: None))
        yield


def _knock(address: str) -> None:
    """Look whether anything listens at HOST:PORT: Ray itself tries for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
