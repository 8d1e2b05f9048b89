"""What only a store behind HTTP can get wrong; the same truths on an emulator and on a real server."""

import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray
from zarr.core.sync import sync
from zarr.storage import FsspecStore

from lift3d.errors import StoreRefusedError
from lift3d.storage import backends
from lift3d.storage import commit as protocol
from lift3d.storage.documents import read_document, write_document
from lift3d.storage.location import Store, open_store
from lift3d.storage.persistence import Patience
from lift3d.storage.products import ArrayTemplate, begin_product, open_product, write_product
from tests.support.fault_proxy import FaultProxy, Refusal


@pytest.fixture(params=backends.BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library behind s3://, chosen as a user does."""
    if request.param == "obstore":
        pytest.importorskip("obstore", reason="obstore is not installed")
    monkeypatch.setenv(backends.BACKEND_VARIABLE, request.param)
    return request.param


@pytest.fixture(params=["moto", pytest.param("swift", marks=pytest.mark.cluster)])
def s3_store(request: pytest.FixtureRequest, backend: str) -> Store:
    return open_store(f"s3://{request.getfixturevalue(f'{request.param}_bucket')}/{uuid.uuid4().hex}", create=True)


def test_sharded_product_round_trip(s3_store):
    values = np.random.default_rng(0).normal(size=(4, 16, 16, 8)).astype(np.float16)
    template = ArrayTemplate(values.shape, "float16", ("view", "row", "col", "channel"), (1, 8, 16, 8), (2, 16, 16, 8))
    with begin_product(s3_store, "a", {"x": template}, {"n": 1}) as writer:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda start: writer.fill("x", (start, 0, 0, 0), values[start : start + 2]), (0, 2)))
        writer.commit()
    product = open_product(s3_store, "a")
    np.testing.assert_array_equal(product.array("x"), values)
    np.testing.assert_array_equal(product.read("x", (3, slice(0, 3))), values[3, :3])
    options = {"config_kwargs": {"s3": {"addressing_style": "path"}}, "skip_instance_cache": True}
    plain = FsspecStore.from_url(product.url, storage_options=options, read_only=True)
    with xarray.open_zarr(plain) as dataset:
        np.testing.assert_array_equal(dataset["x"].values, values)
    sync(plain.fs.s3.close())


def test_racing_writers_leave_one_whole_product(s3_store, request):
    barrier = threading.Barrier(8)

    def write(index: int) -> protocol.Commit:
        return write_document(s3_store, "a", index, at_step=lambda step: barrier.wait() if step == "manifest" else 0)

    with ThreadPoolExecutor(8) as pool:
        commits = list(pool.map(write, range(8)))
    stands = protocol.verify(s3_store, "a", checksums=True)
    assert commits[read_document(s3_store, "a")].attempt == stands.attempt
    for commit in commits:
        # Whoever was told to be the winner, or adopted one, can still read what it was told.
        entries = protocol.read_manifest(s3_store, commit).entries
        assert all(protocol.read_entry(s3_store, commit.folder, key, entry) for key, entry in entries.items())
    if "moto" in request.node.name:
        assert [commit.is_own for commit in commits].count(True) == 1
        assert {key.split("/")[2] for key in s3_store.list("a/attempts")} == {stands.attempt}


@pytest.mark.cluster
@pytest.mark.parametrize("fault", ["lose", "stall", "truncate", Refusal(503, "SlowDown")])
def test_a_real_server_behind_a_bad_line_gives_what_was_written(swift_bucket, backend, monkeypatch, fault):
    proxy = FaultProxy(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    monkeypatch.setattr(backends, "PATIENCE", Patience(silence_s=2.0, first_wait_s=0.05))
    store = open_store(f"s3://{swift_bucket}/store", create=True)
    proxy.fault = lambda seen, index: fault if index % 4 == 1 else None
    values = np.random.default_rng(0).normal(size=(32, 32))
    commit = write_product(store, "a", {"x": (("row", "col"), values)}, {})
    np.testing.assert_array_equal(open_product(store, "a").array("x"), values)
    assert commit.is_own
    assert proxy.injected_count > 1
    proxy.close()


@pytest.mark.fault(12, "the bucket of the store's URL was never made (OpenStack Swift)")
@pytest.mark.cluster
def test_a_missing_bucket_is_refused(swift_bucket, backend):
    with pytest.raises(StoreRefusedError, match="no such bucket"):
        open_store(f"s3://{swift_bucket}-not/store", create=True)


@pytest.mark.fault(11, "a wrong secret (OpenStack Swift, which checks signatures)")
@pytest.mark.cluster
def test_a_wrong_key_is_refused(swift_bucket, backend, monkeypatch):
    url = open_store(f"s3://{swift_bucket}/store", create=True).url
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongsecret")
    with pytest.raises(StoreRefusedError, match="does not accept the credentials") as caught:
        open_store(url, create=True)
    assert "wrongsecret" not in str(caught.value)
