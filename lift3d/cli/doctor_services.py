"""Whether the services that a run uses are the right ones and closed to strangers: Ray, Prefect, the store."""

import base64
import contextlib
import functools
import http.client
import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from lift3d.domain.keys import parse_json
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


def ray_dashboard(url: str | None = None) -> list[Finding]:
    """Ask the dashboards for their jobs as a stranger would: who may ask for them may start one, on every node.

    Besides the URL, that of RAY_ADDRESS is asked if it is one, and this machine's if something listens there.
    """
    given = [one.rstrip("/") for one in (url, os.environ.get("RAY_ADDRESS", "")) if one and _is_http(one)]
    bad = functools.partial(Finding, "ray dashboard", False)
    findings = [bad(f"'{url}' is no URL", "give http://HOST:8265")] if url and not _is_http(url) else []
    if any(map(has_secrets, given)):
        return [bad(f"{', '.join(given)} has credentials in it", "give RAY_AUTH_TOKEN instead")]
    default = [DASHBOARD] if DASHBOARD not in given and _get(DASHBOARD).status else []
    return findings + [_dashboard(one, one in given) for one in dict.fromkeys([*given, *default])]


def _dashboard(url: str, is_given: bool) -> Finding:
    found = functools.partial(Finding, "ray dashboard")
    answer = _get(f"{url}/api/jobs/")
    if answer.status == 200:
        detail = f"{url} answers the jobs API without a token, so whoever reaches it runs any code on the cluster"
        remedy = "start Ray with RAY_AUTH_MODE=token, keep the dashboard on 127.0.0.1 or in a closed network"
        return found(False, detail, remedy)
    if answer.status in _REFUSED:
        return found(True, f"{url} asks for a token")
    said = f"HTTP status {answer.status}" if answer.status else answer.body
    remedy = "check the URL (http://HOST:8265), and that the cluster was started with its dashboard"
    return found(not is_given, f"{url} does not answer as Ray's jobs API does ({said})", remedy)


def prefect_api() -> str:
    """Return the URL of the Prefect server that runs use, of the environment or of a profile; empty if none is set.

    ValueError if Prefect finds its settings invalid.
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
    own, found = importlib.metadata.version("prefect"), functools.partial(Finding, "prefect version")
    if answer.status in _REFUSED:
        remedy = "set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY) to what the server expects"
        return found(False, f"{api} refuses this machine's key", remedy)
    try:
        version = parse_json(answer.body)
    except ValueError:
        version = None
    if not isinstance(version, str):
        # Prefect Cloud says no version, and keeps up with its clients by itself.
        return found(True, f"{own} here, {api} does not say its own")
    remedy = "install the same version on both sides; an older server refuses what it does not know"
    return found(version == own, f"the server {api} has {version}, this machine {own}", remedy)


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
    """Ask without a proxy, which would answer for itself; a redirection, such as to a login, is an answer."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        with contextlib.closing(kind(parts.hostname or "", parts.port, timeout=_PATIENCE_S)) as connection:
            connection.request("GET", parts.path, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read(_MOST_BYTES).decode(errors="replace"))
    except (OSError, ValueError, http.client.HTTPException) as error:
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
