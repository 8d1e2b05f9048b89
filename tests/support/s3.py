"""S3-compatible servers for tests: moto in this process, and a one-node OpenStack Swift where it starts."""

import os
import socket
import subprocess
import sys
import uuid
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

SWIFT_REQUIREMENT = "swift==2.38.3"


@dataclass(frozen=True)
class S3Server:
    endpoint: str
    key: str
    secret: str

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this the endpoint of every client that reads the usual environment."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.secret)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def new_bucket(self) -> str:
        name = f"lift3d-{uuid.uuid4().hex[:12]}"
        client = fsspec.filesystem(
            "s3",
            key=self.key,
            secret=self.secret,
            endpoint_url=self.endpoint,
            config_kwargs={"s3": {"addressing_style": "path"}},
            skip_instance_cache=True,
        )
        client.mkdir(name)
        return name


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """An emulator of S3: knows every call, checks no signature."""
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Server(f"http://{host}:{port}", "testing", "testing")
    server.stop()


@pytest.fixture(scope="session")
def moto_shared_bucket(moto_server: S3Server) -> str:
    return moto_server.new_bucket()


@pytest.fixture
def moto_bucket(moto_server: S3Server, moto_shared_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket that other tests use as well: take a prefix of your own."""
    moto_server.use(monkeypatch)
    return moto_shared_bucket


@pytest.fixture(scope="session")
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real object store that checks signatures: four processes, started by a script of the test data."""
    data = os.environ.get("LIFT3D_TEST_DATA")
    if not data:
        pytest.skip("LIFT3D_TEST_DATA is not set")
    script = Path(data) / "tools" / "swift_s3.py"
    if not script.exists():
        pytest.skip(f"{script} does not exist")
    folder = tmp_path_factory.mktemp("swift")
    port = _free_port_block(4)
    binaries = _swift_binaries()
    log_path = folder / "server.log"
    with log_path.open("w") as log:
        command = [sys.executable, str(script), str(folder / "root"), str(port), str(binaries)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    try:
        if not first.startswith("READY"):
            pytest.skip(f"Swift did not start: {first} {log_path.read_text()[-500:]}")
        yield S3Server(f"http://127.0.0.1:{port}", "test:tester", "liftsecret")
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.fixture
def swift_bucket(swift_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    swift_server.use(monkeypatch)
    return swift_server.new_bucket()


def _swift_binaries() -> Path:
    """Return the programs of Swift's own virtual environment, made once per machine; its pins differ."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "lift3d-tests" / SWIFT_REQUIREMENT
    binaries = folder / "bin"
    marker = folder / "installed"
    if not marker.exists():
        venv.create(folder, with_pip=True, clear=True)
        # eventlet and PyECLib still import pkg_resources, which newer setuptools do not have.
        command = [str(binaries / "pip"), "install", "--quiet", SWIFT_REQUIREMENT, "setuptools<81"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if made.returncode:
            pytest.skip(f"{SWIFT_REQUIREMENT} does not install: {made.stderr[-300:]}")
        marker.touch()
    return binaries


def _free_port_block(count: int) -> int:
    for first in range(21000, 60000, 17):
        sockets = []
        try:
            for port in range(first, first + count):
                probe = socket.socket()
                sockets.append(probe)
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        else:
            return first
        finally:
            for probe in sockets:
                probe.close()
    pytest.skip(f"no {count} free ports in a row")
