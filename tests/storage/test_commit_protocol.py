import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lift3d.errors import DamagedProductError, ProductMissingError, StoreLayoutError
from lift3d.storage import commit as protocol
from lift3d.storage.commit import committed
from lift3d.storage.layout import group_path
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry
from lift3d.storage.products import ProductWriter, open_product, write_product
from lift3d.storage.repair import repaired, retract
from tests.support.damage import delete, empty, flip
from tests.support.store_content import require_whole
from tests.support.store_workers import read, write

A, B = "scenes/s/state/rows/a", "scenes/s/state/rows/b"
CHUNK, GROUP = f"{A}/x/c/0", group_path(A)
DIMS = ("view", "cell")
VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_attributes_come_back_as_written(store):
    content = [{"value": 0.1, "name": "ümläut", "missing": None}, [], {}]
    assert write_product(store, A, {}, {"x": content}).is_own
    assert open_product(store, A).attrs == {"x": content}
    assert store.list(A) == [group_path(A)]


def test_what_is_not_json_is_refused(local_store):
    for content in (float("nan"), {"a": float("inf")}, {1, 2}, b"x"):
        with pytest.raises(StoreLayoutError, match="plain JSON"):
            write_product(local_store, A, {}, {"x": content})
    assert committed(local_store, A) is None


def test_a_product_without_group_file_is_not_there(store):
    with pytest.raises(ZeroDivisionError):
        write(store, A, 1, lambda step: 1 / (step != "filled"))
    assert store.list(A)
    assert committed(store, A) is None
    with pytest.raises(ProductMissingError, match="/a"):
        read(store, A)


def test_eight_racing_writers_have_one_winner_and_all_can_read(store):
    barrier = threading.Barrier(8)
    commits = []

    def race(value):
        commits.append(write(store, A, value, lambda step: barrier.wait() if step in ("begun", "filled") else 0))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(race, range(8)))
    assert sum(commit.is_own for commit in commits) == 1
    assert len({commit.manifest.write_id for commit in commits}) == 1
    # Whoever created an object first decided what it holds; everyone else described that.
    require_whole(store, A)
    assert read(store, A) in range(8)


def with_parts(store: Store, *numbers: int) -> ProductWriter:
    for number in numbers:
        arrays = {"x": (DIMS, VALUES[2 * number :][:2])}
        ProductWriter(store, A).write_part(number, arrays, 4, 2, {"number": number})
    return ProductWriter(store, A)


def test_parts_of_several_workers_make_one_product_and_their_records_go(store):
    whole = with_parts(store, 1, 0)
    with pytest.raises(StoreLayoutError, match="part 2 is not written"):
        whole.commit({}, {}, 3)
    assert whole.commit({}, {}, 2).is_own
    product = open_product(store, A)
    np.testing.assert_array_equal(product.array("x"), VALUES)
    assert product.notes == [{"number": 0}, {"number": 1}]
    assert not [key for key in store.list(A) if "parts" in key]


def test_parts_of_other_arrays_do_not_make_one_product(local_store):
    writer = with_parts(local_store, 0)
    writer.write_part(1, {"x": (DIMS, np.zeros((2, 5), np.float32))}, 4, 2)
    with pytest.raises(StoreLayoutError, match="another 'x'"):
        writer.commit({}, {}, 2)


def test_a_part_of_another_product_is_copied_as_it_is(store):
    with_parts(store, 0, 1).commit({}, {}, 2)
    second = ProductWriter(store, B)
    second.write_part(0, {"x": (DIMS, np.ones((2, 3), np.float32))}, 6, 2)
    for number in (0, 1):
        second.copy_part(number + 1, 6, open_product(store, A), number)
    second.commit({}, {}, 3)
    require_whole(store, B)
    np.testing.assert_array_equal(open_product(store, B).array("x")[2:], VALUES)


