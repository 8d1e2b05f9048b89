"""The flow ``train-lifter``: a training of the learned lifter on Ray, its figures beside the run in Prefect."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from flows.training_workers import train_on_ray
from lift3d.config import Execution
from lift3d.training.settings import TrainingSettings
from lift3d.training.train import read_history

_ARTIFACT_ROWS = 500


@flow(name="train-lifter", persist_result=False, result_serializer="json")
def train_lifter(settings: TrainingSettings, ray_address: str | None = None, attempts: int = 3) -> Any:
    """Train the learned lifter and write its checkpoint, card and history.

    Running it again continues where it stopped.

    Args:
        settings: What to train, and where it is kept.
        ray_address: Ray cluster to use; none starts one in this process.
        attempts: Tries when a process is lost; each goes on from the last saved step.
    """
    execution = Execution(
        store=str(settings.folder), ray_address=ray_address, workers=settings.processes, attempts=attempts
    )
    checkpoint = train_networks(settings, execution)
    return completed(checkpoint, settings.folder, "errors over those without training, so 1 is no gain")


@task(name="train-networks", retries=0, cache_policy=NO_CACHE, persist_result=False, result_serializer="json")
def train_networks(settings: TrainingSettings, execution: Execution) -> Path:
    """Train on Ray; retries happen there, from the last saved step."""
    return train_on_ray(settings, execution)


def completed(weights: Path, folder: Path, about: str) -> Any:
    """Show the figures of a training whose states lie in a folder, and return the state of its flow.

    ``about`` says what the figures are.
    """
    history = read_history(folder)
    show_figures(history, f"Validation of {weights.stem}: {about}.")
    summary = {
        "checkpoint": str(weights),
        "card": str(weights.with_suffix(".md")),
        "figures": {stage: entries[-1] for stage, entries in history.items()},
    }
    return Completed(message=f"{weights.name} trained", data=summary)


def show_figures(history: Mapping[str, Sequence[Mapping[str, float]]], about: str) -> None:
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
        description=about,
    )
