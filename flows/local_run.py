"""A flow run from this process, as the command line starts it: quiet, and with a callback per finished scene.

Imports neither Prefect nor Ray until it is called.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from pydantic import ValidationError

from flows.progress import Listener, OnScene, called_by
from lift3d.config import Execution, Recipe, scene_name
from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError, WorkerError
from lift3d.extras import extra
from lift3d.runs.scene_lists import EXACT_LIST
from lift3d.storage.layout import run_path
from lift3d.storage.location import open_store

# Of 500 characters each they still fit into what Prefect takes.
_MOST_SCENES = 1000
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
    # Nobody can have asked it to act on anything.
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    # It runs here: where it does not answer it is gone, with Ctrl-C for one, and the default waits for a minute.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
}
# Our own errors are printed once, by the command line; this hides only the console's copy.
_QUIET_CONSOLE = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}

Report = Callable[[str, int, int], None]


def run_flow(
    recipe: Recipe, execution: Execution, on_scene: OnScene, report: Report, prepare: Any = None
) -> list[SceneRecord]:
    """Run the flow ``lift-scenes`` here, on the configured Prefect server or a temporary one; a record per scene."""
    quiet_prefect(os.environ)
    with extra("cluster"), _valid_settings():
        from flows.lift_scenes import lift_scenes
        from flows.temporary_server import require_server

    require_server()
    finished: dict[str, SceneRecord] = {}

    def keep(record: SceneRecord) -> None:
        finished[record.location] = record
        on_scene(record)

    def tell(location: str, stage: str, done: int, total: int) -> None:
        report(f"{scene_name(location)}: {stage}", done, total)

    sent = recipe
    if len(recipe.scenes) > _MOST_SCENES:
        sent = recipe.model_copy(update={"scenes": (_stored_list(recipe, execution),)})
    # Ray prints the death of a node to standard output, which belongs to the table.
    with called_by(Listener(keep, tell), prepare), redirect_stdout(sys.stderr), _server_answers():
        state: Any = lift_scenes(sent, execution, return_state=True)
    if not state.is_completed() and len(finished) < len(recipe.scenes):
        state.result(raise_on_failure=True)
    return [finished[location] for location in recipe.scenes]


def quiet_prefect(settings: MutableMapping[str, str]) -> None:
    """Set what the user has not set; Prefect reads its settings when it is imported, so this comes before that."""
    # Who asks for a level wants to see it.
    console = {} if "PREFECT_LOGGING_LEVEL" in settings else _QUIET_CONSOLE
    server = {} if "PREFECT_API_URL" in settings else _EPHEMERAL_SERVER
    for name, value in (_NO_TELEMETRY | console | server).items():
        settings.setdefault(name, value)


def _stored_list(recipe: Recipe, execution: Execution) -> str:
    """Put a long list of scenes into the store and return its location: Prefect takes parameters of 512 KB at most."""
    store = open_store(execution.store, create=True)
    key = f"{run_path(recipe.run_id)}/{EXACT_LIST}"
    store.write_bytes(key, "\n".join(json.dumps({"location": one}) for one in recipe.scenes).encode())
    return store.url_of(key)


@contextmanager
def _valid_settings() -> Iterator[None]:
    """Prefect reads its settings, of the environment and of a profile, when it is imported."""
    try:
        yield
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(
            f"Prefect's settings are invalid: {wrong}. Correct PREFECT_… in the environment or in the profile "
            "(prefect config view), or run with --serial."
        ) from error


@contextmanager
def _server_answers() -> Iterator[None]:
    """Translate the silence of a Prefect server. A temporary one dies of the Ctrl-C that stops this process."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise KeyboardInterrupt from error
        raise WorkerError(
            f"The Prefect server does not answer: {error}. What is committed stays: run again, or with --serial."
        ) from error
