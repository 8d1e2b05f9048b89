"""The server that Prefect starts for a run where none is configured: closed to others, and gone with this process."""

import base64
import os
import secrets
import subprocess
import sys
import time

import httpx
import prefect.context
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL

from lift3d.errors import ConfigError, has_secrets

# Of this process: a second run of it finds the server of the first.
_OWN_PASSWORD = f"lift3d:{secrets.token_urlsafe(32)}"
_CLOSED = {
    "PREFECT_SERVER_API_AUTH_STRING": _OWN_PASSWORD,
    "PREFECT_API_AUTH_STRING": _OWN_PASSWORD,
    # Pages of other sites are given nothing; there is no page of ours.
    "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": "http://127.0.0.1",
}
# Ends when nobody holds the other end of standard input any more: its parent is gone, however that came.
_SERVER = """
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
sys.argv[0] = "uvicorn"
from uvicorn.main import main
main()
"""
_PATIENCE_S, _TRIES = 3.0, 2
_REFUSED = (401, 403)


def require_server() -> None:
    """Look whether the configured Prefect server answers; where none is configured, close the one that Prefect starts.

    ConfigError if the configured one does not answer, or refuses this process.
    """
    if PREFECT_API_URL.value():
        _knock(PREFECT_API_URL.value())
        return
    os.environ.update(_CLOSED)
    prefect.context.refresh_global_settings_context()
    # Prefect asks its class for a process, and nobody for how to start it.
    SubprocessASGIServer._run_uvicorn_command = _start_server  # type: ignore[method-assign,assignment]


def _start_server(server: SubprocessASGIServer) -> subprocess.Popen[bytes]:
    """Start the server as Prefect does, but so that it ends with this process."""
    app = ["--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1", "--port", str(server.port)]
    settings = prefect.context.get_settings_context().settings.to_environment_variables(exclude_unset=True)
    ours = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    end, _kept_open = os.pipe()
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _SERVER, *app, "--log-level", "error", "--lifespan", "on"],
            env={**os.environ, **ours, **settings},
            stdin=end,
        )
    finally:
        os.close(end)


def _knock(url: str) -> None:
    """Ask the configured server for its version: a flow would try for minutes, and end in a traceback."""
    if has_secrets(url):
        raise ConfigError(f"PREFECT_API_URL={url} has credentials in it; give them by PREFECT_API_AUTH_STRING.")
    answer: httpx.Response | None = None
    trouble = ""
    for attempt in range(_TRIES):
        time.sleep(attempt)
        try:
            answer = httpx.get(f"{url.rstrip('/')}/admin/version", headers=_key(), timeout=_PATIENCE_S)
            break
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            trouble = f"{type(error).__name__}: {error}".rstrip(".")
    where = f"The Prefect server at {url} (PREFECT_API_URL of the environment or of a profile)"
    if answer is None:
        raise ConfigError(
            f"{where} does not answer: {trouble}. Start it, correct or unset the URL, or run with --serial."
        )
    if answer.status_code in _REFUSED:
        raise ConfigError(
            f"{where} refuses this process (HTTP {answer.status_code}). Set PREFECT_API_AUTH_STRING or PREFECT_API_KEY "
            "to what it expects, or run with --serial."
        )


def _key() -> dict[str, str]:
    if password := PREFECT_API_AUTH_STRING.value():
        return {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"}
    key = PREFECT_API_KEY.value()
    return {"Authorization": f"Bearer {key}"} if key else {}
