"""Whether the services that a run uses are the right ones and closed to strangers: Ray, Prefect, the store."""

import base64
import functools
import importlib.metadata
import importlib.util
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from lift3d.errors import Lift3dError, has_secrets, without_secrets

# Where Ray's dashboard listens if nobody says otherwise.
DASHBOARD = "http://127.0.0.1:8265"
# A service in the next rack answers within milliseconds; the doctor is not to keep anybody waiting.
_PATIENCE_S = 3.0
_REFUSED = (401, 403)
_MOST_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, whether it is as it should be, and what to do if not."""

    subject: str
    is_fine: bool
    detail: str
    remedy: str = ""

    def to_text(self) -> str:
        """Return one line, with the remedy where there is something to mend."""
        remedy = "" if self.is_fine else f" → {self.remedy}"
        return without_secrets(f"{'ok  ' if self.is_fine else 'BAD '} {self.subject}: {self.detail}{remedy}")


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status of a service (0 if it did not answer), and the beginning of what it said, or why it did not."""

    status: int
    body: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for an answer: it may lead to a page for people to log in, which is no open door."""

    def redirect_request(self, *arguments: object) -> None:
        """Follow nothing."""


def ray_dashboard(url: str | None = None) -> list[Finding]:
    """Ask the dashboards for their jobs as a stranger would: who may ask for them may start one, on every node.

    Besides the URL, that of RAY_ADDRESS is asked if it is one, and this machine's if something listens there.
    """
    given = [one.rstrip("/") for one in (url, os.environ.get("RAY_ADDRESS", "")) if one and _is_http(one)]
    findings = []
    if url and not _is_http(url):
        findings.append(Finding("ray dashboard", False, f"'{url}' is no URL", "give http://HOST:8265"))
    if any(map(has_secrets, given)):
        return [
            Finding("ray dashboard", False, f"{', '.join(given)} has credentials in it", "give RAY_AUTH_TOKEN instead")
        ]
    default = [DASHBOARD] if DASHBOARD not in given and _listens(DASHBOARD) else []
    return findings + [_dashboard(one, one in given) for one in dict.fromkeys([*given, *default])]


def _dashboard(url: str, is_given: bool) -> Finding:
    answer = _get(f"{url}/api/jobs/")
    if answer.status == 200:
        return Finding(
            "ray dashboard",
            False,
            f"{url} answers the jobs API without a token, so whoever reaches it runs any code on the cluster",
            "start Ray with RAY_AUTH_MODE=token, keep the dashboard on 127.0.0.1 or in a closed network",
        )
    if answer.status in _REFUSED:
        return Finding("ray dashboard", True, f"{url} asks for a token")
    said = f"HTTP status {answer.status}" if answer.status else answer.body
    return Finding(
        "ray dashboard",
        not is_given,
        f"{url} does not answer as Ray's jobs API does ({said})",
        "check the URL (http://HOST:8265), and that the cluster was started with its dashboard",
    )


def prefect_api() -> str:
    """Return the URL of the Prefect server that runs use, of the environment or of a profile; empty if none is set.

    Raises:
        ValueError: If Prefect finds its settings invalid.
    """
    api = os.environ.get("PREFECT_API_URL", "")
    if not api and importlib.util.find_spec("prefect") is not None:
        from prefect.settings import PREFECT_API_URL

        api = PREFECT_API_URL.value() or ""
    return api.rstrip("/")


def prefect_server(api: str) -> list[Finding]:
    """Ask a Prefect server for its version, as a stranger and with the key of this machine."""
    if not api:
        return []
    bad = functools.partial(Finding, "prefect server", False)
    if has_secrets(api):
        return [bad(f"PREFECT_API_URL={api} has credentials in it", "give them as PREFECT_API_AUTH_STRING")]
    if not _is_http(api):
        return [bad(f"PREFECT_API_URL={api} is no URL", "set http://HOST:4200/api")]
    stranger = _get(f"{api}/admin/version")
    if not stranger.status:
        remedy = "start the server, correct PREFECT_API_URL, or unset it: then each run has a server of its own"
        return [bad(f"{api} does not answer ({stranger.body})", remedy)]
    findings = []
    if stranger.status == 200 and not _is_local(api):
        detail = f"{api} is on another host and answers without authentication, so whoever reaches it starts flows"
        remedy = "set PREFECT_SERVER_API_AUTH_STRING on the server, and the same as PREFECT_API_AUTH_STRING here"
        findings.append(bad(detail, remedy))
    known = stranger if stranger.status == 200 else _get(f"{api}/admin/version", _prefect_key())
    return [*findings, _prefect_version(api, known)]


def _prefect_version(api: str, answer: Answer) -> Finding:
    own = importlib.metadata.version("prefect")
    if answer.status in _REFUSED:
        return Finding(
            "prefect version",
            False,
            f"{api} refuses this machine's key",
            "set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY) to what the server expects",
        )
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, str):
        # Prefect Cloud says no version, and keeps up with its clients by itself.
        return Finding("prefect version", True, f"{own} here, {api} does not say its own")
    return Finding(
        "prefect version",
        found == own,
        f"the server {api} has {found}, this machine {own}",
        "install the same version on both sides; a server that is older than its client refuses what it does not know",
    )


def store(url: str | None) -> list[Finding]:
    """Prove that a store can be read, written and tidied up, and that it keeps two workers from both committing."""
    if url is None:
        return []
    from lift3d.storage.location import open_store  # slow to import, and not always asked for

    try:
        opened = open_store(url, create=True)
    except Lift3dError as error:
        return [Finding("store", False, f"({error.reason}) {error}", "mend that, or give another store")]
    return [Finding("store", True, f"{opened.url} can be read and written, and create-only writes hold")]


def _get(url: str, headers: Mapping[str, str] | None = None) -> Answer:
    # A proxy would answer for itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
    try:
        with opener.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=_PATIENCE_S) as response:
            return Answer(response.status, response.read(_MOST_BYTES).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read(_MOST_BYTES).decode(errors="replace"))
    except (OSError, ValueError) as error:
        return Answer(0, f"{type(error).__name__}: {error}")


def _prefect_key() -> dict[str, str]:
    if password := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"}
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    return {}


def _is_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1.0):
            return True
    except OSError:
        return False
