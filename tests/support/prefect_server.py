"""Prefect for tests: the harness, and a real server with a work pool and a worker as processes of their own."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.isolation import collected_quietly, environment_in, free_port, isolated_environment, wait

ROOT = Path(__file__).parents[2]
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
        with collected_quietly():
            pass


@dataclass(frozen=True)
class PrefectServer:
    """A running server: the URL of its API, and the environment of every command."""

    url: str
    environment: dict[str, str]

    def succeeds(self, *arguments: str) -> str:
        """Run the command line of Prefect, which must succeed, and return what it said."""
        done = subprocess.run(
            _prefect(arguments), cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def deploys(self) -> None:
        """Make the work pool and the deployments of prefect.yaml, as infra/README.md says it."""
        self.succeeds("work-pool", "create", "lift3d", "--type", "process")
        self.succeeds("--no-prompt", "deploy", "--all")

    def runs(self, deployment: str, *options: str, **parameters: object) -> None:
        given = [part for name, value in parameters.items() for part in ("--param", f"{name}={json.dumps(value)}")]
        self.succeeds("deployment", "run", deployment, *given, *options)

    def wait(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait until something is so; if it never is, show the logs."""
        wait(condition, seconds, self.logs)

    def ask(self, path: str, body: object = None) -> Any:
        """Return what the API answers at a path: to a POST of the body if there is one, else to a GET."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            content = response.read()
        return json.loads(content) if content else None

    def is_healthy(self) -> bool:
        try:
            return self.ask("/health") is True
        except OSError:
            return False

    def logs(self) -> str:
        """Return what the server and the worker said last."""
        home = Path(self.environment["HOME"])
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in sorted(home.glob("*.log")))

    @contextmanager
    def worker(self, pool: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process worker for a pool during the block, with more variables in its environment."""
        environment = {**self.environment, **settings}
        with _process(_prefect(["worker", "start", "--pool", pool]), environment) as worker:
            yield worker


@contextmanager
def prefect_server(home: Path, **settings: str) -> Iterator[PrefectServer]:
    """Run a server on a free port during the block, whose processes write below ``home``, with more variables."""
    port = free_port()
    environment = environment_in(
        home,
        PREFECT_API_URL=f"http://127.0.0.1:{port}/api",
        PREFECT_WORKER_QUERY_SECONDS="1",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        OMP_NUM_THREADS="1",
        LIFT3D_HOME=str(ROOT),
        **settings,
    )
    started = PrefectServer(environment["PREFECT_API_URL"], environment)
    command = _prefect(["server", "start", "--host", "127.0.0.1", "--port", str(port)])
    with _process(command, environment) as server:
        wait(lambda: server.poll() is not None or started.is_healthy(), _START_S, started.logs)
        yield started


@contextmanager
def _process(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process during the block and end it with one interrupt; a second would count as impatience."""
    log = Path(environment["HOME"]) / f"{command[3]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _prefect(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]
