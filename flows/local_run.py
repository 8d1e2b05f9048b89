"""A flow run from this process, as the command line starts it: quiet, and with a callback per finished scene.

Imports neither Prefect nor Ray until it is called.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from pydantic import ValidationError

from flows.progress import Listener, OnScene, called_by
from flows.quiet_prefect import quiet_prefect
from lift3d.config import Execution, Recipe, scene_name
from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError, WorkerError
from lift3d.extras import extra
from lift3d.runs.scene_lists import EXACT_LIST
from lift3d.storage.layout import run_path
from lift3d.storage.location import open_store

# Of 500 characters each they still fit into what Prefect takes.
_MOST_SCENES = 1000

Report = Callable[[str, int, int], None]


def run_flow(
    recipe: Recipe, execution: Execution, on_scene: OnScene, report: Report, prepare: Any = None
) -> list[SceneRecord]:
    """Run the flow ``lift-scenes`` here, on the configured Prefect server or a temporary one; a record per scene."""
    quiet_prefect()
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
