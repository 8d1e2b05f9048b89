"""The flow ``lift-scenes``: batches of scenes as Prefect tasks. What a scene is, only the workers know.

Parameters are flat, plain data, so that the command line, the Prefect UI and ``prefect deployment run
--param`` fill them alike; together they are one Recipe and one Execution, which say what is allowed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.batch_driver import run_batch
from flows.progress import Manifest, current_listener
from flows.ray_cluster import connect
from lift3d.config import Execution, Recipe, TargetMode, parse_execution, parse_recipe
from lift3d.errors import SceneError
from lift3d.runs import begin_run
from lift3d.storage.location import open_store

# An artifact is one row of Prefect's database; the whole list is in the store.
_ARTIFACT_ROWS = 500
_REASON_LENGTH = 300
_SUMMARY_FIELDS = ("scene", "location", "outcome", "reason")


@flow(name="lift-scenes", persist_result=False, result_serializer="json")
def lift_scenes(
    scenes: tuple[str, ...],
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
    scene_deadline_s: float = 3600.0,
    attempts: int = 3,
    memory_allowance_bytes: int = 8 * 2**30,
) -> Any:
    """Lift scenes: encode, lift, decode and score every target view, into the store.

    Running it again continues where it stopped. The run fails if every scene failed or if something concerns
    all scenes (an unknown name, a store that does not answer); otherwise it completes and says how many did.

    Args:
        scenes: Locations of posed scenes.
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
        ray_address: Ray cluster to use; none starts one in this process.
        workers: Scene workers at most; none means what the cluster holds.
        cpus_per_worker: CPUs reserved per worker.
        gpus_per_worker: GPUs reserved per worker, fractions allowed.
        threads_per_worker: torch threads per worker.
        batch_size: Scenes per Prefect task.
        scene_deadline_s: Longest time in seconds that one scene may take.
        attempts: Tries of a scene whose worker was lost.
        memory_allowance_bytes: Largest peak that one worker's plan may have.
    """
    arguments = dict(locals())
    recipe = parse_recipe({name: value for name, value in arguments.items() if name in Recipe.model_fields})
    execution = parse_execution({name: value for name, value in arguments.items() if name in Execution.model_fields})
    begin_run(recipe, open_store(execution.store, create=True))
    manifests: list[Manifest] = []
    with connect(execution):
        for number, batch in enumerate(_batches(recipe.scenes, execution.batch_size)):
            manifests += lift_batch.with_options(task_run_name=f"scenes-{number:05d}")(batch, recipe, execution)
    return _final_state(recipe, execution, manifests)


@task(name="lift-batch", retries=0, cache_policy=NO_CACHE, persist_result=False, result_serializer="json")
def lift_batch(batch: Sequence[str], recipe: Recipe, execution: Execution) -> list[Manifest]:
    """Run one batch of scenes on Ray workers; retries happen there, scene by scene."""
    return run_batch(batch, recipe, execution, current_listener())


def summarize(recipe: Recipe, execution: Execution, manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Return what a run came to: small, JSON-ready."""
    scenes = [{name: manifest[name] for name in _SUMMARY_FIELDS} for manifest in manifests]
    counts = Counter(str(manifest["outcome"]) for manifest in manifests)
    return {"run": recipe.run_id, "store": execution.store, "outcomes": dict(counts), "scenes": scenes}


def _final_state(recipe: Recipe, execution: Execution, manifests: Sequence[Manifest]) -> State[dict[str, Any]]:
    """Return the state a run ends in, with the summary as its result.

    Raises:
        SceneError: If no scene could be run.
    """
    summary = summarize(recipe, execution, manifests)
    failed = [scene for scene in summary["scenes"] if scene["outcome"] != "ok"]
    _show_outcomes(recipe, summary["scenes"])
    if len(failed) == len(manifests):
        raise SceneError(
            f"None of {len(failed)} scenes could be run. The first, {failed[0]['location']}: {failed[0]['reason']}"
        )
    message = f"{len(manifests) - len(failed)} of {len(manifests)} scenes done; run {recipe.run_id}"
    return Completed(message=message, data=summary)


def _show_outcomes(recipe: Recipe, scenes: Sequence[Mapping[str, Any]]) -> None:
    """Put the outcome of each scene beside the run in the Prefect UI, failures first."""
    rows = [
        {"scene": scene["scene"], "outcome": scene["outcome"], "reason": scene["reason"][:_REASON_LENGTH]}
        for is_ok in (False, True)
        for scene in scenes
        if (scene["outcome"] == "ok") == is_ok
    ]
    create_table_artifact(
        table=rows[:_ARTIFACT_ROWS],
        key=f"scenes-{recipe.run_id}",
        description=f"Outcome of {len(rows)} scenes of run {recipe.run_id}, failures first.",
    )


def _batches(scenes: Sequence[str], size: int) -> list[Sequence[str]]:
    return [scenes[start : start + size] for start in range(0, len(scenes), size)]
