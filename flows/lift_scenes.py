"""The flow ``lift-scenes``: batches of scenes as Prefect tasks. What a scene is, only the workers know."""

from collections import Counter
from collections.abc import Callable, Sequence
from textwrap import shorten
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.utilities.annotations import quote

from flows.batch_driver import run_batch
from flows.progress import Listener, caller
from flows.ray_cluster import connect, require_paths_that_travel
from flows.run_artifacts import RunArtifacts
from flows.scene_workers import prepare_scenes
from flows.worker_pool import WorkerPool
from lift3d.config import Execution, Recipe, scene_name
from lift3d.domain.records import SceneRecord
from lift3d.errors import SceneError
from lift3d.runs.records import begin_run
from lift3d.runs.scene_lists import with_listed_scenes
from lift3d.storage.location import open_store

_NAME_LENGTH = 100


def _run_name() -> str:
    """Return what a run is called in lists: what is computed, and of what."""
    given = flow_run.parameters["recipe"]
    recipe = given if isinstance(given, dict) else given.model_dump(include={"scenes", "operators"})
    names, scenes = recipe.get("operators") or ("rgb",), recipe.get("scenes") or ("no scene",)
    more = f" and {len(scenes) - 1} more" if len(scenes) > 1 else ""
    return shorten(
        f"{', '.join(map(str, names))} on {scene_name(str(scenes[0]))}{more}", _NAME_LENGTH, placeholder=" …"
    )


@flow(name="lift-scenes", flow_run_name=_run_name, persist_result=False, result_serializer="json")
def lift_scenes(recipe: Recipe, execution: Execution) -> Any:
    """Lift scenes: encode, lift, decode and score every target view, into the store.

    Running it again continues where it stopped. The run fails if every scene failed or if something concerns
    all scenes (an unknown name, a store that does not answer); otherwise it completes and says how many did.

    Args:
        recipe: What to compute; of many scenes the location of a list, as s3://bucket/scenes.csv (or .txt, .jsonl,
            .parquet).
        execution: Where and how.
    """
    recipe = with_listed_scenes(recipe)
    require_paths_that_travel(recipe, execution)
    begin_run(recipe, open_store(execution.store, create=True))
    shown = RunArtifacts(recipe, execution.store)
    prepare = caller()[1] or prepare_scenes
    outcomes: list[SceneRecord] = []
    # The workers outlive a batch: models are built once per run.
    with connect(execution), WorkerPool(recipe, execution, prepare) as pool:
        for number, start in enumerate(range(0, len(recipe.scenes), execution.batch_size)):
            batch = recipe.scenes[start : start + execution.batch_size]
            named: Callable[..., list[SceneRecord]] = lift_batch.with_options(task_run_name=f"scenes-{number:05d}")
            # Quoted: Prefect would search them for futures, name by name.
            outcomes += named(quote(batch), quote(pool), quote(shown))
    return _final_state(recipe, execution, outcomes, shown)


@task(name="lift-batch", retries=0, cache_policy=NO_CACHE, persist_result=False, result_serializer="json")
def lift_batch(batch: Sequence[str], pool: WorkerPool, shown: RunArtifacts) -> list[SceneRecord]:
    """Run one batch of scenes; retries happen there, scene by scene. Returns what a summary needs of each."""
    listener, _ = caller()

    def on_scene(record: SceneRecord) -> None:
        listener.on_scene(record)
        shown.on_scene(record)

    records = run_batch(batch, pool, Listener(on_scene, listener.on_stage))
    # A run holds this much of each scene's record, whatever their number.
    return [SceneRecord(one.scene, one.location, one.outcome, one.reason) for one in records]


def _final_state(
    recipe: Recipe, execution: Execution, outcomes: list[SceneRecord], shown: RunArtifacts
) -> State[dict[str, Any]]:
    """Return the state a run ends in, with the summary as its result."""
    failed = [scene for scene in outcomes if not scene.is_ok]
    shown.show_end(outcomes, open_store(execution.store))
    if len(failed) == len(outcomes):
        raise SceneError(
            f"None of {len(failed)} scenes could be run. The first, {failed[0].location}: {failed[0].reason}"
        )
    names = ("scene", "location", "outcome", "reason")
    summary = {
        "run": recipe.run_id,
        "store": execution.store,
        "outcomes": dict(Counter(scene.outcome for scene in outcomes)),
        "scenes": [{name: getattr(scene, name) for name in names} for scene in outcomes],
    }
    message = f"{len(outcomes) - len(failed)} of {len(outcomes)} scenes done; run {recipe.run_id}"
    return Completed(message=message, data=summary)
