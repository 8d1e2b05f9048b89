"""The flow ``lift-scenes``: batches of scenes as Prefect tasks. What a scene is, only the workers know."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed
from prefect.utilities.annotations import quote

from flows.batch_runner import BatchRunner, batch_runner
from flows.progress import Listener, current_listener, current_prepare
from flows.run_artifacts import RunArtifacts
from flows.stop_hooks import stop_ray_jobs
from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import SceneError
from lift3d.runs.driver import begin_run
from lift3d.runs.scene_lists import with_listed_scenes
from lift3d.storage.location import open_store


@flow(
    name="lift-scenes",
    persist_result=False,
    result_serializer="json",
    on_cancellation=[stop_ray_jobs],
    on_crashed=[stop_ray_jobs],
)
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
    begin_run(recipe, open_store(execution.store, create=True))
    shown = RunArtifacts(recipe, execution.store)
    outcomes: list[SceneRecord] = []
    with batch_runner(recipe, execution, _began_at(), current_prepare()) as run:
        for number, batch in enumerate(_batches(recipe.scenes, execution.batch_size)):
            named: Callable[..., list[SceneRecord]] = lift_batch.with_options(task_run_name=f"scenes-{number:05d}")
            # Quoted: Prefect would search them for futures, name by name.
            outcomes += named(quote(batch), quote(run), quote(shown))
    return _final_state(recipe, execution, outcomes, shown)


@task(name="lift-batch", retries=0, cache_policy=NO_CACHE, persist_result=False, result_serializer="json")
def lift_batch(batch: Sequence[str], run: BatchRunner, shown: RunArtifacts) -> list[SceneRecord]:
    """Run one batch of scenes; retries happen there, scene by scene. Returns what a summary needs of each."""
    told = current_listener()

    def on_scene(record: SceneRecord) -> None:
        told.on_scene(record)
        shown.on_scene(record)

    records = run(batch, Listener(on_scene, told.on_stage))
    # A run holds this much of each scene's record, whatever their number.
    return [SceneRecord(one.scene, one.location, one.outcome, one.reason) for one in records]


def _final_state(
    recipe: Recipe, execution: Execution, outcomes: list[SceneRecord], shown: RunArtifacts
) -> State[dict[str, Any]]:
    """Return the state a run ends in, with the summary as its result.

    Raises:
        SceneError: If no scene could be run.
    """
    failed = [scene for scene in outcomes if not scene.is_ok]
    shown.show_end(outcomes, open_store(execution.store))
    if len(failed) == len(outcomes):
        raise SceneError(
            f"None of {len(failed)} scenes could be run. The first, {failed[0].location}: {failed[0].reason}"
        )
    counts = Counter(scene.outcome for scene in outcomes)
    scenes = [
        {"scene": one.scene, "location": one.location, "outcome": one.outcome, "reason": one.reason} for one in outcomes
    ]
    summary = {"run": recipe.run_id, "store": execution.store, "outcomes": dict(counts), "scenes": scenes}
    message = f"{len(outcomes) - len(failed)} of {len(outcomes)} scenes done; run {recipe.run_id}"
    return Completed(message=message, data=summary)


def _began_at() -> float:
    """Return when this flow run first ran; a retry of it began then, too."""
    run = FlowRunContext.get()
    start = run.flow_run.start_time if run is not None and run.flow_run is not None else None
    return float(start.timestamp()) if start is not None else time.time()


def _batches(scenes: Sequence[str], size: int) -> list[Sequence[str]]:
    return [scenes[start : start + size] for start in range(0, len(scenes), size)]
