"""A regression small enough to train in a test: batches by number, a linear network, a loss with one part."""

import copy
from pathlib import Path

import torch

from lift3d.errors import NoOverlapError
from lift3d.training.loop import SOLO, Schedule, Stage, TrainingState, run_stage

SCHEDULE = Schedule(steps=12, learning_rate=0.05, warmup_steps=3, replay=4, validate_every=5, save_every=2, average=0.8)


def prepare(number):
    """Return inputs and what a hidden network says of them."""
    generator = torch.Generator().manual_seed(number)
    inputs = torch.randn(8, 3, generator=generator)
    return inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5]])


def refuse(number):
    raise NoOverlapError(f"no batch {number}")


def loss(network, batch):
    value = (network(batch[0]) - batch[1]).square().mean()
    return value, {"square": value.item()}


def new_state(**identity):
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 1)
    return TrainingState(network, copy.deepcopy(network), torch.optim.Adam(network.parameters()), identity)


def run(
    folder: Path, schedule=SCHEDULE, *, team=SOLO, workers=0, stop_after=None, state=None, loss=loss, prepare=prepare
):
    """Train in a folder and return the state; ``stop_after`` steps it is interrupted as by Ctrl-C."""
    state = state or new_state()

    def on_step(step):
        if step == stop_after:
            raise KeyboardInterrupt

    validation = {"a": _prepare_validation(0), "b": _prepare_validation(1)}
    told = (lambda figures: None, on_step)
    run_stage(state, Stage(schedule, prepare, loss, validation, folder / "toy.pt", workers, team, *told))
    return state


def _prepare_validation(number):
    return prepare(1000 + number)


def weights(state):
    """All weights, both networks', as one vector."""
    return torch.cat([one.detach().flatten() for net in (state.network, state.averaged) for one in net.parameters()])
