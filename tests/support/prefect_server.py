"""Prefect for tests: the harness, and a real server with a work pool and a worker as processes of their own."""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.isolated_ray import isolated_environment

_START_S = 120.0


@contextmanager
def prefect_harness(home: Path) -> Iterator[None]:
    """Give the block a temporary server that belongs to this process."""
    with isolated_environment(
        home,
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_LOGGING_LEVEL="CRITICAL",
        PREFECT_LOGGING_TO_API_ENABLED="false",
    ):
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=int(_START_S)):
            yield
        with warnings.catch_warnings():
            # The server's process and the client's sockets are left to the garbage collector, which then warns.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@dataclass(frozen=True)
class PrefectServer:
    """A running server, and how to talk to it from the command line.

    Attributes:
        url: Of its API.
        folder: Working directory of every command.
        environment: Of every command.
    """

    url: str
    folder: Path
    environment: dict[str, str]

    def prefect(self, *arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run the command line of Prefect and return what it said."""
        return subprocess.run(
            _prefect(arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def succeeds(self, *arguments: str) -> str:
        """Run the command line of Prefect, which must succeed, and return what it said."""
        done = self.prefect(*arguments, timeout_s=240)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def deploys(self) -> None:
        """Make the work pool and the deployments of prefect.yaml, as infra/README.md says it."""
        self.succeeds("work-pool", "create", "lift3d", "--type", "process")
        self.succeeds("--no-prompt", "deploy", "--all")

    def runs(self, deployment: str, *options: str, **parameters: object) -> None:
        """Run a deployment."""
        given = [part for name, value in parameters.items() for part in ("--param", f"{name}={json.dumps(value)}")]
        self.succeeds("deployment", "run", deployment, *given, *options)

    def wait(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait until something is so; if it never is, show the logs."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.logs()
            time.sleep(0.2)

    def ask(self, path: str, body: object = None) -> Any:
        """Return what the API answers at a path: to a POST of the body if there is one, else to a GET."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            content = response.read()
        return json.loads(content) if content else None

    def logs(self) -> str:
        """Return what the server and the worker said last."""
        home = Path(self.environment["HOME"])
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in sorted(home.glob("*.log")))

    @contextmanager
    def worker(self, pool: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process worker for a pool during the block, with more variables in its environment."""
        environment = {**self.environment, **settings}
        with _process(_prefect(["worker", "start", "--pool", pool]), self.folder, environment) as worker:
            yield worker


@contextmanager
def prefect_server(home: Path, folder: Path, **settings: str) -> Iterator[PrefectServer]:
    """Run a server on a free port of this machine, with its database below ``home``, during the block.

    Args:
        home: Folder of the database, the logs and whatever else the processes write.
        folder: Working directory of every command.
        settings: More variables in the environment of the server and of every command.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_"))},
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
        "LIFT3D_HOME": str(folder),
        **settings,
    }
    command = _prefect(["server", "start", "--host", "127.0.0.1", "--port", str(port)])
    with _process(command, folder, environment) as server:
        _wait_until_healthy(f"{url}/health", server)
        yield PrefectServer(url, folder, environment)


@contextmanager
def _process(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process during the block and end it with one interrupt; a second would count as impatience."""
    log = Path(environment["HOME"]) / f"{command[3]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"The Prefect server at {url} did not come up in {_START_S:g} s.")


def _prefect(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
