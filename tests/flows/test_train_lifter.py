"""The flow train-lifter: what it takes, what its failures mean, and two processes on Ray, one of them killed."""

from pathlib import Path

import pytest
from ray import exceptions
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from safetensors.torch import load_file

from flows import training_workers
from flows.train_lifter import train_lifter
from flows.training_workers import cause_of
from lift3d import errors
from lift3d.config import Execution
from lift3d.errors import ConfigError, NonFiniteError
from lift3d.training.train import read_history
from tests.support.isolation import embedded_ray
from tests.support.killed_training import KILLED, train_killed_once
from tests.support.prefect_server import prefect_harness
from tests.training.tiny_training import tiny


def test_the_error_of_the_process_that_failed_is_told_not_those_of_the_ones_that_wait_for_it():
    ours, waiting = NonFiniteError("the loss is nan"), RuntimeError("peer closed")
    lost = WorkerHealthCheckFailedError("failed", exceptions.ActorDiedError())
    full = WorkerHealthCheckFailedError("failed", exceptions.OutOfMemoryError("too much"))
    assert cause_of(_group(_raised(waiting), _raised(ours))) is ours
    assert cause_of(_group(_raised(waiting), lost, _raised(ours))) is ours
    assert cause_of(_group(lost, ours)) is ours
    assert type(cause_of(_group(_raised(waiting), lost))) is errors.WorkerLostError
    assert type(cause_of(_group(full, _raised(waiting)))) is errors.OutOfMemoryError
    assert type(cause_of(_group(_raised(waiting)))) is errors.ContractError
    assert type(cause_of(_group(_raised(RuntimeError("out of memory"))))) is errors.OutOfMemoryError
    assert type(cause_of(ControllerError(RuntimeError("no room for 9 workers")))) is errors.ResourcePromiseError
    assert cause_of(waiting) is waiting


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
# Ray's own, of its data library, which it sets up for every trainer.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data")
def test_two_processes_one_of_them_killed_train_through_prefect(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(training_workers, "_train_in_worker", train_killed_once)
    folder = tmp_path_factory.mktemp("trained")
    settings = tiny(folder, processes=2, density_steps=2, corrector_steps=2)
    home = tmp_path_factory.mktemp("home")
    with embedded_ray(home), prefect_harness(home):
        state = train_lifter(settings, attempts=2, return_state=True)
        assert state.is_completed(), state.message
        assert (settings.folder / KILLED).exists()
        summary, history = state.result(), read_history(settings.folder)
        assert summary["checkpoint"] == str(settings.out)
        assert all(Path(summary[name]).is_file() for name in ("checkpoint", "card"))
        assert {stage: entries[-1] for stage, entries in history.items()} == summary["figures"]
        assert [entry["step"] for entry in history["density"]] == [0, 2]
        assert all(bool(value.isfinite().all()) for value in load_file(settings.out).values())
        # Another training in the same folder: an error of ours, at once, without a second attempt.
        other = settings.model_copy(update={"corrector_rate": 0.5})
        with pytest.raises(ConfigError, match="corrector_rate"):
            training_workers.train_on_ray(other, Execution(store=str(folder), workers=2))


def _group(*failures: Exception) -> WorkerGroupError:
    return WorkerGroupError("failed", dict(enumerate(failures)))


def _raised(error: Exception) -> Exception:
    """As Ray Train hands over what a training function raised."""
    return UserExceptionWithTraceback(error, "Traceback")
