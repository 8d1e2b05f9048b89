import errno
import gc
import os
import pickle
import time
import weakref
from pathlib import Path

import pytest

from lift3d.errors import (
    ConfigError,
    ProductMissingError,
    StoreError,
    StoreFullError,
    StoreLayoutError,
    StoreRefusedError,
    StoreUnavailableError,
)
from lift3d.storage import backends, layout
from lift3d.storage.backends import parse_url
from lift3d.storage.garbage import store_time
from lift3d.storage.location import Store, open_store
from lift3d.storage.retry_policy import Timeouts


class _Held:
    pass


def test_an_answer_that_is_an_error_keeps_nothing_alive(local_store):
    def ask():
        held = _Held()
        with pytest.raises(ProductMissingError):
            local_store.read_bytes("nothing")
        return weakref.ref(held)

    gc.collect()
    gc.disable()
    try:
        assert ask()() is None
    finally:
        gc.enable()


def test_objects_come_back_as_written(store):
    store.write_bytes("a/b", b"one")
    store.write_bytes("a/b", b"two")
    store.write_bytes("a/empty", b"")
    assert store.read_bytes("a/b") == b"two"
    assert store.read_bytes("a/b", 1, 2) == b"w"
    assert store.read_bytes("a/b", 1, 99) == b"wo"
    assert store.read_bytes("a/empty") == b""
    assert store.read_bytes("a/empty", 0, 5) == b""
    assert store.sizes("a") == {"a/b": 3, "a/empty": 0}
    assert store.names("a") == ("b", "empty")
    assert store.names() == ("README.txt", "a", "lift3d.json")
    assert [*store.entries("a/b")] == ["a/b"]
    assert (store.entries("nothing"), store.names("nothing")) == ({}, ())
    # What was written before is not younger; services count seconds.
    assert store.entries("a/b")["a/b"].modified <= store_time(store) + 1
    assert store.exists("a/b")
    assert not store.exists("a")
    assert not store.exists("a/c")
    assert store.create_bytes("a/c", b"first")
    assert not store.create_bytes("a/c", b"second")
    assert store.read_bytes("a/c") == b"first"


def test_delete_takes_the_folder_and_nothing_else(store):
    for key in ("a/b/1", "a/b/2", "a/bc"):
        store.write_bytes(key, b"x")
    store.delete_prefix("a/b")
    store.delete_prefix("a/never-there")
    assert store.list("a") == ["a/bc"]
    assert store.list("a/b") == []
    with pytest.raises(ProductMissingError, match="a/b/1"):
        store.read_bytes("a/b/1")


@pytest.mark.parametrize("key", ["../a", "/a", "a//b", "a/./b", "", "a\\b", "a\0b"])
def test_keys_stay_inside_the_store(local_store, key):
    for use in (lambda at: local_store.write_bytes(at, b"x"), local_store.read_bytes, local_store.delete_prefix):
        with pytest.raises(StoreLayoutError):
            use(key)


def test_opening_again_finds_the_same_store(store):
    store.write_bytes("a", b"x")
    assert open_store(store.url).read_bytes("a") == b"x"
    assert open_store(store.url, create=True).read_bytes("a") == b"x"
    assert pickle.loads(pickle.dumps(store)).read_bytes("a") == b"x"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        *((f'{{"layout": {found}}}'.encode(), r"layout .*Give a new store URL") for found in (0, 99, '"1"')),
        *((header, "not the header") for header in (b"", b"[]", b"{}", b"\xff\xfe", b"null")),
    ],
)
def test_another_layout_or_header_is_refused(local_store, header, said):
    with pytest.raises(StoreLayoutError, match="no lift3d store"):
        open_store(f"{local_store.url}/runs")
    local_store.write_bytes(layout.STORE_FILE, header)
    for create in (False, True):
        with pytest.raises(StoreLayoutError, match=said):
            open_store(local_store.url, create=create)


def test_local_urls_are_one_form(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = str(tmp_path / "s p")
    assert {parse_url(url) for url in ("s p", "./s p/", f"file://{tmp_path}/s%20p", "~/s p")} == {expected}


@pytest.mark.parametrize("url", ["", "/", "http://host/x", "zip://a::s3://b/c", "s3://", "s3://b/../c"])
def test_urls_that_are_not_allowed(url):
    with pytest.raises(ConfigError):
        Store(url)


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreRefusedError, match="Cannot write"):
        open_store(str(tmp_path / "file" / "store"), create=True)

    # The user of the tests may be one whom no mode of a folder stops.
    def refusing(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refusing)
    with pytest.raises(StoreRefusedError, match="right to read, write"):
        open_store(str(tmp_path / "store"), create=True)


@pytest.mark.fault(12, "the bucket of the store's URL was never made (emulator of S3)")
def test_a_missing_bucket_is_refused_before_any_work(moto_bucket):
    for create in (True, False):
        with pytest.raises(StoreRefusedError, match=r"no such bucket .* Create it, or correct the URL"):
            open_store(f"s3://{moto_bucket}-not/x", create=create)


def test_a_store_that_does_not_answer_is_given_up_soon(monkeypatch, moto_server):
    moto_server.use(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(backends, "TIMEOUTS", Timeouts(unreachable_s=0.2, first_wait_s=0.01))
    begin = time.monotonic()
    for create in (True, False):
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            open_store("s3://bucket/x", create=create)
    with pytest.raises(StoreUnavailableError):
        Store("s3://bucket/x").exists("a")
    assert backends.connection("s3").retry_policy.retry_counts["unreachable"] > 6
    assert time.monotonic() - begin < 10


def test_a_service_without_create_only_writes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "create_bytes", lambda store, key, content: not store.write_bytes(key, content))
    with pytest.raises(StoreError, match="create-only"):
        open_store(str(tmp_path / "store"), create=True)


def test_transient_errors_are_tried_again_and_others_are_not(local_store, monkeypatch):
    connection = backends.connection("file")
    errors = [*2 * [OSError(errno.EIO, "the disk is tired")], *2 * [PermissionError(errno.EACCES, "no")]]

    def failing(path, start, end):
        raise errors.pop(0)

    before = connection.retry_policy.retry_counts["unreachable"]
    monkeypatch.setattr(connection.objects, "read", failing)
    with pytest.raises(StoreRefusedError, match="PermissionError"):
        local_store.read_bytes("a")
    assert connection.retry_policy.retry_counts["unreachable"] == before + 2
    assert len(errors) == 1


@pytest.mark.fault(10, "the file system answers ENOSPC when a file is put in its place (patched call)")
def test_a_full_disk_is_said_and_leaves_no_object(local_store, monkeypatch):
    def broken(*paths):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "link", broken)
    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(StoreFullError, match=r"no room left .*disk full.* Free some"):
        local_store.create_bytes("a/b", b"x")
    with pytest.raises(StoreFullError):
        local_store.write_bytes("a/b", b"x")
    assert local_store.list("a") == []
    assert list(Path(local_store.url, "a").iterdir()) == []
    with pytest.raises(StoreFullError):
        open_store(local_store.url, create=True)


def test_a_forked_process_connects_anew(monkeypatch):
    before = backends.connection("file")
    assert backends.connection("file") is before
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert backends.connection("file") is not before
