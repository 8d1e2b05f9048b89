"""Train both stages, one after the other, and write the checkpoint, its card and its history."""

import copy
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from lift3d.errors import ConfigError, NoOverlapError
from lift3d.lifters.catalog import LIFT3D
from lift3d.lifters.checkpoint import Checkpoint, save_checkpoint, untrained
from lift3d.lifters.corrective import Lift3D
from lift3d.training import corrector_step, density_step
from lift3d.training.card import History, render_card
from lift3d.training.examples import Example, ExampleStream
from lift3d.training.loop import SOLO, Loss, Schedule, Team, TrainingState, run_stage
from lift3d.training.scene_cache import ExampleCache
from lift3d.training.settings import TrainingSettings

_Batch = TypeVar("_Batch")

DENSITY, CORRECTOR = "density", "corrector"
HISTORY = "history.json"
# Of held-out scenes; trained on are 2 to 10, so that any number the lifter meets is in reach.
_VALIDATION_SOURCES = (4, 8)
_SOURCES = (2, 10)
# A drawn target may face away from all sources; the next draw of the same step takes its place.
_DRAWS = 8
_LEAST_SEEN = 0.3


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know how a training goes; by default nobody.

    Attributes:
        on_step: Told a stage, how many of its steps are done, and of how many.
        on_validation: Told a stage and its validation figures.
    """

    on_step: Callable[[str, int, int], None] = field(default=lambda stage, done, total: None)
    on_validation: Callable[[str, Mapping[str, float]], None] = field(default=lambda stage, figures: None)


def train(settings: TrainingSettings, listener: Listener | None = None, team: Team = SOLO) -> Path:
    """Train, or continue, and write the checkpoint with its card, and ``history.json`` beside the run's state.

    Args:
        settings: What to train.
        listener: Who wants to know.
        team: Which of the settings' processes this is.

    Returns:
        The checkpoint.

    Raises:
        ConfigError: If the folder belongs to another training, or the team is not of the size that was asked for.
        NonFiniteError: If the training diverges.
        WorkerLostError: If a process that prepares examples is gone.
    """
    if team.size != settings.processes:
        raise ConfigError(
            f"The settings ask for {settings.processes} processes that train together, got a team of {team.size}. "
            "Run with --processes, or start as many."
        )
    run = _Run(settings, listener or Listener(), team)
    density = run.stage(DENSITY)
    corrector = run.stage(CORRECTOR, density)
    if team.rank == 0:
        about = _about(settings, {DENSITY: density, CORRECTOR: corrector})
        save_checkpoint(settings.out, Checkpoint(_frozen(density.averaged), _frozen(corrector.averaged), about))
        card = render_card(settings.out.stem, about)
        settings.out.with_suffix(".md").write_text(card, encoding="utf-8")
    return settings.out


def read_history(folder: Path) -> History:
    """Return the validations of each stage that a run in this folder has done so far.

    Raises:
        ConfigError: If the file does not read.
    """
    path = folder / HISTORY
    if not path.is_file():
        return {}
    try:
        history: History = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' does not read as JSON ({error}). Delete it; the next run writes it.") from error
    return history


class DensityBatches:
    """Number to a batch of stage I.

    Args:
        stream: Examples; its seed is that of the windows, too.
    """

    def __init__(self, stream: ExampleStream) -> None:
        self._stream = stream

    def __call__(self, step: int) -> density_step.DensityBatch:
        """Prepare the step's example, or the next one that is any good."""

        def prepare(example: Example, draw: int) -> density_step.DensityBatch | None:
            batch = density_step.prepare(example, np.random.default_rng([self._stream.seed, draw, 6]))
            return batch if batch.seen_share >= _LEAST_SEEN else None

        return _first_good(self._stream, step, prepare)


class CorrectorBatches:
    """Number to a batch of stage II.

    Args:
        stream: Examples; its seed is that of the feature spaces, too.
        lifter: Gives stage I.
    """

    def __init__(self, stream: ExampleStream, lifter: Lift3D) -> None:
        self._stream, self._lifter = stream, lifter

    def __call__(self, step: int) -> corrector_step.CorrectorBatch:
        """Prepare the step's example, or the next one that is any good."""

        def prepare(example: Example, draw: int) -> corrector_step.CorrectorBatch | None:
            rng = np.random.default_rng([self._stream.seed, draw, 7])
            batch = corrector_step.prepare(self._lifter, example, rng)
            return batch if batch.seen_share >= _LEAST_SEEN else None

        return _first_good(self._stream, step, prepare)


