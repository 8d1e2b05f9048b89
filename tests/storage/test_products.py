import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lift3d.errors import DamagedProductError, StoreLayoutError
from lift3d.storage import commit as protocol
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import ProductWriter, open_product, write_product
from lift3d.storage.reader import understood
from tests.support.damage import cut, delete, empty, flip

DTYPES = st.sampled_from(["bool", "uint8", "int32", "int64", "float16", "float32", "float64"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
VIEWS = np.array(["IMG 1.jpg", "ümläut", "c"], dtype=np.dtypes.StringDType())
DIMS = ("view", "row", "col")
PATH = "scenes/s/lifted/rgb/near/leaf"


def values() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(3, 4, 5)).astype(np.float16)
    features[1, 2, 3] = np.nan
    return {"features": features, "labels": generator.integers(-1, 9, (3, 4, 5), dtype=np.int32), "view": VIEWS}


def write_sharded(store: Store, path: str = PATH) -> None:
    arrays = values()
    writer = ProductWriter(store, path)
    for number in (1, 0):
        writer.write_part(number, {"features": (DIMS, arrays["features"][2 * number :][:2], {"units": "1"})}, 3, 2)
    rest = {"labels": (DIMS, arrays["labels"]), "view": (("view",), VIEWS)}
    writer.commit(rest, {"kind": "test", "count": 3}, 2)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_array_comes_back_bit_for_bit(data):
    array = data.draw(hnp.arrays(data.draw(DTYPES), data.draw(SHAPES)))
    store = open_store("memory://round-trip", create=True)
    protocol.remove_product(store, PATH)
    dims = tuple(f"axis{index}" for index in range(array.ndim))
    write_product(store, PATH, {"x": (dims, array)}, {})
    found = open_product(store, PATH).array("x")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


def test_filled_regions_make_the_whole_and_xarray_reads_it(store):
    write_sharded(store)
    product = open_product(store, PATH)
    for name, expected in values().items():
        np.testing.assert_array_equal(product.array(name), expected)
    assert product.names == ("features", "labels", "view")
    assert product.attrs == {"kind": "test", "count": 3}
    np.testing.assert_array_equal(product.read("features", (1,)), values()["features"][1])
    np.testing.assert_array_equal(product.read("labels", (slice(1, 3), 2)), values()["labels"][1:3, 2])
    # Those of one shard, and of several; of an array without shards.
    for name, rows in (
        ("features", [1]),
        ("features", [1, 0]),
        ("features", [0, 2]),
        ("labels", [0, 2]),
        ("view", [2]),
    ):
        np.testing.assert_array_equal(product.read(name, (rows,)), values()[name][rows])
    # Whoever has xarray alone: test_opened_without_us.
    with warnings.catch_warnings(), product.to_xarray() as dataset:
        warnings.simplefilter("error")
        assert list(dataset.coords) == ["view"]
        assert dataset["features"].attrs == {"units": "1"}
        assert dataset["labels"].dtype == np.int32
        np.testing.assert_array_equal(dataset["labels"].sel(view="ümläut").values, values()["labels"][1])


@pytest.mark.parametrize(
    ("number", "values"),
    [
        *((number, np.zeros((count, 4, 5))) for number, count in ((0, 1), (1, 2), (2, 1))),
        *((0, np.zeros((2, 4, 5), dtype)) for dtype in ("complex64", "datetime64[s]")),
        (0, np.zeros((2, 4))),
    ],
)
def test_a_part_of_another_length_and_arrays_that_not_every_reader_knows_are_refused(local_store, number, values):
    with pytest.raises(StoreLayoutError, match="expected"):
        ProductWriter(local_store, PATH).write_part(number, {"features": (DIMS, values)}, 3, 2)


@pytest.mark.fault(8, "a bit of a stored chunk or shard is flipped, or its end is cut off")
@pytest.mark.fault(9, "a chunk is deleted, a shard is emptied to zero bytes")
@pytest.mark.parametrize("damage", [delete, empty, cut, partial(flip, part=3)])
def test_damage_is_an_error_and_never_a_fill_value(store, damage):
    write_sharded(store)
    product = open_product(store, PATH)
    for name in ("features", "labels", "view"):
        damage(store, store.list(f"{PATH}/{name}/c")[0])
        for read in (
            product.array,
            lambda name: product.read(name, (0,)),
            lambda name: product.to_xarray()[name].load(),
        ):
            with pytest.raises(DamagedProductError, match=f"{name}.*run again"):
                read(name)


def test_what_a_process_that_ends_cannot_read_is_not_called_damage(local_store):
    write_sharded(local_store)
    with ThreadPoolExecutor() as pool:
        pass
    with pytest.raises(RuntimeError, match="cannot schedule"), understood(open_product(local_store, PATH), "array"):
        pool.submit(int)


@pytest.mark.fault(8, "an inner chunk of a shard comes wrong once")
def test_a_part_of_a_shard_that_is_hurt_on_its_way_is_read_once_more(local_store, monkeypatch):
    write_sharded(local_store)
    key = local_store.list(f"{PATH}/features/c")[0]
    product = open_product(local_store, PATH)
    read = Store.read_bytes
    parts = []

    def unsteady(self, full, *span):
        content = read(self, full, *span)
        if full == key and span and len(content) > 40 and not parts:
            parts.append(span)
            return content[:20] + bytes([content[20] ^ 1]) + content[21:]
        return content

    monkeypatch.setattr(Store, "read_bytes", unsteady)
    np.testing.assert_array_equal(product.read("features", (1,)), values()["features"][1])
    assert parts, "the shard was read in parts"


def test_every_flipped_bit_of_a_shard_is_seen_by_a_partial_read(local_store):
    write_sharded(local_store)
    key = local_store.list(f"{PATH}/features/c")[0]
    content = local_store.read_bytes(key)
    product = open_product(local_store, PATH)
    seen_count = 0
    for position in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        local_store.write_bytes(key, bytes(flipped))
        for view in (0, 1):
            try:
                found = product.read("features", ([view],))[0] if view % 2 else product.read("features", (view,))
            except DamagedProductError:
                seen_count += 1
            else:
                np.testing.assert_array_equal(found, values()["features"][view])
    assert seen_count >= len(content) // 3


def test_what_is_not_written_is_missing(local_store):
    missing = {"float16": "NaN", "int32": -1, "uint8": 255, "bool": False, "str": ""}
    write_product(local_store, PATH, {name: (("i",), np.zeros(1, name)) for name in missing}, {})
    arrays = open_product(local_store, PATH).manifest.arrays
    assert {name: arrays[name]["fill_value"] for name in missing} == missing
