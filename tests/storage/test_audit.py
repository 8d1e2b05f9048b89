"""What a walk through a store finds, and what is collected: by the clock of the store, not by that of this machine."""

import time
from pathlib import Path

import numpy as np
import pytest

from lift3d.storage import commit as protocol
from lift3d.storage.audit import audit_folder, audit_product, folders
from lift3d.storage.commit import committed
from lift3d.storage.garbage import collect, garbage_in, probes, store_time
from lift3d.storage.layout import group_path
from lift3d.storage.location import Store
from lift3d.storage.products import ProductWriter, write_product
from tests.support.store_content import require_whole
from tests.support.store_workers import HOUR_S, age, audited, check_tidy, read, swept, write
from tests.support.store_workers import PRODUCT as PATH


def begun(store: Store, path: str = PATH) -> ProductWriter:
    writer = ProductWriter(store, path)
    writer.write_part(0, {"x": (("i", "j"), np.ones((2, 3), np.float32))}, 2, 2)
    return writer


def test_every_state_of_a_product_has_its_verdict(store):
    scene = "scenes/room/state/rows"
    for name in ("whole", "cut", "empty", "gone", "flipped", "unmarked", "dead"):
        begun(store, f"{scene}/dead") if name == "dead" else write(store, f"{scene}/{name}")
    chunk = "x/c/0"
    content = store.read_bytes(f"{scene}/cut/{chunk}")
    flipped = bytearray(content)
    flipped[2] ^= 1
    store.write_bytes(f"{scene}/cut/{chunk}", content[:-1])
    store.write_bytes(f"{scene}/empty/{chunk}", b"")
    store.delete_prefix(f"{scene}/gone/{chunk}")
    store.write_bytes(f"{scene}/flipped/{chunk}", bytes(flipped))
    store.write_bytes(group_path(f"{scene}/unmarked"), b"{")

    expected = {
        "cut": "damaged", "dead": "uncommitted", "empty": "damaged", "flipped": "whole", "gone": "damaged",
        "unmarked": "damaged", "whole": "whole",
    }  # fmt: skip
    for checksums in (False, True):
        found = {product.path.rsplit("/", 1)[1]: product for product in audit_folder(store, "scenes/room", checksums)}
        expected["flipped"] = "damaged" if checksums else "whole"
        assert {name: product.verdict for name, product in found.items()} == expected
        said = {name: product.damage[0] for name, product in found.items() if product.damage}
        assert said["gone"].endswith("x/c/0 is missing")
        assert said["empty"].endswith(f"has 0 bytes, {len(content)} were committed")
        assert said["unmarked"] == f"{scene}/unmarked/zarr.json is not the group file that was committed"
    assert "CRC-32" in said["flipped"]
    assert audit_product(store, f"{scene}/gone").damage == found["gone"].damage
    assert audit_product(store, f"{scene}/never").verdict == "missing"


def test_a_product_that_was_replaced_since_it_was_listed_is_not_damaged(local_store):
    write(local_store)
    listing = local_store.entries(PATH)
    protocol.remove_product(local_store, PATH)
    write_product(local_store, PATH, {"y": (("i",), np.zeros(7))}, {})
    assert audit_product(local_store, PATH, True, listing).verdict == "whole"


def test_folders_are_scenes_and_runs_and_nothing_else(store):
    for key in ("scenes/a/x", "scenes/b/x", "runs/c/recipe.json", "other/x", "probe-1/clock"):
        store.write_bytes(key, b"x")
    assert folders(store) == ["other", "runs/c", "scenes/a", "scenes/b"]


def test_what_is_collected_are_the_leftovers_and_nothing_else(store):
    write(store)
    store.write_bytes(f"{PATH}/parts/0007.json", b"late")
    begun(store, "scenes/room/state/rows/4567")
    assert sorted(piece.kind for piece in swept(store)) == ["leftover", "unfinished"]
    check_tidy(store)
    assert read(store) == 1
    assert swept(store) == []
    store.write_bytes(group_path(PATH), b"")
    assert swept(store) == [], "of a group file that cannot be read"


def test_what_became_a_product_meanwhile_stays(local_store):
    writer = begun(local_store)
    pieces = list(garbage_in(local_store, "scenes/room", before=float("inf")))
    assert writer.commit({}, {}, 1).is_own
    assert [collect(local_store, piece) for piece in pieces] == [False]
    require_whole(local_store, PATH)


def test_probes_are_collected_when_they_are_old(store):
    store.write_bytes("probe-a", b"first")
    store.write_bytes("probe-b/clock", b"now")
    assert list(probes(store, store_time(store) - HOUR_S)) == []
    for piece in probes(store, store_time(store) + HOUR_S):
        assert collect(store, piece)
    assert store.names() == ("README.txt", "lift3d.json")


@pytest.mark.fault(35, "time.time of this process is an hour wrong; ages are those that the disk knows")
@pytest.mark.parametrize("skew_h", [-1, 0, 1])
def test_an_age_is_measured_by_the_clock_of_the_store(local_store, monkeypatch, skew_h):
    old, young = (f"scenes/room/state/rows/{name}" for name in ("old", "young"))
    begun(local_store, old)
    writer = begun(local_store, young)
    age(local_store, 2.5, old)
    age(local_store, 1.5, young)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + skew_h * HOUR_S)
    assert [piece.key for piece in swept(local_store, 2 * HOUR_S)] == [old]
    assert writer.commit({}, {}, 1).is_own


@pytest.mark.fault(35, "the first worker's objects are stamped an hour late, the second's an hour early")
def test_who_was_first_is_not_a_matter_of_clocks(local_store, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + HOUR_S)
    first = write(local_store, PATH, 1)
    age(local_store, -1, PATH)
    monkeypatch.setattr(time, "time", lambda: now() - HOUR_S)
    assert not write(local_store, PATH, 2).is_own
    assert committed(local_store, PATH).manifest.write_id == first.manifest.write_id
    assert read(local_store) == 1


def test_a_worker_that_still_writes_keeps_what_it_wrote_long_ago(local_store):
    begun(local_store)
    age(local_store, 100, PATH)
    local_store.write_bytes(f"{PATH}/y/c/0", b"y")
    assert swept(local_store, 48 * HOUR_S) == []


def test_writes_to_a_disk_that_were_never_finished_are_collected(local_store):
    write(local_store)
    partial = Path(local_store.url, PATH, ".0123.partial")
    partial.write_bytes(b"half")
    assert not [key for key in local_store.list(PATH) if key.endswith(".partial")]
    assert swept(local_store, HOUR_S) == []
    assert [piece.kind for piece in swept(local_store)] == ["leftover"]
    assert not partial.exists()
    assert {product.verdict for product in audited(local_store)} == {"whole"}
