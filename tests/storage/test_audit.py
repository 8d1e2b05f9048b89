"""What a walk through a store finds, and what is collected: by the clock of the store, not by that of this machine."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from lift3d.errors import StoreUnavailableError
from lift3d.storage import commit as protocol
from lift3d.storage.audit import audit_folder, audit_product, folders
from lift3d.storage.commit import Entry, Manifest, committed
from lift3d.storage.documents import read_document, write_document
from lift3d.storage.garbage import collect, garbage_in, probes, store_time
from lift3d.storage.layout import attempt_path, commit_path
from lift3d.storage.location import Store
from tests.support.store_workers import HOUR_S, all_keys, audited, needed_keys, swept

PATH = "scenes/room/lifted/rgb/nearest_view/0123/part-0000"


def begun(store: Store, path: str = PATH, content: bytes = b"x") -> Manifest:
    """Leave an attempt as a worker does that dies before the manifest."""
    attempt = protocol.new_attempt()
    store.write_bytes(f"{attempt_path(path, attempt)}/x", content)
    return Manifest(attempt, {"x": Entry.of(content)}, {})


def test_a_listing_says_what_there_is(store):
    store.write_bytes("a/b/c", b"12")
    store.write_bytes("a/d", b"")
    assert store.names() == ("a", "lift3d.json")
    assert store.names("a") == ("b", "d")
    assert store.names("nothing") == ()
    assert {key: info.size for key, info in store.entries("a").items()} == {"a/b/c": 2, "a/d": 0}
    assert [*store.entries("a/d")] == ["a/d"]
    assert store.entries("nothing") == {}
    # An object written before is not younger; services count seconds.
    assert store.entries("a/d")["a/d"].modified <= store_time(store) + 1


def test_every_state_of_a_product_has_its_verdict(store):
    for name in ("whole", "cut", "empty", "gone", "flipped", "unmarked", "headless", "dead"):
        begun(store, f"scenes/room/{name}") if name == "dead" else write_document(store, f"scenes/room/{name}", [name])
    folder = {name: committed(store, f"scenes/room/{name}").folder for name in ("cut", "empty", "gone", "flipped")}
    content = store.read_bytes(f"{folder['cut']}/document.json")
    store.write_bytes(f"{folder['cut']}/document.json", content[:-1])
    store.write_bytes(f"{folder['empty']}/document.json", b"")
    store.delete_prefix(f"{folder['gone']}/document.json")
    flipped = bytearray(store.read_bytes(f"{folder['flipped']}/document.json"))
    flipped[2] ^= 1
    store.write_bytes(f"{folder['flipped']}/document.json", bytes(flipped))
    store.write_bytes(commit_path("scenes/room/unmarked"), b"{")
    store.delete_prefix(f"{committed(store, 'scenes/room/headless').folder}/MANIFEST.json")

    expected = {
        "cut": "damaged", "dead": "uncommitted", "empty": "damaged", "flipped": "whole", "gone": "damaged",
        "headless": "no-manifest", "unmarked": "damaged", "whole": "whole",
    }  # fmt: skip
    for checksums in (False, True):
        found = {product.path.rsplit("/", 1)[1]: product for product in audit_folder(store, "scenes/room", checksums)}
        expected["flipped"] = "damaged" if checksums else "whole"
        assert {name: product.verdict for name, product in found.items()} == expected
        said = {name: product.damage[0].to_text() for name, product in found.items() if product.damage}
        assert said["gone"].endswith("document.json is missing")
        assert said["empty"].endswith(f"has 0 bytes, {len(content) + 2} were committed")
        assert said["headless"].endswith("MANIFEST.json is missing")
        assert said["unmarked"] == "scenes/room/unmarked/COMMIT.json is not a commit marker"
    assert "CRC-32C" in said["flipped"]
    assert audit_product(store, "scenes/room/gone").damage == found["gone"].damage
    assert audit_product(store, "scenes/room/never").verdict == "missing"


def test_a_product_that_was_replaced_since_it_was_listed_is_not_damaged(local_store):
    write_document(local_store, PATH, "first")
    listing = local_store.entries(PATH)
    protocol.withdraw(local_store, PATH)
    write_document(local_store, PATH, "second")
    assert audit_product(local_store, PATH, True, listing).verdict == "whole"


def test_folders_are_scenes_and_runs_and_nothing_else(store):
    for key in ("scenes/a/x", "scenes/b/x", "runs/c/recipe.json", "other/x", "probe-1/clock"):
        store.write_bytes(key, b"x")
    assert folders(store) == ["other", "runs/c", "scenes/a", "scenes/b"]


def test_what_is_collected_are_the_leftovers_and_nothing_else(store):
    write_document(store, PATH, "alive")
    for path in (PATH, PATH, "scenes/room/scores/4567"):
        begun(store, path)
    assert len(swept(store)) == 3
    assert all_keys(store) == needed_keys(store)
    assert read_document(store, PATH) == "alive"
    assert swept(store) == []


def test_of_a_product_whose_marker_cannot_be_read_nothing_is_collected(local_store):
    write_document(local_store, PATH, "content")
    begun(local_store)
    local_store.write_bytes(commit_path(PATH), b"")
    assert swept(local_store) == []


def test_an_attempt_that_became_the_product_meanwhile_stays(local_store):
    manifest = begun(local_store)
    pieces = list(garbage_in(local_store, "scenes/room", before=float("inf")))
    assert protocol.commit_attempt(local_store, PATH, manifest).is_own
    assert [collect(local_store, piece) for piece in pieces] == [False]
    protocol.verify(local_store, PATH, checksums=True)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_writer_that_wakes_while_it_is_collected_leaves_no_marker(local_store, monkeypatch, moment):
    manifest = begun(local_store)
    (piece,) = garbage_in(local_store, "scenes/room", before=float("inf"))
    delete = Store.delete_prefix
    woken = []

    def wakes(self, prefix):
        if moment == "after":
            delete(self, prefix)
        if not woken:
            woken.append(prefix)
            with contextlib.suppress(StoreUnavailableError):
                protocol.commit_attempt(self, PATH, manifest)
        if moment == "before":
            delete(self, prefix)

    monkeypatch.setattr(Store, "delete_prefix", wakes)
    assert collect(local_store, piece)
    assert woken
    assert committed(local_store, PATH) is None
    assert not [key for key in all_keys(local_store) if key.endswith("COMMIT.json")]


def test_probes_are_collected_when_they_are_old(store):
    store.write_bytes("probe-a", b"first")
    store.write_bytes("probe-b/clock", b"now")
    assert list(probes(store, store_time(store) - HOUR_S)) == []
    for piece in probes(store, store_time(store) + HOUR_S):
        assert collect(store, piece)
    assert store.names() == ("lift3d.json",)


def age(store: Store, folder: str, hours: float) -> None:
    """Set back the time at which the objects below a folder of a local store were written."""
    for path in Path(store.url, folder).rglob("*"):
        moved = path.stat().st_mtime - hours * HOUR_S
        os.utime(path, (moved, moved))


@pytest.mark.fault(35, "time.time of this process is an hour wrong; ages are those that the disk knows")
@pytest.mark.parametrize("skew_h", [-1, 0, 1])
def test_an_age_is_measured_by_the_clock_of_the_store(local_store, monkeypatch, skew_h):
    old, young = begun(local_store), begun(local_store)
    age(local_store, attempt_path(PATH, old.attempt), 2.5)
    age(local_store, attempt_path(PATH, young.attempt), 1.5)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + skew_h * HOUR_S)
    assert [piece.key for piece in swept(local_store, 2 * HOUR_S)] == [attempt_path(PATH, old.attempt)]
    assert protocol.commit_attempt(local_store, PATH, young).is_own


@pytest.mark.fault(35, "the first worker's objects are stamped an hour late, the second's an hour early")
def test_who_was_first_is_not_a_matter_of_clocks(local_store, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + HOUR_S)
    first = write_document(local_store, PATH, "first")
    age(local_store, PATH, -1)
    monkeypatch.setattr(time, "time", lambda: now() - HOUR_S)
    assert not write_document(local_store, PATH, "second").is_own
    assert committed(local_store, PATH).attempt == first.attempt
    assert read_document(local_store, PATH) == "first"


def test_a_worker_that_still_writes_keeps_what_it_wrote_long_ago(local_store):
    manifest = begun(local_store)
    age(local_store, attempt_path(PATH, manifest.attempt), 100)
    local_store.write_bytes(f"{attempt_path(PATH, manifest.attempt)}/y", b"y")
    assert swept(local_store, 48 * HOUR_S) == []


def test_writes_to_a_disk_that_were_never_finished_are_collected(local_store):
    write_document(local_store, PATH, "alive")
    partial = Path(local_store.url, PATH, ".0123.partial")
    partial.write_bytes(b"half")
    assert local_store.list(PATH) == [key for key in sorted(all_keys(local_store)) if key.startswith(PATH)][1:]
    assert swept(local_store, HOUR_S) == []
    assert [piece.kind for piece in swept(local_store)] == ["partial"]
    assert not partial.exists()
    assert {product.verdict for product in audited(local_store)} == {"whole"}
