"""Rows of the fault matrix that a network, a service or its keys cause."""

import contextlib
import resource
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from botocore.exceptions import ClientError

from lift3d.errors import DamagedProductError, StoreError, StoreFullError, StoreRefusedError, StoreUnavailableError
from lift3d.storage import backends
from lift3d.storage.commit import committed
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import open_product, write_product
from lift3d.storage.retry_policy import MOST_AT_ONCE, RetryPolicy, Throttle, Timeouts
from tests.support.fault_proxy import FaultProxy, Refusal

# The times of a run, made short: those between tries, and for one test those of a try.
HASTE = Timeouts(
    unreachable_s=0.3,
    busy_s=60.0,
    first_wait_s=0.005,
    longest_unreachable_wait_s=0.02,
    longest_busy_wait_s=0.05,
)
IMPATIENCE = replace(HASTE, silence_s=0.4, operation_s=0.8)
SLOW_DOWN = Refusal(503, "SlowDown")
VALUES = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)


@pytest.fixture
def proxy(moto_server, moto_bucket, monkeypatch):
    made = FaultProxy(moto_server.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.endpoint)
    monkeypatch.setattr(backends, "TIMEOUTS", HASTE)
    yield made
    made.close()


@pytest.fixture
def distant(proxy, moto_bucket):
    return open_store(f"s3://{moto_bucket}/{uuid.uuid4().hex}", create=True)


def answer(code: str) -> ClientError:
    status = {"SlowDown": 503, "InternalError": 500, "AccessDenied": 403}[code]
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


def _retries(meaning: str) -> int:
    return backends.connection("s3").retry_policy.retry_counts[meaning]


@pytest.mark.fault(5, "a proxy hangs up instead of passing on the answer to the write of the group file")
def test_an_answer_lost_on_the_way_is_our_own_success(distant, proxy):
    left = [1]

    def lose(seen, index):
        return "lose" if seen.is_create and seen.path.endswith("/zarr.json") and left and left.pop() else None

    proxy.fault = lose
    commit = write_product(distant, "a", {}, {"content": 1})
    assert proxy.injected_count == 1
    assert commit.is_own
    assert open_product(distant, "a").attrs == {"content": 1}


@pytest.mark.fault(6, "a proxy answers 503 SlowDown to the first 40 writes of eight threads")
def test_a_busy_service_is_asked_again_by_fewer_at_once(distant, proxy):
    limits, lock = [], threading.Lock()
    throttle = backends.connection("s3").retry_policy.throttle

    def busy(seen, index):
        if seen.method != "PUT":
            return None
        with lock:
            limits.append(throttle.limit)
            return SLOW_DOWN if len(limits) <= 40 else None

    proxy.fault = busy
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: distant.write_bytes(f"a/{index}", b"x" * index), range(64)))
    proxy.first(0, None)
    assert distant.sizes("a") == {f"a/{index}": index for index in range(64)}
    assert _retries("busy") == proxy.injected_count == 40
    assert limits[0] == MOST_AT_ONCE
    assert min(limits) <= MOST_AT_ONCE // 8
    assert throttle.limit > min(limits)


@pytest.mark.fault(6, "a service that asks for fewer requests without end, on a clock that only waiting moves")
def test_a_busy_service_is_borne_ten_minutes_and_a_silent_one_is_not():
    def waited_s(meaning: str, code: str) -> float:
        waits: list[float] = []
        retry_policy = RetryPolicy(Timeouts(), sleep=waits.append)

        def call():
            raise answer(code)

        with pytest.raises(ClientError):
            retry_policy.run(call)
        assert retry_policy.retry_counts[meaning] == len(waits)
        assert len(set(waits)) == len(waits)
        return sum(waits)

    assert waited_s("unreachable", "InternalError") < 60
    assert 600 < waited_s("busy", "SlowDown") < 1200
    assert waited_s("refused", "AccessDenied") == 0


def test_requests_that_are_refused_together_halve_once():
    throttle, barrier = Throttle(8), threading.Barrier(8)

    def refused(index: int) -> None:
        with contextlib.suppress(ClientError), throttle.slot():
            barrier.wait(10)
            raise answer("SlowDown")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(refused, range(8)))
    assert throttle.limit == 4
    for _ in range(4 + 5 + 6 + 7):
        with throttle.slot():
            pass
    assert throttle.limit == 8


@pytest.mark.fault(7, "a proxy stops, or trickles, in the middle of the body of a read")
@pytest.mark.parametrize("damage", ["stall", "trickle"])
def test_a_stalled_read_has_a_deadline_and_is_repeated(distant, proxy, monkeypatch, damage):
    distant.write_bytes("a", bytes(range(250)) * 40)
    monkeypatch.setattr(backends, "TIMEOUTS", IMPATIENCE)
    proxy.first(1, damage)
    begin = time.monotonic()
    assert distant.read_bytes("a") == bytes(range(250)) * 40
    assert _retries("unreachable") >= proxy.injected_count == 1
    proxy.first(1000, damage)
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        distant.read_bytes("a")
    # The proxy would have gone on for a minute.
    assert time.monotonic() - begin < 30


