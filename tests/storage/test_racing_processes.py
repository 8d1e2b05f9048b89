"""Two processes make the same product: at once, and one of them after a long sleep."""

import os
import signal
import subprocess

import numpy as np
import pytest

from lift3d.storage.commit import committed
from tests.support.store_workers import (
    PRODUCT,
    ROWS,
    VALUES,
    audited,
    check_tidy,
    outputs,
    run_task,
    start_worker,
    swept,
)


def kinds_and_steps(local, swift):
    on_swift = (pytest.param("swift", step, marks=pytest.mark.cluster) for step in swift)
    return [*(("local", step) for step in local), *on_swift]


def wait_until_asleep(process: "subprocess.Popen[bytes]") -> None:
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def wake(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGCONT)
    return process.wait(60)


@pytest.mark.fault(3, "two processes have written the same product and are let go before its marker at the same moment")
@pytest.mark.parametrize(("kind", "step"), kinds_and_steps(["filled"], ["filled"]))
def test_two_processes_with_one_product_both_finish_and_one_wins(kind, step, shared_store_of):
    shared_store = shared_store_of(kind)
    workers = []
    # They race for the marker. Of unequal objects that are put at the same moment Swift may keep either: that race is
    # test_racing_writers_leave_one_whole_product's.
    for factor in ("1", "2"):
        workers.append(start_worker(shared_store.url, step, "sleep", factor))
        wait_until_asleep(workers[-1])
    for worker in workers:
        worker.send_signal(signal.SIGCONT)
    assert [worker.wait(60) for worker in workers] == [0, 0]
    values = outputs(shared_store)
    assert {product.path: product.verdict for product in audited(shared_store)} == {PRODUCT: "whole", ROWS: "whole"}
    check_tidy(shared_store)
    # Every object is the first one's, whole, and both describe the same.
    found = np.frombuffer(values[0], np.float32).reshape(VALUES.shape)
    for part in (slice(2), slice(2, 4)):
        assert any(np.array_equal(found[part], VALUES[part] * factor) for factor in (1, 2))


@pytest.mark.fault(4, "SIGSTOP at each step, a replacement commits, SIGCONT")
@pytest.mark.parametrize(
    ("kind", "step"), kinds_and_steps(["filling", "filled"], ["begun", "filling", "part", "filled"])
)
def test_a_zombie_that_wakes_after_its_replacement_changes_nothing(kind, step, shared_store_of):
    shared_store = shared_store_of(kind)
    zombie = start_worker(shared_store.url, step, "sleep", "2")
    wait_until_asleep(zombie)
    run_task(shared_store.url)
    before, marker = outputs(shared_store), committed(shared_store, PRODUCT)
    swept(shared_store)
    assert wake(zombie) == 0
    assert committed(shared_store, PRODUCT) == marker
    assert outputs(shared_store) == before
    check_tidy(shared_store)


@pytest.mark.fault(4, "SIGSTOP at a step, what it wrote is collected as garbage, SIGCONT")
@pytest.mark.parametrize(("kind", "step"), kinds_and_steps(["filling"], ["filling", "filled"]))
def test_a_zombie_whose_objects_were_collected_commits_nothing(kind, step, shared_store_of):
    shared_store = shared_store_of(kind)
    zombie = start_worker(shared_store.url, step, "sleep", "2")
    wait_until_asleep(zombie)
    assert [piece.kind for piece in swept(shared_store)] == ["unfinished"]
    assert wake(zombie) != 0
    assert committed(shared_store, PRODUCT) is None
    assert not any(product.damage for product in audited(shared_store))
    run_task(shared_store.url)
    assert [product.verdict for product in audited(shared_store)] == ["whole", "whole"]
    swept(shared_store)
    check_tidy(shared_store)
