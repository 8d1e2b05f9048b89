"""Two processes make the same product: at once, and one of them after a long sleep."""

import os
import signal
import subprocess
import uuid

import pytest

from lift3d.storage.commit import committed
from lift3d.storage.location import Store, open_store
from tests.support.store_workers import (
    PRODUCT,
    ROWS,
    all_keys,
    audited,
    needed_keys,
    outputs,
    run_task,
    start_worker,
    swept,
)

LOCAL = "local"
SWIFT = pytest.param("swift", marks=pytest.mark.cluster)


def kinds_and_steps(local, swift):
    """A disk at some steps, a real service at more."""
    return [
        *((LOCAL, step) for step in local),
        *(pytest.param(*SWIFT.values, step, marks=SWIFT.marks) for step in swift),
    ]


def wait_until_asleep(process: "subprocess.Popen[bytes]") -> None:
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def wake(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGCONT)
    return process.wait(60)


def outcome_of(store: Store, factor: float) -> tuple[bytes, object, object]:
    """Return what one worker alone makes."""
    alone = open_store(f"memory://{uuid.uuid4().hex}", create=True)
    run_task(alone.url, factor=factor)
    return outputs(alone)


@pytest.mark.fault(3, "two processes hold a finished attempt at the same product and are let go at the same moment")
@pytest.mark.parametrize("kind", [LOCAL, SWIFT])
def test_two_processes_with_one_product_both_finish_and_one_wins(kind, shared_store_of):
    shared_store = shared_store_of(kind)
    workers = [start_worker(shared_store.url, "manifest", "sleep", factor) for factor in ("1", "2")]
    for worker in workers:
        wait_until_asleep(worker)
    for worker in workers:
        worker.send_signal(signal.SIGCONT)
    assert [worker.wait(60) for worker in workers] == [0, 0]
    values = outputs(shared_store)
    assert values in [outcome_of(shared_store, factor) for factor in (1.0, 2.0)]
    assert [(product.path, product.verdict) for product in audited(shared_store)] == [
        (PRODUCT, "whole"),
        (ROWS, "whole"),
    ]
    if not shared_store.url.startswith("s3:"):
        # The loser has deleted its own files; a service whose create-only write is not atomic leaves them to gc.
        assert all_keys(shared_store) == needed_keys(shared_store)
    swept(shared_store)
    assert all_keys(shared_store) == needed_keys(shared_store)
    assert outputs(shared_store) == values


@pytest.mark.fault(4, "SIGSTOP at each step, a replacement commits, SIGCONT")
@pytest.mark.parametrize(
    ("kind", "step"), kinds_and_steps(["filling", "manifest"], ["begun", "filling", "filled", "manifest"])
)
def test_a_zombie_that_wakes_after_its_replacement_changes_nothing(kind, step, shared_store_of):
    shared_store = shared_store_of(kind)
    zombie = start_worker(shared_store.url, step, "sleep", "2")
    wait_until_asleep(zombie)
    run_task(shared_store.url)
    before, marker = outputs(shared_store), committed(shared_store, PRODUCT)
    assert wake(zombie) == 0
    assert committed(shared_store, PRODUCT) == marker
    assert outputs(shared_store) == before == outcome_of(shared_store, 1.0)
    assert all_keys(shared_store) == needed_keys(shared_store)


@pytest.mark.fault(4, "SIGSTOP at a step, its attempt is collected as garbage, SIGCONT")
@pytest.mark.parametrize(("kind", "step"), kinds_and_steps(["filling"], ["begun", "filled", "manifest"]))
def test_a_zombie_whose_attempt_was_collected_commits_nothing(kind, step, shared_store_of):
    shared_store = shared_store_of(kind)
    zombie = start_worker(shared_store.url, step, "sleep", "2")
    wait_until_asleep(zombie)
    assert [piece.kind for piece in swept(shared_store)] == ["attempt"]
    assert wake(zombie) != 0
    assert committed(shared_store, PRODUCT) is None
    assert not any(product.damage for product in audited(shared_store))
    run_task(shared_store.url)
    assert outputs(shared_store) == outcome_of(shared_store, 1.0)
    swept(shared_store)
    assert all_keys(shared_store) == needed_keys(shared_store)
