"""A worker dies at every step of the protocol, and at every write; the next one finishes as if nothing had happened."""

import uuid

import pytest

from lift3d.storage.commit import STEPS, committed
from lift3d.storage.location import Store, open_store
from tests.support.store_workers import (
    EXIT_CODE,
    PRODUCT,
    ROWS,
    Killed,
    all_keys,
    audited,
    check_tidy,
    outputs,
    run_task,
    start_worker,
    swept,
)

# Of the task: metadata of an array, two shards, two records of parts, the group file; that of the second product.
WRITES = 7


@pytest.fixture(scope="module")
def clean():
    store = open_store(f"memory://{uuid.uuid4().hex}", create=True)
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, WRITES + 1, False)
        run_task(store.url)
    return store


def check_finished(store: Store, clean: Store) -> None:
    """Nothing lost, doubled or half visible; the audit is clean, and what is swept are exactly the leftovers."""
    assert outputs(store) == outputs(clean)
    found = audited(store)
    assert [product.path for product in found] == [PRODUCT, ROWS]
    assert {product.verdict for product in found} == {"whole"}
    before, pieces = all_keys(store), swept(store)
    check_tidy(store)
    assert sum(piece.object_count for piece in pieces) == len(before - all_keys(store))
    assert outputs(store) == outputs(clean)
    assert len(all_keys(store)) == len(all_keys(clean))


@pytest.mark.fault(
    2, "os._exit in a process of its own, after its objects are whole and before the marker; and at all other steps"
)
@pytest.mark.parametrize(
    ("kind", "stop_at"),
    [
        *(("local", step) for step in ("filling", "filled", "+filled")),
        *(
            pytest.param("swift", step, marks=(pytest.mark.cluster, pytest.mark.slow))
            for step in (*STEPS, "+begun", "+filled", "+marker")
        ),
    ],
)
def test_killed_and_run_again_equals_a_clean_run(kind, stop_at, clean, shared_store_of):
    store = shared_store_of(kind)
    assert start_worker(store.url, stop_at, "die", "1").wait(60) == EXIT_CODE
    half_way = ROWS if stop_at.startswith("+") else PRODUCT
    assert (committed(store, half_way) is not None) == stop_at.endswith("marker")
    assert all(product.verdict in ("whole", "uncommitted") for product in audited(store))
    before = committed(store, PRODUCT)
    run_task(store.url)
    if before is not None:
        assert committed(store, PRODUCT) == before
    # What it had finished is part of the product now: nothing is left over but records of parts.
    assert not [key for product in audited(store) for key in product.leftovers if "/parts/" not in key]
    check_finished(store, clean)


@pytest.mark.fault(
    2, "the worker can do nothing any more from any one of its writes on, before or after it took effect"
)
@pytest.mark.parametrize("takes_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, WRITES + 1))
@pytest.mark.parametrize("kind", ["local", "memory"])
def test_dead_at_every_write(kind, write, takes_effect, clean, tmp_path, monkeypatch):
    store = open_store(f"memory://{uuid.uuid4().hex}" if kind == "memory" else str(tmp_path / "store"), create=True)
    with monkeypatch.context() as patch:
        die_at(patch, write, takes_effect)
        with pytest.raises(Killed):
            run_task(store.url)
    assert all(product.verdict in ("whole", "uncommitted") for product in audited(store))
    run_task(store.url)
    check_finished(store, clean)


def die_at(patch: pytest.MonkeyPatch, write: int, takes_effect: bool) -> None:
    done = []

    def until_death(method, is_write):
        def call(self, *arguments):
            if len(done) >= write:
                raise Killed
            done.extend([arguments] * is_write)
            is_last = len(done) == write
            answer = method(self, *arguments) if takes_effect or not is_last else None
            if is_last:
                raise Killed
            return answer

        return call

    for name in ("write_bytes", "create_bytes", "read_bytes", "sizes", "delete_prefix"):
        patch.setattr(Store, name, until_death(getattr(Store, name), name in ("write_bytes", "create_bytes")))
