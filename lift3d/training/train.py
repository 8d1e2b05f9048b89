"""Train both stages, one after the other, and write the checkpoint, its card and its history."""

import copy
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lift3d.domain.keys import parse_json
from lift3d.errors import ConfigError
from lift3d.lifters.catalog import LIFT3D
from lift3d.lifters.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, untrained
from lift3d.lifters.checkpoint_files import checkpoint_digest
from lift3d.lifters.corrective import Lift3D
from lift3d.lifters.networks.density_proposal import DensityProposal
from lift3d.storage.whole_file import whole
from lift3d.training import corrector_step, density_step
from lift3d.training.batches import CorrectorBatches, DensityBatches, Examples
from lift3d.training.captures import check_captures
from lift3d.training.card import TRAINING_SOURCES, VALIDATION_SOURCES, Given, History, Making
from lift3d.training.examples import SceneCache
from lift3d.training.feature_spaces import Encoders
from lift3d.training.loop import SOLO, Loss, Prepare, Schedule, Stage, Team, TrainingState, run_stage
from lift3d.training.settings import Identity, TrainingSettings

DENSITY, CORRECTOR = "density", "corrector"
HISTORY = "history.json"
# Raised when equal settings would train on other examples: a state of before is then refused.
_VERSION = 2
# What stage I's state does not depend on, besides all that is stage II's by name.
_OF_STAGE_TWO = ("operators", "plugins", "operator_share")


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know of the steps done and to do of a stage, and of its validations; by default nobody."""

    on_step: Callable[[str, int, int], None] = field(default=lambda stage, done, total: None)
    on_validation: Callable[[str, Mapping[str, float]], None] = field(default=lambda stage, figures: None)


def train(settings: TrainingSettings, listener: Listener | None = None, team: Team = SOLO) -> Path:
    """Train, or continue, as one process of the team; write and return the checkpoint.

    Its card lies beside it, ``history.json`` beside the run's state. ConfigError, before anything is rendered, if the
    folder belongs to another training, the team is not of the size that was asked for, or an operator, a capture or a
    checkpoint that is named is not there or of no use; NonFiniteError if the training diverges; WorkerLostError if a
    process that prepares examples is gone.
    """
    if team.size != settings.processes:
        raise ConfigError(
            f"The settings ask for {settings.processes} processes that train together, got a team of {team.size}. "
            "Run with --processes, or start as many."
        )
    run = _Run(settings, listener or Listener(), team)
    states = {} if settings.density_from else {DENSITY: run.density()}
    if settings.density_from:
        density: DensityProposal = load_checkpoint(settings.density_from).density
    else:
        density = _frozen(states[DENSITY].averaged)
    states[CORRECTOR] = run.corrector(density)
    if team.rank == 0:
        corrector = _frozen(states[CORRECTOR].averaged)
        networks: dict[str, nn.Module] = {DENSITY: density, CORRECTOR: corrector}
        making = Making(
            settings,
            run.given,
            parameters={name: sum(one.numel() for one in network.parameters()) for name, network in networks.items()},
            seconds={name: round(state.seconds) for name, state in states.items()},
            history={name: (state.history[0], state.history[-1]) for name, state in states.items()},
        )
        save_checkpoint(settings.out, Checkpoint(density, corrector, making.to_json()))
        settings.out.with_suffix(".md").write_text(making.to_card(settings.out.stem), encoding="utf-8")
    return settings.out


def read_history(folder: Path) -> History:
    """Return the validations of each stage that a run in this folder has done so far."""
    path = folder / HISTORY
    if not path.is_file():
        return {}
    try:
        history: History = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' does not read as JSON ({error}). Delete it; the next run writes it.") from error
    return history


def put_on_record(folder: Path, stage: str, entries: Sequence[Mapping[str, float]]) -> None:
    """Write the validations of a stage beside those of others, for ``read_history``."""
    history = {**read_history(folder), stage: entries}
    with whole(folder / HISTORY) as partial:
        partial.write_text(json.dumps(history, indent=1), encoding="utf-8")


class _Run:
    """One training: its scenes, what it was given, and who is told."""

    def __init__(self, settings: TrainingSettings, listener: Listener, team: Team) -> None:
        self._settings, self._listener, self._team = settings, listener, team
        self._encoders = Encoders(settings.operators, settings.plugins, settings.operator_share)
        density_weights = checkpoint_digest(settings.density_from) if settings.density_from else ""
        self.given = Given(self._encoders.check(), check_captures(settings.captures), density_weights)
        scenes = SceneCache(settings.folder / "scenes", settings.seed, settings.scenes)
        held_out = SceneCache(settings.folder / "validation", settings.seed + 1, settings.validation_scenes)
        given = (settings.captures, settings.capture_share)
        self._examples = Examples(scenes, settings.seed, TRAINING_SOURCES, *given)
        self._held_out = Examples(held_out, settings.seed + 1, VALIDATION_SOURCES)

    def density(self) -> TrainingState:
        """Train or continue stage I."""
        settings, batches = self._settings, (DensityBatches(self._examples), DensityBatches(self._held_out))
        schedule = Schedule(settings.density_steps, settings.density_rate, seed=settings.seed)
        return self._trained(DENSITY, self._start().density, density_step.density_loss, schedule, batches)

    def corrector(self, density: DensityProposal) -> TrainingState:
        """Train or continue stage II on the density that it corrects."""
        settings, start = self._settings, self._start()
        lifter = Lift3D(LIFT3D, Checkpoint(density, untrained().corrector, {}), density_step.SWEEP)
        batches = (
            CorrectorBatches(self._examples, lifter, self._encoders),
            CorrectorBatches(self._held_out, lifter, self._encoders, is_held_out=True),
        )
        schedule = Schedule(settings.corrector_steps, settings.corrector_rate, seed=settings.seed)
        return self._trained(CORRECTOR, start.corrector, corrector_step.corrector_loss, schedule, batches)

    def _start(self) -> Checkpoint:
        """Return networks that are equal in every process, whatever it has drawn before."""
        torch.manual_seed(self._settings.seed)
        return untrained()

    def _trained(
        self, name: str, network: nn.Module, loss: Loss, schedule: Schedule, batches: tuple[Prepare, Prepare]
    ) -> TrainingState:
        network.train().requires_grad_(True)
        optimizer = torch.optim.Adam(network.parameters(), schedule.learning_rate)
        state = TrainingState(network, copy.deepcopy(network), optimizer, self._identity(name))
        stage = Stage(
            schedule,
            batches[0],
            loss,
            # Prepared when first asked for, and kept.
            held_out=functools.cache(batches[1]),
            held_out_count=self._settings.validation_scenes,
            checkpoint=self._settings.folder / f"{name}.pt",
            workers=self._settings.workers,
            team=self._team,
            log=lambda figures: self._validated(name, state, figures),
            on_step=lambda step: self._listener.on_step(name, step, schedule.steps),
        )
        run_stage(state, stage)
        return state

    def _identity(self, name: str) -> Identity:
        """What the stage's state depends on: stage I knows nothing of stage II; names alone say nothing of content."""
        contents: Identity = {
            "operators_content": [one.weights for one in self.given.encoders],
            "captures_content": [one.content for one in self.given.captures],
            "density_from_content": self.given.density_weights,
        }
        identity = {"version": _VERSION, **self._settings.identity, **{k: one for k, one in contents.items() if one}}
        if name == CORRECTOR:
            return identity
        return {key: value for key, value in identity.items() if not key.startswith((CORRECTOR, *_OF_STAGE_TWO))}

    def _validated(self, name: str, state: TrainingState, figures: Mapping[str, float]) -> None:
        put_on_record(self._settings.folder, name, state.history)
        self._listener.on_validation(name, figures)


def _frozen(network: nn.Module) -> Any:
    return network.eval().requires_grad_(False)
