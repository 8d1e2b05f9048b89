"""Train both stages, one after the other, and write the checkpoint, its card and its history."""

import copy
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lift3d.errors import ConfigError
from lift3d.lifters.catalog import LIFT3D
from lift3d.lifters.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, untrained
from lift3d.lifters.checkpoint_files import checkpoint_digest
from lift3d.lifters.corrective import Lift3D
from lift3d.lifters.networks.density_proposal import DensityProposal
from lift3d.training import corrector_step, density_step
from lift3d.training.batches import CorrectorBatches, DensityBatches, HeldOut
from lift3d.training.captures import MixedStream, check_captures
from lift3d.training.card import History, render_card
from lift3d.training.encoders import Encoders
from lift3d.training.examples import ExampleStream
from lift3d.training.loop import SOLO, Loss, Schedule, Stage, Team, TrainingState, run_stage
from lift3d.training.scene_cache import ExampleCache
from lift3d.training.settings import TrainingSettings

DENSITY, CORRECTOR = "density", "corrector"
HISTORY = "history.json"
# Of held-out scenes; trained on are 2 to 10, so that any number the lifter meets is in reach.
_VALIDATION_SOURCES = (4, 8)
_SOURCES = (2, 10)
# What stage I's state does not depend on, besides all that is stage II's by name.
_OF_STAGE_TWO = ("operators", "plugins", "operator_share")


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
        ConfigError: If the folder belongs to another training, the team is not of the size that was asked for, or an
            operator, a capture or a checkpoint that is named is not there or of no use; then nothing is rendered.
        NonFiniteError: If the training diverges.
        WorkerLostError: If a process that prepares examples is gone.
    """
    if team.size != settings.processes:
        raise ConfigError(
            f"The settings ask for {settings.processes} processes that train together, got a team of {team.size}. "
            "Run with --processes, or start as many."
        )
    run = _Run(settings, listener or Listener(), team)
    stages = {} if settings.density_from else {DENSITY: run.stage(DENSITY)}
    if settings.density_from:
        density: DensityProposal = load_checkpoint(settings.density_from).density
    else:
        density = _frozen(stages[DENSITY].averaged)
    stages[CORRECTOR] = run.stage(CORRECTOR, density)
    if team.rank == 0:
        corrector = _frozen(stages[CORRECTOR].averaged)
        about = {**_about(settings, stages), **run.given, "parameters": _parameters(density, corrector)}
        save_checkpoint(settings.out, Checkpoint(density, corrector, about))
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


class _Run:
    """One training: its scenes, its schedules, and who is told.

    Attributes:
        given: What a card says of the operators, the captures and stage I that the training was given.
    """

    def __init__(self, settings: TrainingSettings, listener: Listener, team: Team) -> None:
        self._settings, self._listener, self._team = settings, listener, team
        self._encoders = Encoders(settings.operators, settings.plugins, settings.operator_share)
        self.given: dict[str, Any] = {
            "encoders": self._encoders.check(),
            "captures": check_captures(settings.captures),
            "density_weights": checkpoint_digest(settings.density_from) if settings.density_from else "",
        }
        scenes = ExampleCache(settings.folder / "scenes", settings.seed, settings.scenes)
        held_out = ExampleCache(settings.folder / "validation", settings.seed + 1, settings.validation_scenes)
        computed = ExampleStream(scenes, settings.seed, *_SOURCES)
        self._stream = MixedStream(computed, settings.captures, settings.capture_share)
        self._held_out = MixedStream(ExampleStream(held_out, settings.seed + 1, *_VALIDATION_SOURCES))

    def stage(self, name: str, density: DensityProposal | None = None) -> TrainingState:
        """Train or continue a stage; the corrector needs the density that it corrects."""
        settings = self._settings
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
        stage = Stage(
            schedule,
            self._batches(self._stream, density),
            loss,
            HeldOut(self._batches(self._held_out, density, is_held_out=True), settings.validation_scenes),
            checkpoint=settings.folder / f"{name}.pt",
            workers=settings.workers,
            team=self._team,
            log=lambda figures: self._validated(name, state, figures),
            on_step=lambda step: self._listener.on_step(name, step, schedule.steps),
        )
        run_stage(state, stage)
        return state

    def _schedule(self, name: str) -> Schedule:
        settings = self._settings
        if name == DENSITY:
            return Schedule(settings.density_steps, settings.density_rate, seed=settings.seed)
        return Schedule(settings.corrector_steps, settings.corrector_rate, seed=settings.seed)

    def _identity(self, name: str) -> dict[str, Any]:
        """What the stage's state depends on: stage I knows nothing of stage II; names alone say nothing of content."""
        contents = {
            "operators_content": [one["weights"] for one in self.given["encoders"]],
            "captures_content": [one["content"] for one in self.given["captures"]],
            "density_from_content": self.given["density_weights"],
        }
        identity = {**self._settings.identity, **{key: value for key, value in contents.items() if value}}
        if name == CORRECTOR:
            return identity
        return {key: value for key, value in identity.items() if not key.startswith((CORRECTOR, *_OF_STAGE_TWO))}

    def _batches(
        self, stream: MixedStream, density: DensityProposal | None, *, is_held_out: bool = False
    ) -> Callable[[int], Any]:
        if density is None:
            return DensityBatches(stream)
        lifter = Lift3D(LIFT3D, Checkpoint(density, untrained().corrector, {}), density_step.SWEEP)
        return CorrectorBatches(stream, lifter, self._encoders, is_held_out)

    def _validated(self, name: str, state: TrainingState, figures: Mapping[str, float]) -> None:
        folder = self._settings.folder
        history = {**read_history(folder), name: state.history}
        partial = folder / f"{HISTORY}.partial"
        partial.write_text(json.dumps(history, indent=1), encoding="utf-8")
        partial.replace(folder / HISTORY)
        self._listener.on_validation(name, figures)


def _about(settings: TrainingSettings, stages: Mapping[str, TrainingState]) -> dict[str, Any]:
    """What a checkpoint says of how it was made, as its card tells it."""
    return {
        "settings": settings.identity,
        "command": settings.command,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} used to train, no GPU",
        "torch": torch.__version__,
        "sources": list(_SOURCES),
        "validation_sources": list(_VALIDATION_SOURCES),
        "seconds": {name: round(state.seconds) for name, state in stages.items()},
        "history": {name: [state.history[0], state.history[-1]] for name, state in stages.items()},
    }


def _parameters(density: nn.Module, corrector: nn.Module) -> dict[str, int]:
    networks = {DENSITY: density, CORRECTOR: corrector}
    return {name: sum(one.numel() for one in network.parameters()) for name, network in networks.items()}


def _frozen(network: nn.Module) -> Any:
    return network.eval().requires_grad_(False)
