"""The doctor at the door of small servers that answer as Ray, Prefect or a stranger's page would."""

import base64
import importlib.metadata
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.cli import doctor_services
from lift3d.cli.doctor_services import Finding

OWN = importlib.metadata.version("prefect")


@contextmanager
def serving(answer: Callable[[str, str], tuple[int, str]]) -> Iterator[str]:
    """Serve, during the block, what a function of path and Authorization gives."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/login")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch):
    for name in ("RAY_ADDRESS", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    # A Ray of somebody else on this machine is not what is tested.
    monkeypatch.setattr(doctor_services, "DASHBOARD", "http://127.0.0.1:9")


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def ray(token: str) -> Callable[[str, str], tuple[int, str]]:
    def answer(path, authorization):
        if path != "/api/jobs/":
            return 404, ""
        return (200, "[]") if not token or authorization == f"Bearer {token}" else (401, "")

    return answer


def test_a_dashboard_that_answers_a_stranger_is_bad():
    with serving(ray("")) as url:
        found = only(doctor_services.ray_dashboard(url))
    assert not found.is_fine
    assert "without a token" in found.detail
    assert "RAY_AUTH_MODE=token" in found.to_text()


def test_a_dashboard_that_asks_for_a_token_is_fine():
    with serving(ray("secret")) as url:
        assert only(doctor_services.ray_dashboard(url)).is_fine


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_given_url_that_is_no_dashboard_is_said_to_be_none(status):
    with serving(lambda path, authorization: (status, "")) as url:
        found = only(doctor_services.ray_dashboard(url))
    assert not found.is_fine
    assert str(status) in found.detail


def test_ray_address_and_what_listens_here_are_looked_at_unasked(monkeypatch):
    with serving(ray("")) as open_one, serving(ray("secret")) as closed_one:
        monkeypatch.setenv("RAY_ADDRESS", open_one)
        assert [one.is_fine for one in doctor_services.ray_dashboard()] == [False]
        monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
        assert doctor_services.ray_dashboard() == []
        monkeypatch.setattr(doctor_services, "DASHBOARD", open_one)
        assert [one.is_fine for one in doctor_services.ray_dashboard(closed_one)] == [True, False]


def test_a_dashboard_that_is_not_there_is_bad_only_if_it_was_given():
    assert doctor_services.ray_dashboard() == []
    assert not only(doctor_services.ray_dashboard("http://127.0.0.1:9")).is_fine
    assert not only(doctor_services.ray_dashboard("127.0.0.1:8265")).is_fine


def prefect(version: str, password: str = "") -> Callable[[str, str], tuple[int, str]]:
    expected = f"Basic {base64.b64encode(password.encode()).decode()}"

    def answer(path, authorization):
        if password and authorization != expected:
            return 401, "{}"
        return (200, json.dumps(version)) if path == "/api/admin/version" else (404, "{}")

    return answer


def test_a_run_without_a_server_needs_none():
    assert doctor_services.prefect_server() == []


@pytest.mark.parametrize(("version", "is_fine"), [(OWN, True), ("3.0.0", False)])
def test_a_server_of_another_version_is_bad(monkeypatch, version, is_fine):
    with serving(prefect(version)) as url:
        monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
        found = only(doctor_services.prefect_server())
    assert found.is_fine == is_fine
    assert version in found.detail


def test_a_server_on_another_host_must_ask_who_is_there(monkeypatch):
    monkeypatch.setattr(doctor_services, "_is_local", lambda url: False)
    with serving(prefect(OWN)) as url:
        monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
        door, version = doctor_services.prefect_server()
    assert not door.is_fine
    assert "without authentication" in door.detail
    assert "PREFECT_SERVER_API_AUTH_STRING" in door.remedy
    assert version.is_fine


@pytest.mark.parametrize(("key", "is_fine"), [("admin:pass", True), ("admin:other", False), ("", False)])
def test_a_server_that_asks_is_asked_with_the_key_of_this_machine(monkeypatch, key, is_fine):
    monkeypatch.setattr(doctor_services, "_is_local", lambda url: False)
    if key:
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", key)
    with serving(prefect(OWN, "admin:pass")) as url:
        monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
        found = only(doctor_services.prefect_server())
    assert found.is_fine == is_fine
    assert "admin" not in found.to_text().replace("/admin/", "")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "no-url"])
def test_a_server_that_is_not_there_is_bad(monkeypatch, url):
    monkeypatch.setenv("PREFECT_API_URL", url)
    assert not only(doctor_services.prefect_server()).is_fine


def test_loopback_is_this_host_and_all_else_is_not():
    local = ("http://localhost:4200/api", "http://127.0.0.1/api", "http://127.8.8.8/api", "http://[::1]:4200/api")
    assert all(doctor_services._is_local(url) for url in local)
    remote = ("http://10.0.0.3:4200/api", "https://localhost.example.org/api", "http://127.0.0.1.example.org/api")
    assert not any(doctor_services._is_local(url) for url in remote)


def test_a_store_is_proved(tmp_path):
    assert only(doctor_services.store(str(tmp_path / "store"))).is_fine
    (tmp_path / "file").write_text("x")
    found = only(doctor_services.store(str(tmp_path / "file")))
    assert not found.is_fine
    assert "store" in found.detail
    assert doctor_services.store(None) == []


def test_the_command_fails_when_something_is_bad(monkeypatch, tmp_path):
    with serving(ray("")) as url:
        ran = CliRunner().invoke(cli.app, ["doctor", "--ray-dashboard", url, str(tmp_path / "store")])
    assert ran.exit_code == cli.Exit.ERROR
    assert "BAD  ray dashboard" in ran.stdout
    assert "ok   store" in ran.stdout
