"""The flow ``train-lifter``: a training of the learned lifter on Ray, its figures beside the run in Prefect.

Parameters are flat, plain data; together they are one TrainingSettings and part of one Execution.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from flows.training_workers import train_on_ray
from lift3d.config import Execution, parse_execution
from lift3d.training.curves import draw_curves
from lift3d.training.settings import TrainingSettings, parse_settings
from lift3d.training.train import read_history

_ARTIFACT_ROWS = 500


@flow(name="train-lifter", persist_result=False, result_serializer="json")
def train_lifter(
    out: str,
    folder: str = "runs/training",
    seed: int = 1,
    scenes: int = 400,
    validation_scenes: int = 24,
    density_steps: int = 3000,
    corrector_steps: int = 2000,
    density_rate: float = 3e-3,
    corrector_rate: float = 2e-3,
    processes: int = 1,
    workers: int = 1,
    operators: tuple[str, ...] = (),
    plugins: tuple[str, ...] = (),
    operator_share: float = 0.7,
    captures: tuple[str, ...] = (),
    capture_share: float = 0.5,
    density_from: str | None = None,
    ray_address: str | None = None,
    attempts: int = 3,
) -> Any:
    """Train the learned lifter and write its checkpoint, card, history and curves.

    Running it again continues where it stopped.

    Args:
        out: Checkpoint to write, a .safetensors file; its card stands beside it.
        folder: Scenes and states of the run, on a disk that all nodes share; a run is resumed from here.
        seed: Of scenes, feature spaces and networks.
        scenes: Rendered scenes; each gives many examples.
        validation_scenes: Scenes that are never trained on.
        density_steps: Examples per process that stage I is trained on.
        corrector_steps: Examples per process that stage II is trained on.
        density_rate: Learning rate of stage I.
        corrector_rate: Learning rate of stage II.
        processes: Processes that train together: a step learns from one example of each.
        workers: Processes that prepare examples for each of them.
        operators: 2D models whose features stage II learns from beside the computed feature spaces.
        plugins: module:attribute or file.py:attribute of operators of one's own.
        operator_share: Share of stage II's feature spaces that is theirs, if there are any.
        captures: Locations of posed scenes to train on beside the computed ones.
        capture_share: Share of the examples that is theirs, if there are any.
        density_from: Checkpoint whose stage I is taken as it is; density_steps is then 0.
        ray_address: Ray cluster to use; none starts one in this process.
        attempts: Tries when a process is lost; each goes on from the last saved step.
    """
    arguments = dict(locals())
    settings = parse_settings({name: arguments[name] for name in TrainingSettings.model_fields})
    execution = parse_execution(
        {"store": folder, "ray_address": ray_address, "workers": processes, "attempts": attempts}
    )
    checkpoint = train_networks(settings, execution)
    curves = draw_curves(settings.folder)
    history = read_history(settings.folder)
    _show_figures(settings.out.stem, history)
    summary = {
        "checkpoint": str(checkpoint),
        "card": str(checkpoint.with_suffix(".md")),
        "curves": str(curves),
        "figures": {stage: entries[-1] for stage, entries in history.items()},
    }
    return Completed(message=f"{checkpoint.name} trained", data=summary)


@task(name="train-networks", retries=0, cache_policy=NO_CACHE, persist_result=False, result_serializer="json")
def train_networks(settings: TrainingSettings, execution: Execution) -> Path:
    """Train on Ray; retries happen there, from the last saved step."""
    return train_on_ray(settings, execution)


def _show_figures(name: str, history: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Put the validation figures beside the run in the Prefect UI, the newest of each stage first."""
    rows = [
        {"stage": stage, "figure": figure.removeprefix("validation_"), "step": entry["step"], "value": round(value, 4)}
        for stage, entries in history.items()
        for entry in reversed(entries)
        for figure, value in entry.items()
        if figure.startswith("validation_")
    ]
    create_table_artifact(
        table=rows[:_ARTIFACT_ROWS],
        key="training-figures",
        description=f"Validation of {name}: errors over those without training, so 1 is no gain.",
    )
