"""The loop on a toy regression: exact resumption, several processes, and what stops it."""

import copy
import os
import signal
from dataclasses import replace

import pytest
import torch

from lift3d.errors import ConfigError, NonFiniteError, NoOverlapError, WorkerLostError
from lift3d.training.loop import SOLO, Schedule, Stage, Team, TrainingState, run_stage
from lift3d.training.prefetch import in_background

SCHEDULE = Schedule(steps=12, learning_rate=0.05, warmup_steps=3, replay=4, validate_every=5, save_every=2, average=0.8)


def prepare(number):
    generator = torch.Generator().manual_seed(number)
    inputs = torch.randn(8, 3, generator=generator)
    return inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5]])


HELD_OUT = ([prepare(1000), prepare(1001)].__getitem__, 2)


def refuse(number):
    raise NoOverlapError(f"no batch {number}")


def loss(network, batch):
    value = (network(batch[0]) - batch[1]).square().mean()
    return value, {"square": value.item()}


def new_state(**identity):
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 1)
    return TrainingState(network, copy.deepcopy(network), torch.optim.Adam(network.parameters()), identity)


def run(folder, schedule=SCHEDULE, *, team=SOLO, workers=0, stop_after=None, state=None, loss=loss, prepare=prepare):
    """Train in a folder and return the state; ``stop_after`` steps it is interrupted as by Ctrl-C."""
    state = state or new_state()

    def on_step(step):
        if step == stop_after:
            raise KeyboardInterrupt

    told = (lambda figures: None, on_step)
    run_stage(state, Stage(schedule, prepare, loss, *HELD_OUT, folder / "toy.pt", workers, team, *told))
    return state


def weights(state):
    return torch.cat([one.detach().flatten() for net in (state.network, state.averaged) for one in net.parameters()])


def _die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def test_it_learns_and_says_so_and_without_steps_the_network_stays(tmp_path):
    state = run(tmp_path, replace(SCHEDULE, steps=200))
    assert state.history[0]["step"] == 0
    assert [entry["step"] for entry in state.history] == [0.0, *range(5, 201, 5)]
    assert state.history[-1]["validation_square"] < 0.01 * state.history[0]["validation_square"]
    assert state.history[-1]["train_square"] < 0.1 * state.history[1]["train_square"]
    state = run(tmp_path / "stays", Schedule(steps=0))
    assert torch.equal(weights(state), weights(new_state()))
    assert len(state.history) == 1


@pytest.mark.parametrize("killed_at", [1, 4, 5, 7, 12])
def test_killed_and_resumed_equals_uninterrupted_in_every_bit(tmp_path, killed_at):
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", stop_after=killed_at)
    resumed = run(tmp_path / "killed")
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed.history == whole.history
    assert resumed.step == whole.step == SCHEDULE.steps


def test_a_finished_run_is_not_trained_again_and_time_adds_up_over_runs(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_after=4)
    interrupted = new_state()
    interrupted.load(tmp_path / "toy.pt")
    interrupted.seconds = 100.0
    interrupted.save(tmp_path / "toy.pt")
    whole = run(tmp_path)
    again = run(tmp_path, prepare=refuse)
    assert torch.equal(weights(again), weights(whole))
    assert again.seconds == whole.seconds > 100.0


def test_who_prepares_the_batches_changes_nothing(tmp_path):
    assert torch.equal(weights(run(tmp_path / "a", workers=2)), weights(run(tmp_path / "b")))


def test_two_processes_equal_one_with_averaged_gradients(tmp_path):
    torch.multiprocessing.spawn(_train_in_team, (tmp_path,), nprocs=2)
    together = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    alone = run(tmp_path / "alone", _TEAM_SCHEDULE, loss=_mean_loss, prepare=lambda step: _pair(step))
    assert torch.equal(together[0], together[1])
    torch.testing.assert_close(together[0], weights(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_or_validation_that_is_no_number_stops_before_it_spoils_a_weight(tmp_path, bad):
    def spoilt(network, batch):
        value, parts = loss(network, batch)
        return (value * bad if state.step == 5 else value), parts

    state = new_state()
    with pytest.raises(NonFiniteError, match="step 5"):
        run(tmp_path, state=state, loss=spoilt)
    assert torch.isfinite(weights(state)).all()
    with pytest.raises(NonFiniteError, match="square"):
        run(tmp_path / "b", loss=lambda network, batch: (loss(network, batch)[0], {"square": bad}))


def test_a_damaged_state_a_file_that_is_something_else_and_another_training_are_refused(tmp_path):
    run(tmp_path)
    file = tmp_path / "toy.pt"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no zip"):
        file.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"not the state of this training.*Delete it"):
            run(tmp_path)
    for content in ([1, 2], {"network": {}}, torch.zeros(3)):
        torch.save(content, file)
        with pytest.raises(ConfigError, match="Delete it"):
            run(tmp_path)
    run(tmp_path / "other", state=new_state(seed=1, rate=0.1))
    with pytest.raises(ConfigError, match=r"with seed 1 \(asked for: 2\)\. Delete"):
        run(tmp_path / "other", state=new_state(seed=2, rate=0.1))


@pytest.mark.parametrize(
    ("prepared", "error", "said"),
    [(refuse, NoOverlapError, "^no batch 3$"), (_die, WorkerLostError, "goes on from the last saved step")],
)
def test_what_ends_the_process_that_prepares_is_told(prepared, error, said):
    with pytest.raises(error, match=said):
        list(in_background(prepared, range(3, 5), workers=1))


# Replays are of each process's own batches, so one process cannot stand in for two with them.
_TEAM_SCHEDULE = replace(SCHEDULE, replay=0, steps=5)


def _train_in_team(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    state = run(folder, _TEAM_SCHEDULE, team=Team(rank, 2))
    torch.save(weights(state), folder / f"{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    # Past the interpreter's teardown, where threads of gloo that still run abort the process now and then.
    os._exit(0)


def _pair(step):
    return prepare(2 * step), prepare(2 * step + 1)


def _mean_loss(network, batch):
    if torch.is_tensor(batch[0]):
        return loss(network, batch)
    values = [loss(network, one)[0] for one in batch]
    return sum(values) / 2, {"square": 0.0}
