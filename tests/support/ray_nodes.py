"""A Ray cluster of several nodes on this machine, each a process group of its own that can be killed alone."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.isolation import environment_in, free_port, wait

_START_S = 90.0


@dataclass(frozen=True)
class Node:
    """One node: ``ray start --block`` and everything it started."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kill the node at once, as a machine that loses power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def worker_pids(self) -> set[int]:
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
            return {child.pid for child in children if "SceneWorker" in " ".join(child.cmdline())}
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return set()


@dataclass(frozen=True)
class RayCluster:
    """A head node, and how drivers and further nodes find it: their environment has the token."""

    address: str
    environment: dict[str, str]
    head: Node
    folder: Path
    jobs_address: str = ""

    @contextmanager
    def node(self) -> Iterator[Node]:
        with _started(["--address", self.address], self.environment, self.folder / "node.log") as node:
            yield node


@contextmanager
def ray_cluster(with_jobs: bool = False) -> Iterator[RayCluster]:
    """Run a head node during the block, which may take jobs."""
    # Home and session folder, not below pytest's: the path of a socket has at most 107 characters.
    home = Path(tempfile.mkdtemp(prefix="ray-"))
    port, jobs_port = free_port(), free_port()
    environment = environment_in(
        home,
        # A job says python: that of this environment.
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        PYTHONPATH=str(Path(__file__).parents[2]),
        OMP_NUM_THREADS="1",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),
        RAY_USAGE_STATS_ENABLED="0",
    )
    arguments = ["--head", "--port", str(port), "--temp-dir", str(home / "ray")]
    arguments += ["--include-dashboard", str(with_jobs).lower()]
    arguments += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(jobs_port)]
    jobs_address = f"http://127.0.0.1:{jobs_port}" if with_jobs else ""
    try:
        with _started(arguments, environment, home / "head.log") as head:
            yield RayCluster(f"{_own_address()}:{port}", environment, head, home, jobs_address)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _started(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[Node]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
    limits = ["--num-cpus", "1", "--object-store-memory", str(100 * 2**20)]
    # Of two nodes of one machine whose agents listen at one port, the second takes no jobs.
    limits += ["--dashboard-agent-listen-port", str(free_port())]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *limits, *arguments], env=environment, stdout=output, stderr=output, start_new_session=True
        )
        node = Node(process)
        try:
            wait(lambda: b"Ray runtime started" in log.read_bytes(), _START_S, log.read_text)
            yield node
        finally:
            if process.poll() is None:
                node.kill()


def _own_address() -> str:
    """Return the address that Ray binds: this machine's own, never the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: connecting a datagram socket only chooses the interface.
        probe.connect(("192.0.2.254", 1))
        return str(probe.getsockname()[0])
