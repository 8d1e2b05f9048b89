"""Viewer, temporary Prefect server and Ray of a laptop: on loopback, for who was told, gone with who started them."""

import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from lift3d.results.opened import open_lifted
from lift3d.viewer.command import running_viewer
from tests.support.browser import opened_page
from tests.support.isolation import environment_in, wait
from tests.support.runs import run_into, tiny_rooms

KIND = "3 who may talk to it"
GONE_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("viewed"))
    run_into(url, tiny_rooms(1))
    with running_viewer(open_lifted(url), 0) as running:
        yield running


@pytest.mark.outside(
    kind=KIND, case="the viewer and a page of another site", right="refused: page and WebSocket, whatever it sends"
)
@pytest.mark.parametrize("is_socket", [False, True], ids=["page", "socket"])
@pytest.mark.parametrize(
    ("host", "origin", "knows", "status"),
    [
        ("127.0.0.1:PORT", None, True, 200),
        ("localhost:PORT", "http://localhost:PORT", True, 200),
        ("127.0.0.1:PORT", None, False, 403),
        ("127.0.0.1:PORT", "http://evil.example", True, 403),
        ("127.0.0.1:PORT", "null", True, 403),
        ("127.0.0.1:PORT", "http://127.0.0.1:9", True, 403),
        # A name of somebody else's that means this machine.
        ("evil.example:PORT", "http://evil.example:PORT", True, 403),
        ("evil.example:PORT", None, True, 403),
        ("127.0.0.1", None, True, 403),
    ],
)
def test_the_viewer_answers_its_own_page_alone(viewer, host, origin, knows, status, is_socket):
    asked = HTTPConnection("127.0.0.1", viewer.port, timeout=20)
    path = f"/{viewer.token}/" if knows else "/"
    asked.putrequest("GET", path, skip_host=True)
    headers = {"Host": host} | ({"Origin": origin} if origin else {})
    if is_socket:
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        headers |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "viser-v1"}
    for name, value in headers.items():
        asked.putheader(name, value.replace("PORT", str(viewer.port)))
    asked.endheaders()
    assert asked.getresponse().status == (101 if is_socket and status == 200 else status)
    asked.close()


@pytest.mark.outside(kind=KIND, case="the viewer's port", right="loopback, and a page whose path nobody guesses")
def test_the_viewer_listens_on_loopback(viewer):
    assert listening(os.getpid()) == {"127.0.0.1"}
    assert len(viewer.token) >= 20
    assert viewer.address == f"http://127.0.0.1:{viewer.port}/{viewer.token}/"


# What a page may try that knows the whole address; each attempt comes to what the page was given.
ATTEMPTS = """async ([page, socket]) => {
  const got = {};
  const tried = async (name, attempt) => { try { got[name] = await attempt(); } catch { got[name] = ""; } };
  await tried("fetch", async () => (await fetch(page)).text());
  await tried("fetch of another kind", async () => (await fetch(page, {mode: "no-cors"})).text());
  await tried("frame", () => new Promise(done => {
    const frame = Object.assign(document.createElement("iframe"), {src: page});
    frame.onload = () => { try { done(frame.contentWindow.document.body.innerText); } catch { done(""); } };
    document.body.append(frame);
  }));
  await tried("socket", () => new Promise(done => {
    const opened = new WebSocket(socket, "viser-v1");
    opened.onopen = () => done("opened");
    opened.onmessage = () => done("heard");
    opened.onerror = () => done("");
  }));
  return got;
}"""


class Empty(BaseHTTPRequestHandler):
    """A site with an empty page."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<body></body>")

    def log_message(self, *words):
        pass


@pytest.mark.cluster
@pytest.mark.outside(
    kind=KIND, case="a page of another origin, in a browser", right="nothing, though it knows the whole address"
)
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_gets_nothing_of_the_viewer(viewer, name):
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as site, opened_page() as (page, _):
        Thread(target=site.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{site.server_port}/")
        address = viewer.address.replace("127.0.0.1", name)
        got = page.evaluate(ATTEMPTS, [address, address.replace("http", "ws")])
        # The same from the viewer's own page, so that an attempt that could not succeed does not pass for refused.
        page.goto(viewer.address)
        own = page.evaluate(ATTEMPTS, [viewer.address, viewer.address.replace("http", "ws")])
        site.shutdown()
    assert got == dict.fromkeys(got, "")
    assert own["fetch"]
    assert own["frame"] is not None
    assert own["socket"]


PREFECT = """
import os
from flows.local_run import quiet_prefect
quiet_prefect(os.environ)
from flows.temporary_server import require_server
require_server()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    client.read_flows()
    print(client.api_url, flush=True)
    import time; time.sleep(600)
