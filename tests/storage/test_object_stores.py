"""What only a real server behind HTTP can get wrong; on an emulator the truths of every kind of store hold."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lift3d.errors import DamagedProductError, StoreRefusedError
from lift3d.storage import backends
from lift3d.storage import commit as protocol
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product, write_product
from lift3d.storage.retry_policy import Timeouts
from tests.support.fault_proxy import FaultProxy, Refusal
from tests.support.store_content import require_whole

pytestmark = pytest.mark.cluster

PATH = "scenes/s/lifted/rgb/near/leaf"


@pytest.mark.parametrize("is_equal", [True, False])
def test_racing_writers_leave_one_whole_product(shared_store_of, is_equal):
    s3_store = shared_store_of("swift")
    barrier, steps = threading.Barrier(8), ("begun", "filled", "marker") if is_equal else ("begun",)

    def write(index: int) -> protocol.Commit:
        content = {"x": (("i",), np.full(4, 0 if is_equal else index))}
        return write_product(s3_store, PATH, content, {}, lambda step: barrier.wait() if step in steps else 0)

    with ThreadPoolExecutor(8) as pool:
        commits = list(pool.map(write, range(8)))
    # A service whose create-only write is not atomic may hold one writer's chunk under another's manifest. It is found.
    with contextlib.nullcontext() if is_equal else contextlib.suppress(DamagedProductError):
        require_whole(s3_store, PATH)
    assert not is_equal or sum(commit.is_own for commit in commits) == 1


@pytest.mark.parametrize("fault", ["lose", "stall", "truncate", Refusal(503, "SlowDown")])
def test_a_real_server_behind_a_bad_line_gives_what_was_written(swift_bucket, monkeypatch, fault):
    proxy = FaultProxy(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    monkeypatch.setattr(backends, "TIMEOUTS", Timeouts(silence_s=2.0, first_wait_s=0.05))
    store = open_store(f"s3://{swift_bucket}/store", create=True)
    proxy.fault = lambda seen, index: fault if index % 4 == 1 else None
    values = np.random.default_rng(0).normal(size=(32, 32))
    commit = write_product(store, PATH, {"x": (("row", "col"), values)}, {})
    np.testing.assert_array_equal(open_product(store, PATH).array("x"), values)
    assert commit.is_own
    assert proxy.injected_count > 1
    proxy.close()


@pytest.mark.fault(12, "the bucket of the store's URL was never made (OpenStack Swift)")
def test_a_missing_bucket_is_refused(swift_bucket):
    with pytest.raises(StoreRefusedError, match="no such bucket"):
        open_store(f"s3://{swift_bucket}-not/store", create=True)


@pytest.mark.fault(11, "a wrong secret (OpenStack Swift, which checks signatures)")
def test_a_wrong_key_is_refused(swift_bucket, monkeypatch):
    url = open_store(f"s3://{swift_bucket}/store", create=True).url
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongsecret")
    with pytest.raises(StoreRefusedError, match="does not accept the credentials") as caught:
        open_store(url, create=True)
    assert "wrongsecret" not in str(caught.value)
