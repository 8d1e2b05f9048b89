"""What becomes of every class of error, ours and Ray's."""

from typing import Any

import pytest
from ray import exceptions

from flows import retry_policy
from flows.retry_policy import budget_of, decide, fetch, translated_connection
from lift3d import errors
from lift3d.errors import ConfigError, Lift3dError
from tests.architecture.test_errors import all_errors


@pytest.mark.parametrize("error_class", all_errors())
def test_the_disposition_decides_the_first_failure_and_retries_end(error_class):
    assert decide(error_class("x"), tries=1, attempts=3).action == error_class.disposition
    actions = [decide(error_class("x"), tries, attempts=4).action for tries in range(1, 102)]
    assert actions[-1] != "retry", "retries end"
    is_free = error_class is errors.PreemptedError
    assert is_free or decide(error_class("x"), tries=1, attempts=1).action != "retry", "one attempt means no retry"
    assert actions == sorted(actions, key=lambda action: action != "retry")


def test_a_lost_worker_costs_a_scene_and_a_lost_store_the_run():
    assert decide(errors.WorkerLostError("x"), tries=3, attempts=3).action == "skip"
    assert decide(errors.StoreUnavailableError("x"), tries=3, attempts=3).action == "abort"


@pytest.mark.fault(17, "the errors that Ray gives for a machine that is drained or gone")
def test_a_machine_that_goes_uses_up_no_attempt():
    error = errors.PreemptedError("the node is gone")
    assert budget_of(error) == "preempted"
    assert {decide(error, tries, attempts=1).action for tries in range(1, 100)} == {"retry"}


@pytest.mark.fault(14, "the error of Ray's memory monitor, again and again")
def test_memory_gets_one_more_try_only():
    error = errors.OutOfMemoryError("x")
    assert [decide(error, tries, attempts=9).action for tries in (1, 2)] == ["retry", "skip"]


def test_waits_for_the_store_grow_and_are_bounded():
    waits = [decide(errors.StoreUnavailableError("x"), tries, attempts=99).wait_s for tries in range(1, 30)]
    assert 0 < waits[0] <= 1.0
    assert waits[4] > waits[0]
    assert max(waits) <= 60.0


RAY_ERRORS: list[tuple[Exception, type[Lift3dError]]] = [
    (exceptions.ActorDiedError(), errors.WorkerLostError),
    (exceptions.WorkerCrashedError(), errors.WorkerLostError),
    (exceptions.NodeDiedError("The node died"), errors.PreemptedError),
    (exceptions.ActorUnavailableError("The actor's node failed: node failure", None), errors.PreemptedError),
    (exceptions.GetTimeoutError("late"), errors.WorkerLostError),
    (exceptions.OutOfMemoryError("host"), errors.OutOfMemoryError),
    (exceptions.RuntimeEnvSetupError("env"), ConfigError),
    (exceptions.ActorUnschedulableError("no room"), ConfigError),
    (exceptions.RaySystemError("system"), errors.WorkerLostError),
]


@pytest.mark.parametrize(("raised", "expected"), RAY_ERRORS, ids=lambda one: getattr(one, "__name__", None))
def test_every_error_of_ray_becomes_ours(raised, expected, monkeypatch):
    found = _fetched(raised, monkeypatch)
    assert type(found) is expected
    assert found.__cause__ is raised


@pytest.mark.parametrize("error_class", all_errors())
def test_our_errors_come_back_as_they_were(error_class, monkeypatch):
    original = error_class("what, got, expected", scene="room", view="v1", operator="rgb")
    found = _fetched(_task_error(original).as_instanceof_cause(), monkeypatch)
    assert found is original
    assert (found.scene, found.view, found.operator, str(found)) == ("room", "v1", "rgb", "what, got, expected")


@pytest.mark.parametrize(
    ("cause", "expected", "said"),
    [
        (MemoryError(), errors.OutOfMemoryError, ""),
        (RuntimeError("CUDA error: out of memory"), errors.OutOfMemoryError, "CUDA"),
        (KeyError("colour"), errors.ContractError, "KeyError"),
    ],
)
def test_errors_of_the_application_are_of_memory_or_defects(cause, expected, said, monkeypatch):
    found = _fetched(_task_error(cause), monkeypatch)
    assert type(found) is expected
    assert said in str(found)


@pytest.mark.parametrize(
    "raised", [ConnectionError("nobody there"), ValueError("bad address"), exceptions.AuthenticationError("no")]
)
def test_a_connection_that_fails_is_an_error_of_the_request(raised):
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:6379.*RAY_AUTH_MODE"), translated_connection("192.0.2.1:6379"):
        raise raised


def _task_error(cause: Exception) -> exceptions.RayTaskError:
    return exceptions.RayTaskError("run", "Traceback", cause, proctitle="worker", pid=1, ip="192.0.2.1")


def _fetched(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> Any:
    def get(call: object, timeout: float) -> object:
        raise raised

    monkeypatch.setattr(retry_policy.ray, "get", get)
    return fetch(None)
