"""The training loop of either stage: prepared batches in, weights and a history out; stops and resumes anywhere.

Batches are a function of the step alone, so a run that was stopped and resumed sees what an uninterrupted one sees,
and ends in the same bits.
"""

import json
import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lift3d.domain.keys import parse_json
from lift3d.errors import ConfigError, NonFiniteError
from lift3d.storage.whole_file import whole
from lift3d.training.prefetch import in_background
from lift3d.training.settings import Identity

# A network and a batch to a loss and its parts; the number of a batch to the batch, equal for equal numbers.
Loss = Callable[[Any, Any], tuple[Tensor, dict[str, float]]]
Prepare = Callable[[int], Any]

_LONGEST_GRADIENT = 1.0
# What torch, pickle and a mapping of the wrong shape raise at a file that is damaged or something else.
_UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, UnpicklingError)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast.

    Attributes:
        learning_rate: At its highest, after the warm-up; falls to zero as a cosine.
        average: Decay of the moving average of the weights, which is what is kept.
        replay: Recent batches kept; each step trains on one of them once more: preparing costs more than training.
        save_every: Steps between two savings: what a killed run loses at most.
        seed: Of the order of replays; batches have their own.
    """

    steps: int
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    average: float = 0.995
    replay: int = 32
    validate_every: int = 250
    save_every: int = 25
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Team:
    """Processes that train one network together: each its own batches, gradients averaged at every step.

    The one of rank 0 validates, logs and saves; a team of size 1 needs no process group.
    """

    rank: int = 0
    size: int = 1

    def average_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        parameters = list(network.parameters())
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        # One message instead of one per parameter: they are many and small.
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        means = torch.split(flat / self.size, [one.numel() for one in parameters])
        for parameter, mean in zip(parameters, means, strict=True):
            parameter.grad = mean.view_as(parameter)


SOLO = Team()


@dataclass(slots=True)
class TrainingState:
    """Where a run stands; a state of another identity is not resumed.

    ``averaged`` is the network's moving average, which is validated and kept; ``since_validation`` has the parts of the
    loss at every step since the last one.
    """

    network: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    identity: Identity = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    since_validation: dict[str, list[float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write everything that a resumed run needs."""
        content = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "identity": json.dumps(self.identity, sort_keys=True),
            "step": self.step,
            "seconds": self.seconds,
            "history": json.dumps(self.history),
            "since_validation": json.dumps(self.since_validation),
        }
        with whole(path) as partial:
            torch.save(content, partial)

    def load(self, path: Path) -> None:
        """Continue where the file stands."""
        try:
            content = torch.load(path, weights_only=True)
            held = parse_json(content.get("identity", "{}"))
            if held == self.identity:
                self._take(content)
        except _UNREADABLE as error:
            raise ConfigError(
                f"'{path}' is not the state of this training ({type(error).__name__}). Delete it to start anew, or "
                "name another folder."
            ) from error
        if held != self.identity:
            differing = sorted(name for name in {*held, *self.identity} if held.get(name) != self.identity.get(name))
            said = ", ".join(f"{name} {held.get(name)} (asked for: {self.identity.get(name)})" for name in differing)
            raise ConfigError(
                f"'{path}' is the state of a training with {said}. Delete it to train this stage anew, ask for the "
                "same again, or name another folder."
            )

    def _take(self, content: dict[str, Any]) -> None:
        self.network.load_state_dict(content["network"])
        self.averaged.load_state_dict(content["averaged"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.history = int(content["step"]), parse_json(content["history"])
        self.seconds = float(content.get("seconds", 0.0))
        self.since_validation = parse_json(content.get("since_validation", "{}"))


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What a network is trained on, how long, and who is told.

    ``held_out`` are batches that are never trained on; ``log`` is told of every validation, the first one before any
    training. Of the team's batches ``size · step + rank`` is this process's.
    """

    schedule: Schedule
    prepare: Prepare
    loss: Loss
    held_out: Prepare
    held_out_count: int
    checkpoint: Path
    workers: int
    team: Team
    log: Callable[[dict[str, float]], None]
    on_step: Callable[[int], None]


def run_stage(state: TrainingState, stage: Stage) -> None:
    """Train until the schedule's last step, from where ``state`` stands or the stage's checkpoint, if there is one.

    ConfigError if the state to resume does not fit, NonFiniteError if the loss or its gradient is not a number,
    WorkerLostError if a process that prepares batches is gone.
    """
    if stage.checkpoint.is_file():
        state.load(stage.checkpoint)
    schedule, team = stage.schedule, stage.team
    is_leader, started = team.rank == 0, time.monotonic() - state.seconds
    if is_leader and not state.history:
        _validate(state, stage)
    # The batches to replay are not kept: those that an uninterrupted run would hold now are prepared again.
    known = min(schedule.replay, state.step) if state.step < schedule.steps else 0
    recent: deque[Any] = deque(maxlen=schedule.replay)
    first, last = (team.size * step + team.rank for step in (state.step - known, max(state.step, schedule.steps)))
    batches = in_background(stage.prepare, range(first, last, team.size), stage.workers)
    for number, batch in enumerate(batches):
        if number >= known:
            again = random.Random(schedule.seed * 1_000_003 + state.step)
            _learn(state, stage, (batch, *([recent[again.randrange(len(recent))]] if recent else [])))
            state.step += 1
            is_last = state.step == schedule.steps
            if is_leader and (is_last or state.step % schedule.validate_every == 0):
                _validate(state, stage)
            state.seconds = time.monotonic() - started
            if is_leader and (is_last or state.step % schedule.save_every == 0):
                state.save(stage.checkpoint)
            stage.on_step(state.step)
        recent.append(batch)


@torch.no_grad()
def _validate(state: TrainingState, stage: Stage) -> None:
    """Put means on record: of the steps since the last validation, and of the held-out batches that have a part."""
    held_out: dict[str, list[float]] = {}
    for number in range(stage.held_out_count):
        _collect(held_out, stage.loss(state.averaged, stage.held_out(number))[1])
    trained, found = _means("train", state.since_validation), _means("validation", held_out)
    wrong = [name for name, mean in found.items() if not math.isfinite(mean)]
    if wrong:
        raise NonFiniteError(f"{wrong[0]} is {found[wrong[0]]}. Lower the learning rate, and start anew.")
    state.history.append({"step": float(state.step), **trained, **found})
    state.since_validation = {}
    stage.log(state.history[-1])


def _collect(lists: dict[str, list[float]], parts: Mapping[str, float]) -> None:
    for name, value in parts.items():
        lists.setdefault(name, []).append(value)


def _means(kind: str, lists: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {f"{kind}_{name}": sum(values) / len(values) for name, values in lists.items()}


def _learn(state: TrainingState, stage: Stage, batches: Sequence[Any]) -> None:
    """Train on a new batch and on those replayed; only what is new counts in the record."""
    for batch in batches:
        _set_rate(state, stage.schedule)
        parts = _descend(state, stage, batch)
        if batch is batches[0]:
            _collect(state.since_validation, parts)
        _average(state, stage.schedule)


def _descend(state: TrainingState, stage: Stage, batch: Any) -> dict[str, float]:
    value, parts = stage.loss(state.network, batch)
    state.optimizer.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    stage.team.average_gradients(state.network)
    length = torch.nn.utils.clip_grad_norm_(state.network.parameters(), _LONGEST_GRADIENT)
    # After averaging, so that all of a team stop at the same step; before any weight is spoilt.
    if not (math.isfinite(float(value.detach())) and math.isfinite(float(length))):
        raise NonFiniteError(
            f"The loss is {float(value.detach())} and its gradient {float(length)} long at step {state.step}; both "
            "must be finite. Lower the learning rate and start anew in another folder."
        )
    state.optimizer.step()
    return parts


def _set_rate(state: TrainingState, schedule: Schedule) -> None:
    warm = min(1.0, (state.step + 1) / max(1, schedule.warmup_steps))
    fall = 0.5 * (1 + math.cos(math.pi * state.step / schedule.steps))
    for group in state.optimizer.param_groups:
        group["lr"] = schedule.learning_rate * warm * fall


@torch.no_grad()
def _average(state: TrainingState, schedule: Schedule) -> None:
    # Early on the average would be the untrained network: it starts short and grows.
    decay = min(schedule.average, (state.step + 1) / (state.step + 10))
    for kept, current in zip(state.averaged.parameters(), state.network.parameters(), strict=True):
        kept.lerp_(current, 1 - decay)