"""
RAY = """
import os, sys
from flows.ray_cluster import connect
from lift3d.config import Execution
import ray
with connect(Execution(store="x", workers=1)):
    @ray.remote
    def here(): return 1
    ray.get(here.remote())
    print(ray.worker._global_node.get_session_dir_path(), flush=True)
    sys.stdin.read()
"""


def started(code, home, **settings):
    """Run code in a process of its own; return it with the first line that it says."""
    with (home / "said.log").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment_in(home, PYTHONPATH=os.environ.get("PYTHONPATH", os.getcwd()), **settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    line = process.stdout.readline().strip()
    assert line, (home / "said.log").read_text()
    return process, line


def listening(pid):
    """Return the addresses at which a process and its children listen; IPv4 that is written as IPv6 is IPv4."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    found = {one.laddr.ip for process in family for one in process.net_connections("inet") if one.status == "LISTEN"}
    return {address.removeprefix("::ffff:") for address in found}


def killed(process):
    """Kill a process; return those of its children that are there after as long as they may be."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, left = psutil.wait_procs(children, timeout=GONE_WITHIN_S)
    return left


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.outside(
    kind=KIND, case="the temporary Prefect server", right="a password, no CORS, loopback, gone within 30 s of its run"
)
def test_the_temporary_prefect_server_is_closed_and_ends_with_its_parent(tmp_path):
    process, api = started(PREFECT, tmp_path)
    try:
        request = urllib.request.Request(
            f"{api}flow_runs/filter", b"{}", {"Content-Type": "application/json", "Origin": "http://evil.example"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        with refused.value:
            assert refused.value.code == 401
            assert refused.value.headers["Access-Control-Allow-Origin"] is None
        assert listening(process.pid) == {"127.0.0.1"}
    finally:
        assert killed(process) == []


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.outside(
    kind=KIND, case="Ray of a laptop", right="loopback, sockets below a folder of mode 0700, gone with its run"
)
@pytest.mark.parametrize("is_killed", [False, True], ids=["ended", "killed"])
def test_ray_of_a_laptop_listens_on_loopback_and_ends_with_its_parent(tmp_path, is_killed):
    process, session = started(RAY, tmp_path)
    own = next(path for path in Path(session).parents if path.name.startswith("lift3d-ray-"))
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert listening(process.pid) == {"127.0.0.1"}
    if is_killed:
        assert killed(process) == []
        return
    children = psutil.Process(process.pid).children(recursive=True)
    process.communicate()
    assert process.returncode == 0
    assert psutil.wait_procs(children, timeout=GONE_WITHIN_S)[1] == []
    assert not own.exists()


@pytest.mark.cluster
@pytest.mark.outside(kind="9 operations", case="kill of a command", right="one line, exit code 143, no stack")
@pytest.mark.parametrize(
    ("words", "sign"),
    [
        pytest.param(
            ["run", "procedural:room?views=40&height=96&width=128", "--operator", "rgb", "--store", "STORE"],
            None,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [
                "run",
                "procedural:room?views=40&height=96&width=128",
                "--operator",
                "rgb",
                "--store",
                "STORE",
                "--workers",
                "1",
            ],
            None,
            marks=pytest.mark.slow,
        ),
        (["view", "VIEWED", "--port", "0", "--no-open"], "end"),
    ],
    ids=["run", "run on Ray", "view"],
)
def test_kill_ends_a_command_in_one_line(tmp_path, words, sign):
    viewed, store = str(tmp_path / "viewed"), tmp_path / "store"
    if "VIEWED" in words:
        run_into(viewed, tiny_rooms(1))
    names = {"STORE": str(store), "VIEWED": viewed}
    with (tmp_path / "said").open("wb+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "lift3d", *(names.get(word, word) for word in words)],
            env=environment_in(tmp_path, PYTHONPATH=os.environ.get("PYTHONPATH", os.getcwd()), PYTHONUNBUFFERED="1"),
            stdout=said,
            stderr=said,
        )
        try:
            wait(
                lambda: (tmp_path / "said").read_text().find(sign) >= 0 if sign else (store / "scenes").is_dir(), 200.0
            )
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 143
        finally:
            process.kill()
    text = (tmp_path / "said").read_text()
    assert "terminated; what is committed stays" in text.splitlines()
    assert not any(word in text for word in ("Traceback", "*** ", "SIGTERM", "Stack"))
    assert psutil.wait_procs(children, timeout=GONE_WITHIN_S)[1] == []
