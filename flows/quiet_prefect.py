"""Settings of a run on a laptop: no telemetry, no console noise, time for the temporary server to come up.

Prefect reads its settings when it is imported, so this is called before that; it imports neither Prefect nor
Ray itself.
"""

import os
from collections.abc import MutableMapping

# Off by default in a tool that runs on private captures; all of it is Prefect's and Ray's own vocabulary.
_NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# The first start migrates a database: measured up to 14 s on two busy cores, the default limit is 20 s.
_EPHEMERAL_SERVER = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    # It runs here: where it does not answer it is gone, with Ctrl-C for one, and the default waits for a minute.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
}
# Our own errors are printed once, by the command line; this hides only the console's copy.
_QUIET_CONSOLE = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}


def quiet_prefect(environment: MutableMapping[str, str] | None = None) -> None:
    """Set what the user has not set."""
    settings = os.environ if environment is None else environment
    wanted = {**_NO_TELEMETRY, **_QUIET_CONSOLE}
    if "PREFECT_API_URL" not in settings:
        wanted |= _EPHEMERAL_SERVER
    if "PREFECT_LOGGING_LEVEL" in settings:
        # Who asks for a level wants to see it.
        wanted = {name: value for name, value in wanted.items() if name not in _QUIET_CONSOLE}
    for name, value in wanted.items():
        settings.setdefault(name, value)