@pytest.mark.fault(8, "a bit of a stored object is flipped; so is the group file with the manifest")
@pytest.mark.parametrize(
    ("damage", "key"), [(empty, GROUP), (flip, GROUP), (flip, CHUNK), (empty, CHUNK), (delete, CHUNK)]
)
def test_damage_is_an_error_with_a_remedy_and_is_taken_back(store, damage, key):
    write(store, A, 7)
    damage(store, key)
    with pytest.raises(DamagedProductError, match=r"a/.*Delete the product .*/a and run again") as caught:
        read(store, A)
    assert caught.value.product == A
    with pytest.raises(DamagedProductError):
        require_whole(store, A)
    if (key, damage) != (CHUNK, flip):
        with pytest.raises(DamagedProductError):
            require_whole(store, A, checksums=False)
    assert retract(store, A)
    assert committed(store, A) is None
    assert write(store, A, 7).is_own
    assert read(store, A) == 7
    require_whole(store, A)


def test_every_flipped_bit_of_a_group_file_and_of_the_record_of_a_part_is_seen(local_store):
    with_parts(local_store, 0)
    part = f"{A}/parts/0000.json"
    content = local_store.read_bytes(part)
    write(local_store, B, 1)
    group = local_store.read_bytes(group_path(B))
    for position in range(0, min(len(content), len(group)), 7):
        for key, whole in ((part, content), (group_path(B), group)):
            hurt = bytearray(whole)
            hurt[position] ^= 1 << (position % 7)
            local_store.write_bytes(key, bytes(hurt))
        assert protocol.finished_part(local_store, A, 0) is None
        with pytest.raises(DamagedProductError):
            committed(local_store, B)


def test_the_checksum_of_an_object_tells_one_valid_chunk_from_another(local_store):
    """Chunks end with their CRC-32C; a CRC-32C of the whole would be the same for all."""
    entries = set()
    for path in (f"scenes/s/state/rows/{number}" for number in range(8)):
        write(local_store, path, len(entries) + 1)
        entries.add(Entry.of(local_store.read_bytes(f"{path}/x/c/0")))
    assert len(entries) == 8


@pytest.mark.fault(8, "the first answer to every request is one bit wrong or cut short, the second is right")
@pytest.mark.parametrize("hurt", ["flipped", "cut"])
def test_what_is_hurt_on_its_way_is_read_once_more(local_store, monkeypatch, hurt):
    write(local_store, A, 7)
    read_bytes = Store.read_bytes
    seen = Counter()

    def unsteady(self, key, *span):
        content = read_bytes(self, key, *span)
        seen[key] += 1
        if seen[key] > 1:
            return content
        return content[:-1] if hurt == "cut" else bytes([content[0] ^ 1]) + content[1:]

    monkeypatch.setattr(Store, "read_bytes", unsteady)
    assert read(local_store, A) == 7
    assert set(seen.values()) == {2}


def test_work_that_finds_damage_is_done_again_once_per_product(local_store):
    for path in (A, B):
        write(local_store, path, 7)
        empty(local_store, f"{path}/x/c/0")
    tries = []

    def work():
        tries.append(None)
        for path in (A, B):
            if committed(local_store, path) is None:
                write(local_store, path, 7)
        return [read(local_store, path) for path in (A, B)]

    assert repaired(local_store, work) == [7, 7]
    assert len(tries) == 3


def test_what_another_worker_has_replaced_stays(store):
    commit = write(store, A, 7)
    assert not retract(store, A)
    assert committed(store, A).manifest.write_id == commit.manifest.write_id
    assert not retract(store, "scenes/s/state/rows/never-there")


def test_only_the_damaged_part_of_a_product_that_is_taken_back_is_to_be_made_again(store):
    with_parts(store, 0, 1).commit({}, {}, 2)
    flip(store, f"{A}/x/c/1/0")
    assert retract(store, A)
    again = ProductWriter(store, A)
    assert [again.part(number) is not None for number in (0, 1)] == [True, False]
    # Bytes that are there and broken are overwritten; those that decode are adopted, whatever is brought.
    again.write_part(1, {"x": (DIMS, VALUES[2:])}, 4, 2)
    ProductWriter(store, A).write_part(0, {"x": (DIMS, VALUES[:2] + 1)}, 4, 2)
    again.commit({}, {}, 2)
    np.testing.assert_array_equal(open_product(store, A).array("x"), VALUES)
