"""What only a store behind HTTP can get wrong; the same truths on an emulator and on a real server."""

import contextlib
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray
from zarr.core.sync import sync
from zarr.storage import FsspecStore

from lift3d.errors import StoreUnavailableError
from lift3d.storage import commit as protocol
from lift3d.storage.documents import read_document, write_document
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import ArrayTemplate, begin_product, open_product


@pytest.fixture(params=["moto", pytest.param("swift", marks=pytest.mark.cluster)])
def s3_store(request: pytest.FixtureRequest) -> Store:
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


class DeafProxy:
    """Forwards HTTP and hangs up instead of passing on the first answer to a create-only write."""

    def __init__(self, port: int) -> None:
        self.lost_count = 0
        self._port = port
        self._is_create = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError), server:
            while chunk := client.recv(65536):
                self._is_create = self._is_create or b"if-none-match" in chunk.lower()
                server.sendall(chunk)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while chunk := server.recv(65536):
                if self._is_create and self.lost_count == 0 and b" 100 " not in chunk[:20]:
                    self.lost_count += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(chunk)


def test_an_answer_lost_on_the_way_is_our_own_success(moto_server, moto_bucket, monkeypatch):
    url = open_store(f"s3://{moto_bucket}/{uuid.uuid4().hex}", create=True).url
    proxy = DeafProxy(int(moto_server.endpoint.rsplit(":", 1)[1]))
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        commit = write_document(Store(url), "a", "content")
    proxy.close()
    assert proxy.lost_count == 1
    assert commit.is_own
    assert read_document(open_store(url), "a") == "content"


@pytest.mark.cluster
def test_a_wrong_key_is_refused(swift_bucket, monkeypatch):
    url = open_store(f"s3://{swift_bucket}/store", create=True).url
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreUnavailableError, match="PermissionError") as caught:
        open_store(url, create=True)
    assert "wrong" not in str(caught.value)