@pytest.mark.fault(8, "a proxy cuts the body of a read short of the length it announced")
@pytest.mark.parametrize("span", [(None, None), (100, 900)])
def test_half_a_body_is_never_taken_for_a_whole_one(distant, proxy, span):
    content = bytes(range(250)) * 8
    distant.write_bytes("a", content)
    proxy.first(2, "truncate")
    assert distant.read_bytes("a", *span) == content[slice(*span)]
    assert _retries("unreachable") == proxy.injected_count == 2
    proxy.first(1000, "truncate")
    with pytest.raises(StoreUnavailableError):
        distant.read_bytes("a", *span)


@pytest.mark.fault(8, "a proxy shortens the body of a read, or flips one bit of it, and says nothing")
@pytest.mark.parametrize("damage", ["shorten", "flip"])
def test_an_answer_that_was_damaged_on_the_way_is_never_passed_on(distant, proxy, damage):
    write_product(distant, "a", {"x": (("row", "col"), VALUES)}, {})
    request_count = len(proxy.seen)
    np.testing.assert_array_equal(open_product(distant, "a").array("x"), VALUES)
    for turn in range(len(proxy.seen) - request_count):
        start = len(proxy.seen)
        proxy.fault = lambda seen, index, hit=start + turn: damage if index == hit else None
        try:
            found = open_product(distant, "a").array("x")
        except StoreError:
            continue
        np.testing.assert_array_equal(found, VALUES)
    proxy.fault = lambda seen, index: damage if "/c/" in seen.path else None
    with pytest.raises(DamagedProductError):
        open_product(distant, "a").array("x")


@pytest.mark.fault(10, "the process may write files of 8 KiB only (RLIMIT_FSIZE)")
def test_a_file_that_does_not_fit_is_said_and_nothing_becomes_visible(local_store):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(StoreFullError, match="no room left"):
            write_product(local_store, "a", {"x": (("row", "col"), VALUES)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert committed(local_store, "a") is None
    write_product(local_store, "a", {"x": (("row", "col"), VALUES)}, {})
    np.testing.assert_array_equal(open_product(local_store, "a").array("x"), VALUES)


@pytest.mark.fault(10, "a proxy answers that the quota of the bucket, or the disk of the service, is used up")
@pytest.mark.parametrize("refusal", [Refusal(403, "QuotaExceeded"), Refusal(507, "XMinioStorageFull")])
def test_a_service_without_room_is_full_not_broken(distant, proxy, refusal):
    proxy.first(1, refusal, method="PUT")
    with pytest.raises(StoreFullError, match="raise the quota"):
        distant.write_bytes("a", b"x")
    assert proxy.injected_count == 1


@pytest.mark.fault(11, "a proxy answers ExpiredToken to the key of a file of credentials that is rewritten meanwhile")
@pytest.mark.parametrize("status", [400, 403])
def test_an_expired_key_is_looked_up_once_more(distant, proxy, monkeypatch, tmp_path, status):
    distant.write_bytes("a", b"x")
    keys = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))

    def write_key(name: str) -> None:
        keys.write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = topsecret\n")

    write_key("old")
    assert distant.read_bytes("a") == b"x"
    write_key("new")
    proxy.fault = lambda seen, index: Refusal(status, "ExpiredToken") if seen.key_id == "old" else None
    assert distant.read_bytes("a") == b"x"
    assert [seen.key_id for seen in proxy.seen[-3:]] == ["old", "old", "new"]
    proxy.fault = lambda seen, index: Refusal(status, "ExpiredToken")
    request_count = len(proxy.seen)
    with pytest.raises(StoreRefusedError, match="does not accept the credentials") as caught:
        distant.read_bytes("a")
    assert len(proxy.seen) == request_count + 2
    assert "topsecret" not in str(caught.value)


@pytest.mark.fault(11, "a proxy answers 403 to writes; the store's secret stands in the answer")
def test_a_missing_right_is_found_before_any_work(distant, proxy, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
    proxy.fault = lambda seen, index: Refusal(403, "AccessDenied") if seen.method == "PUT" else None
    with pytest.raises(StoreRefusedError, match="the right to read, write, list and delete") as caught:
        open_store(distant.url, create=True)
    assert "topsecret" not in str(caught.value)
    proxy.fault = lambda seen, index: Refusal(403, "topsecret")
    with pytest.raises(StoreRefusedError) as caught:
        open_store(distant.url)
    assert "topsecret" not in str(caught.value)


@pytest.mark.fault(39, "a proxy counts what a write and a read of a product ask an emulator of S3 for")
def test_the_hot_path_asks_for_known_keys_only(distant, proxy):
    begin = len(proxy.seen)
    write_product(distant, "a", {"x": (("row", "col"), VALUES)}, {})
    assert committed(distant, "never") is None
    opened = open_product(distant, "a")
    np.testing.assert_array_equal(opened.array("x"), VALUES)
    assert not distant.exists("b")
    asked = proxy.seen[begin:]
    assert {seen.method for seen in asked} == {"GET", "PUT"}
    assert not any(seen.is_list for seen in asked)
    # Metadata and one chunk of the array, and the group file.
    assert sum(seen.method == "PUT" for seen in asked) == len(opened.manifest.entries) + 1 == 3


@pytest.mark.fault(39, "another writer adds an object after a listing")
def test_listings_are_not_remembered(distant, moto_server, monkeypatch):
    distant.write_bytes("a/one", b"1")
    assert distant.list("a") == ["a/one"]
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", moto_server.endpoint)
        Store(distant.url).write_bytes("a/two", b"2")
    assert distant.list("a") == ["a/one", "a/two"]
