"""The flow ``lift-scenes``: batches of scenes as Prefect tasks. What a scene is, only the workers know.

Parameters are flat, plain data, so that the command line, the Prefect UI and ``prefect deployment run
--param`` fill them alike; together they are one Recipe and one Execution, which say what is allowed.
"""

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
from flows.progress import Listener, Manifest, current_listener, current_prepare
from flows.run_artifacts import RunArtifacts
from flows.stop_hooks import stop_ray_jobs
from lift3d.config import Execution, Recipe, TargetMode, parse_execution, parse_recipe
from lift3d.errors import SceneError
from lift3d.runs.driver import begin_run
from lift3d.runs.scene_lists import expand_scenes
from lift3d.storage.location import open_store

# A run holds this much of each scene's record, whatever their number.
_SUMMARY_FIELDS = ("scene", "location", "outcome", "reason")


@flow(
    name="lift-scenes",
    persist_result=False,
    result_serializer="json",
    on_cancellation=[stop_ray_jobs],
    on_crashed=[stop_ray_jobs],
)
def lift_scenes(
    scenes: tuple[str, ...] | str,
    store: str,
    operators: tuple[str, ...] = ("rgb",),
    lifters: tuple[str, ...] = ("lift3d",),
    metrics: tuple[str, ...] = (),
    image_height: int = 256,
    sources: int = 8,
    holdout: int | None = None,
    target_mode: TargetMode = "refine",
    targets: str | None = None,
    taps: int | None = None,
    plugins: tuple[str, ...] = (),
    ray_address: str | None = None,
    workers: int | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float = 0.0,
    threads_per_worker: int = 1,
    batch_size: int = 100,
    split_views: int = 256,
    scene_deadline_s: float = 3600.0,
    heartbeat_s: float = 900.0,
    lease_s: float = 60.0,
    attempts: int = 3,
    retry_quarantined: bool = False,
    breaker_failures: int = 20,
    memory_allowance_bytes: int = 8 * 2**30,
) -> Any:
    """Lift scenes: encode, lift, decode and score every target view, into the store.

    Running it again continues where it stopped. The run fails if every scene failed or if something concerns
    all scenes (an unknown name, a store that does not answer); otherwise it completes and says how many did.

    Args:
        scenes: Locations of posed scenes, or the location of a list of them (.txt, .csv, .jsonl, .parquet).
        store: URL of the store (local path or s3://).
        operators: 2D models, by catalog name.
        lifters: Rules for weights, by catalog name; raw2d is always in the table beside them.
        metrics: Metric ids; empty means all that apply.
        image_height: Height in pixels at which views are encoded and lifted.
        sources: Source views per target.
        holdout: Every N-th view is a target; none makes every view a target.
        target_mode: refine: the target's own view is one source among the others. heldout: it never is.
        targets: Novel cameras instead of the scene's own: a cameras file, or path:COUNT.
        taps: Source samples per target cell; none means four per source.
        plugins: module:attribute or file.py:attribute of operators of one's own.
        ray_address: Ray cluster to use: http://HOST:8265 submits a job per batch, HOST:6379 drives it from a
            machine of the cluster; none starts one in this process.
        workers: Scene workers at most; none means what the cluster holds.
        cpus_per_worker: CPUs reserved per worker.
        gpus_per_worker: GPUs reserved per worker, fractions allowed.
        threads_per_worker: torch threads per worker.
        batch_size: Scenes per Prefect task.
        split_views: Scenes of more views than this are encoded and lifted by several workers.
        scene_deadline_s: Longest time in seconds that one scene may take.
        heartbeat_s: Longest time in seconds that a scene at work may be silent before its worker is replaced.
        lease_s: Seconds without a word from the flow after which workers and jobs end themselves.
        attempts: Tries of a scene whose worker was lost; then it is quarantined.
        retry_quarantined: Try quarantined scenes again.
        breaker_failures: So many scenes that fail alike, and at least half of those finished, stop the run.
        memory_allowance_bytes: Largest peak that one worker's plan may have.
    """
    arguments = {**locals(), "scenes": expand_scenes(scenes)}
    recipe = parse_recipe({name: value for name, value in arguments.items() if name in Recipe.model_fields})
    execution = parse_execution({name: value for name, value in arguments.items() if name in Execution.model_fields})
    begin_run(recipe, open_store(execution.store, create=True))
    shown = RunArtifacts(recipe, execution.store)
    outcomes: list[Manifest] = []
    with batch_runner(recipe, execution, _began_at(), current_prepare()) as run:
        for number, batch in enumerate(_batches(recipe.scenes, execution.batch_size)):
            named: Callable[..., list[Manifest]] = lift_batch.with_options(task_run_name=f"scenes-{number:05d}")
            # Quoted: Prefect would search them for futures, name by name.
            outcomes += named(quote(batch), quote(run), quote(shown))
    return _final_state(recipe, execution, outcomes, shown)


@task(name="lift-batch", retries=0, cache_policy=NO_CACHE, persist_result=False, result_serializer="json")
def lift_batch(batch: Sequence[str], run: BatchRunner, shown: RunArtifacts) -> list[Manifest]:
    """Run one batch of scenes; retries happen there, scene by scene. Returns what a summary needs of each."""
    told = current_listener()

    def on_scene(manifest: Manifest) -> None:
        told.on_scene(manifest)
        shown.on_scene(manifest)

    manifests = run(batch, Listener(on_scene, told.on_stage))
    return [{name: manifest[name] for name in _SUMMARY_FIELDS} for manifest in manifests]


def _final_state(
    recipe: Recipe, execution: Execution, outcomes: list[Manifest], shown: RunArtifacts
) -> State[dict[str, Any]]:
    """Return the state a run ends in, with the summary as its result.

    Raises:
        SceneError: If no scene could be run.
    """
    failed = [scene for scene in outcomes if scene["outcome"] != "ok"]
    shown.show_end(outcomes, open_store(execution.store))
    if len(failed) == len(outcomes):
        raise SceneError(
            f"None of {len(failed)} scenes could be run. The first, {failed[0]['location']}: {failed[0]['reason']}"
        )
    counts = Counter(str(scene["outcome"]) for scene in outcomes)
    summary = {"run": recipe.run_id, "store": execution.store, "outcomes": dict(counts), "scenes": outcomes}
    message = f"{len(outcomes) - len(failed)} of {len(outcomes)} scenes done; run {recipe.run_id}"
    return Completed(message=message, data=summary)


def _began_at() -> float:
    """Return when this flow run first ran; a retry of it began then, too."""
    run = FlowRunContext.get()
    start = run.flow_run.start_time if run is not None and run.flow_run is not None else None
    return float(start.timestamp()) if start is not None else time.time()


def _batches(scenes: Sequence[str], size: int) -> list[Sequence[str]]:
    return [scenes[start : start + size] for start in range(0, len(scenes), size)]
