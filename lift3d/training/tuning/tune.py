"""Tune the last blocks of an encoder on what its own features look like when all views of a scene say them together."""

import copy
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file

from lift3d.domain.keys import digest
from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.timm_tail import SplitEncoder, Tail
from lift3d.storage.whole_file import whole
from lift3d.training.loop import SOLO, Schedule, Stage, Team, TrainingState, run_stage
from lift3d.training.settings import Identity
from lift3d.training.train import Listener, put_on_record
from lift3d.training.tuning.card import Tuning
from lift3d.training.tuning.lifted_loss import LiftedLoss, Spread
from lift3d.training.tuning.settings import TuningSettings
from lift3d.training.tuning.views import TuningScene, TuningViews, divided, prepared_scene

TUNED = "tuned"
# Raised when equal settings would give other weights: a state of before is then refused.
_VERSION = 1
_WARMUP_STEPS = 30
# Held-out views that are looked at, at most, evenly over the scenes.
_MOST_HELD_OUT = 48


def tune(settings: TuningSettings, listener: Listener | None = None, team: Team = SOLO) -> Path:
    """Tune, or continue, as one process of the team; write and return the weights of the whole network.

    A card lies beside them, ``history.json`` beside the run's state. ConfigError, before anything is tuned, if the
    operator is no vision transformer of timm, its weights do not fit, there are too few views, or the folder belongs to
    another tuning; NonFiniteError if it diverges.
    """
    listener = listener or Listener()
    if team.size != settings.processes:
        raise ConfigError(
            f"The settings ask for {settings.processes} processes that tune together, got a team of {team.size}. "
            "Run with --processes, or start as many."
        )
    split = SplitEncoder.of(build_operator(settings.operator, settings.plugins), settings.blocks)
    scenes = _prepared(settings, split, listener, team)
    tuned_on, held_out = divided(scenes, settings.holdout)
    loss = LiftedLoss(split, Spread.of(tuned_on), settings)
    tail = split.tail()
    optimizer = torch.optim.Adam(tail.parameters(), settings.rate)
    state = TrainingState(tail, copy.deepcopy(tail), optimizer, _identity(settings, split, scenes))
    step = -(-len(held_out) // _MOST_HELD_OUT)
    validated = TuningViews(held_out[::step], settings.seed, 1)

    def log(figures: Mapping[str, float]) -> None:
        put_on_record(settings.folder, TUNED, state.history)
        listener.on_validation(TUNED, figures)

    stage = Stage(
        # Views are read, not made: there is nothing to gain from replaying them.
        Schedule(settings.steps, settings.rate, _WARMUP_STEPS, replay=0, validate_every=100, seed=settings.seed),
        TuningViews(tuned_on, settings.seed, settings.batch),
        loss,
        held_out=functools.cache(validated),
        held_out_count=len(validated.paths),
        checkpoint=settings.folder / f"{TUNED}.pt",
        workers=0,
        team=team,
        log=log,
        on_step=lambda done: listener.on_step(TUNED, done, settings.steps),
    )
    run_stage(state, stage)
    if team.rank == 0:
        _write(settings, split, scenes, state)
    return settings.out


def _prepared(settings: TuningSettings, split: SplitEncoder, listener: Listener, team: Team) -> tuple[TuningScene, ...]:
    """Return all scenes, in order; each process of a team begins with another one, and finds those of the others."""
    count, found = len(settings.locations), dict[int, TuningScene]()
    first = team.rank * count // team.size
    for number in [*range(first, count), *range(first)]:
        location = settings.locations[number]
        about = f"scene {number + 1} of {count}"
        found[number] = prepared_scene(settings, split, location, functools.partial(listener.on_step, about))
    return tuple(found[number] for number in range(count))


def _identity(settings: TuningSettings, split: SplitEncoder, scenes: tuple[TuningScene, ...]) -> Identity:
    """What the state depends on: names alone say nothing of content."""
    contents: Identity = {
        "operator_content": split.operator.spec.weights_digest,
        "scenes_content": digest([scene.content for scene in scenes]),
    }
    return {"version": _VERSION, **settings.identity, **contents}


def _write(
    settings: TuningSettings, split: SplitEncoder, scenes: tuple[TuningScene, ...], state: TrainingState
) -> None:
    tail, spec = cast("Tail", state.averaged), split.operator.spec
    made = Tuning(
        settings,
        split.architecture,
        spec.licence,
        spec.weights_digest,
        scenes,
        parameters=sum(one.numel() for one in tail.parameters()),
        all_parameters=sum(one.numel() for one in split.operator.network.parameters()),
        seconds=round(state.seconds),
        first=state.history[0],
        last=state.history[-1],
    )
    with whole(settings.out) as partial:
        save_file(split.merged(tail), partial, metadata={"lift3d": json.dumps(made.to_json())})
    settings.out.with_suffix(".md").write_text(made.to_card(settings.out.stem), encoding="utf-8")
