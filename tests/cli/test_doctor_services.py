"""The doctor at the door of small servers that answer as Ray, Prefect or a stranger's page would."""

import base64
import importlib.metadata
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.cli import doctor_services

OWN = importlib.metadata.version("prefect")
NOBODY = "http://127.0.0.1:9"


@contextmanager
def serving(answer):
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

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def answering(known_path, body, key):
    """Answer at one path: to all, or to who shows a key."""

    def answer(path, authorization):
        if key and authorization != key:
            return 401, ""
        return (200, body) if path == known_path else (404, "")

    return answer


def ray(token):
    return answering("/api/jobs/", "[]", token and f"Bearer {token}")


def prefect(version, password=""):
    key = password and f"Basic {base64.b64encode(password.encode()).decode()}"
    return answering("/api/admin/version", json.dumps(version), key)


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch):
    for name in ("RAY_ADDRESS", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    # A Ray of somebody else on this machine is not what is tested.
    monkeypatch.setattr(doctor_services, "DASHBOARD", NOBODY)


@pytest.fixture
def found_at(monkeypatch):
    """Look for a Prefect server that answers so, on another host if asked."""

    def found(answer, *, is_local=True):
        monkeypatch.setattr(doctor_services, "_is_local", lambda url: is_local)
        with serving(answer) as url:
            monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
            return doctor_services.prefect_server(doctor_services.prefect_api())

    return found


@pytest.mark.parametrize(
    ("answer", "is_fine", "said"),
    [
        (ray(""), False, ("without a token", "RAY_AUTH_MODE=token")),
        (ray("secret"), True, ()),
        *((lambda *_, status=status: (status, ""), False, (str(status),)) for status in (302, 404, 500)),
    ],
)
def test_a_dashboard_is_fine_that_asks_strangers_for_a_token(answer, is_fine, said):
    with serving(answer) as url:
        (found,) = doctor_services.ray_dashboard(url)
    assert found.is_fine == is_fine
    assert all(words in found.to_text() for words in said)


def test_ray_address_and_what_listens_here_are_looked_at_unasked(monkeypatch):
    with serving(ray("")) as open_one, serving(ray("secret")) as closed_one:
        monkeypatch.setenv("RAY_ADDRESS", open_one)
        assert [one.is_fine for one in doctor_services.ray_dashboard()] == [False]
        monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
        assert doctor_services.ray_dashboard() == []
        monkeypatch.setattr(doctor_services, "DASHBOARD", open_one)
        assert [one.is_fine for one in doctor_services.ray_dashboard(closed_one)] == [True, False]


def test_a_service_that_is_not_there_is_bad_only_if_it_was_given(monkeypatch):
    assert doctor_services.ray_dashboard() == doctor_services.prefect_server("") == doctor_services.store(None) == []
    for url in (NOBODY, "127.0.0.1:8265"):
        assert [one.is_fine for one in doctor_services.ray_dashboard(url)] == [False]
    for url in (f"{NOBODY}/api", "no-url"):
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert [one.is_fine for one in doctor_services.prefect_server(doctor_services.prefect_api())] == [False]


@pytest.mark.parametrize(("version", "is_fine"), [(OWN, True), ("3.0.0", False)])
def test_a_server_of_another_version_is_bad(found_at, version, is_fine):
    (found,) = found_at(prefect(version))
    assert found.is_fine == is_fine
    assert version in found.detail


def test_a_server_on_another_host_must_ask_who_is_there(found_at):
    door, version = found_at(prefect(OWN), is_local=False)
    assert not door.is_fine
    assert "without authentication" in door.detail
    assert "PREFECT_SERVER_API_AUTH_STRING" in door.remedy
    assert version.is_fine


@pytest.mark.parametrize(("key", "is_fine"), [("admin:pass", True), ("admin:other", False), ("", False)])
def test_a_server_that_asks_is_asked_with_the_key_of_this_machine(found_at, monkeypatch, key, is_fine):
    if key:
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", key)
    (found,) = found_at(prefect(OWN, "admin:pass"), is_local=False)
    assert found.is_fine == is_fine
    assert "admin" not in found.to_text().replace("/admin/", "")


def test_loopback_is_this_host_and_all_else_is_not():
    local = ["localhost:4200", "127.0.0.1", "127.8.8.8", "[::1]:4200"]
    remote = ["10.0.0.3:4200", "localhost.example.org", "127.0.0.1.example.org"]
    assert [host for host in local + remote if doctor_services._is_local(f"http://{host}/api")] == local


def test_the_command_proves_a_store_and_fails_when_something_is_bad(tmp_path):
    (tmp_path / "file").write_text("x")
    (found,) = doctor_services.store(str(tmp_path / "file"))
    assert "store" in found.detail
    with serving(ray("")) as url:
        ran = CliRunner().invoke(cli.app, ["doctor", "--ray-dashboard", url, str(tmp_path / "store")])
    assert ran.exit_code == cli.Exit.ERROR
    assert "BAD  ray dashboard" in ran.stdout
    assert "ok   store" in ran.stdout