class HeldOut(Mapping[str, Any]):
    """Batches that are never trained on, prepared when first asked for and kept.

    Args:
        prepare: Number of a batch to the batch.
        count: How many.
    """

    def __init__(self, prepare: Callable[[int], Any], count: int) -> None:
        self._prepare, self._count = prepare, count
        self._kept: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._kept:
            self._kept[name] = self._prepare(int(name))
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return (str(number) for number in range(self._count))

    def __len__(self) -> int:
        return self._count


class _Run:
    """One training: its scenes, its schedules, and who is told."""

    def __init__(self, settings: TrainingSettings, listener: Listener, team: Team) -> None:
        self._settings, self._listener, self._team = settings, listener, team
        scenes = ExampleCache(settings.folder / "scenes", settings.seed, settings.scenes)
        held_out = ExampleCache(settings.folder / "validation", settings.seed + 1, settings.validation_scenes)
        self._streams = (
            ExampleStream(scenes, settings.seed, *_SOURCES),
            ExampleStream(held_out, settings.seed + 1, *_VALIDATION_SOURCES),
        )

    def stage(self, name: str, density: TrainingState | None = None) -> TrainingState:
        """Train or continue a stage; the corrector needs the density that it corrects."""
        settings, team = self._settings, self._team
        # Every process starts from equal weights, whatever it has drawn before.
        torch.manual_seed(settings.seed)
        network: nn.Module
        loss: Loss
        if density is None:
            network, loss, schedule = untrained().density, density_step.density_loss, self._schedule(DENSITY)
        else:
            network, loss, schedule = untrained().corrector, corrector_step.corrector_loss, self._schedule(CORRECTOR)
        network.train().requires_grad_(True)
        optimizer = torch.optim.Adam(network.parameters(), schedule.learning_rate)
        state = TrainingState(network, copy.deepcopy(network), optimizer, self._identity(name))
        prepare, held_out = (self._batches(stream, density) for stream in self._streams)
        run_stage(
            state,
            schedule,
            prepare,
            loss,
            HeldOut(held_out, settings.validation_scenes),
            workers=settings.workers,
            checkpoint=settings.folder / f"{name}.pt",
            log=lambda figures: self._validated(name, state, figures),
            team=team,
            on_step=lambda step: self._listener.on_step(name, step, schedule.steps),
        )
        return state

    def _schedule(self, name: str) -> Schedule:
        settings = self._settings
        if name == DENSITY:
            return Schedule(settings.density_steps, settings.density_rate, seed=settings.seed)
        return Schedule(settings.corrector_steps, settings.corrector_rate, seed=settings.seed)

    def _identity(self, name: str) -> dict[str, Any]:
        """What the stage's state depends on: stage I knows nothing of stage II."""
        identity = self._settings.identity
        if name == CORRECTOR:
            return identity
        return {key: value for key, value in identity.items() if not key.startswith(CORRECTOR)}

    def _batches(self, stream: ExampleStream, density: TrainingState | None) -> Callable[[int], Any]:
        if density is None:
            return DensityBatches(stream)
        networks = Checkpoint(_frozen(density.averaged), untrained().corrector, {})
        lifter = Lift3D(LIFT3D, networks, density_step.SWEEP)
        return CorrectorBatches(stream, lifter)

    def _validated(self, name: str, state: TrainingState, figures: Mapping[str, float]) -> None:
        folder = self._settings.folder
        history = {**read_history(folder), name: state.history}
        partial = folder / f"{HISTORY}.partial"
        partial.write_text(json.dumps(history, indent=1), encoding="utf-8")
        partial.replace(folder / HISTORY)
        self._listener.on_validation(name, figures)


def _first_good(stream: ExampleStream, step: int, prepare: Callable[[Example, int], _Batch | None]) -> _Batch:
    for attempt in range(_DRAWS):
        # Far beyond the steps of any training, so that no draw serves two of them.
        draw = step + attempt * 10_000_019
        try:
            batch = prepare(stream.example(draw), draw)
        except NoOverlapError:
            continue
        if batch is not None:
            return batch
    raise NoOverlapError(f"{_DRAWS} draws in a row gave no target that its sources see; step {step}.")


def _about(settings: TrainingSettings, stages: Mapping[str, TrainingState]) -> dict[str, Any]:
    """What a checkpoint says of how it was made, as its card tells it."""
    return {
        "settings": settings.identity,
        "command": settings.command,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} used to train, no GPU",
        "torch": torch.__version__,
        "sources": list(_SOURCES),
        "validation_sources": list(_VALIDATION_SOURCES),
        "parameters": {name: sum(one.numel() for one in state.network.parameters()) for name, state in stages.items()},
        "seconds": {name: round(state.seconds) for name, state in stages.items()},
        "history": {name: [state.history[0], state.history[-1]] for name, state in stages.items()},
    }


def _frozen(network: nn.Module) -> Any:
    return network.eval().requires_grad_(False)
