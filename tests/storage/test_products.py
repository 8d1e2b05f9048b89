import warnings

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lift3d.errors import (
    DamagedProductError,
    ProductMissingError,
    StoreLayoutError,
    StoreUnavailableError,
    UnknownNameError,
)
from lift3d.storage import commit as protocol
from lift3d.storage.commit import committed
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import ArrayTemplate, begin_product, open_product, to_half, write_product

DTYPES = st.sampled_from(["bool", "uint8", "int32", "int64", "float16", "float32", "float64"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=5)
VIEWS = np.array(["IMG 1.jpg", "ümläut", "c"], dtype=np.dtypes.StringDType())


def sharded() -> dict[str, ArrayTemplate]:
    return {
        "features": ArrayTemplate((3, 4, 5), "float16", ("view", "row", "col"), (1, 4, 5), (2, 4, 5)),
        "labels": ArrayTemplate((3, 4, 5), "int32", ("view", "row", "col"), (1, 4, 5)),
        "view": ArrayTemplate((3,), "string", ("view",), (3,)),
    }


def values() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(3, 4, 5)).astype(np.float16)
    features[1, 2, 3] = np.nan
    return {
        "features": features,
        "labels": generator.integers(-1, 9, (3, 4, 5), dtype=np.int32),
        "view": VIEWS,
    }


def write_sharded(store: Store, path: str) -> None:
    arrays = values()
    with begin_product(store, path, sharded(), {"kind": "test"}) as writer:
        writer.fill("features", (2, 0, 0), arrays["features"][2:])
        writer.fill("features", (0, 0, 0), arrays["features"][:2])
        writer.fill("labels", (0, 0, 0), arrays["labels"])
        writer.fill("view", (0,), VIEWS)
        writer.commit({"count": 3})


def chunk_keys(store: Store, path: str, name: str) -> list[str]:
    folder = protocol.require_commit(store, path).folder
    return store.list(f"{folder}/data.zarr/{name}/c")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_array_comes_back_bit_for_bit(data):
    array = data.draw(hnp.arrays(data.draw(DTYPES), data.draw(SHAPES)))
    store = open_store("memory://round-trip", create=True)
    protocol.remove_product(store, "a")
    dims = tuple(f"axis{index}" for index in range(array.ndim))
    write_product(store, "a", {"x": (dims, array)}, {})
    found = open_product(store, "a").array("x")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


def test_filled_regions_make_the_whole(store):
    write_sharded(store, "a")
    product = open_product(store, "a")
    for name, expected in values().items():
        np.testing.assert_array_equal(product.array(name), expected)
    assert product.names == ("features", "labels", "view")
    assert product.attrs == {"kind": "test", "count": 3}
    np.testing.assert_array_equal(product.read("features", (1,)), values()["features"][1])
    np.testing.assert_array_equal(product.read("labels", (slice(1, 3), 2)), values()["labels"][1:3, 2])


def test_arrays_without_elements_are_products_too(local_store):
    empty = np.zeros((0, 3), np.float32)
    write_product(local_store, "a", {"x": (("point", "axis"), empty)}, {})
    assert open_product(local_store, "a").array("x").shape == (0, 3)
    write_product(local_store, "b", {}, {"only": "attributes"})
    assert open_product(local_store, "b").attrs == {"only": "attributes"}


def test_xarray_opens_a_product_as_it_is(store):
    write_sharded(store, "a")
    product = open_product(store, "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with product.to_xarray() as dataset:
            check_dataset(dataset)
        if not product.url.startswith("s3:"):
            with xarray.open_zarr(product.url) as dataset:
                check_dataset(dataset)


def check_dataset(dataset: xarray.Dataset) -> None:
    assert dataset["features"].dims == ("view", "row", "col")
    assert list(dataset.coords) == ["view"]
    assert dataset.attrs == {"kind": "test", "count": 3}
    expected = values()
    assert dataset["labels"].dtype == np.int32
    np.testing.assert_array_equal(dataset["features"].values, expected["features"])
    np.testing.assert_array_equal(dataset["labels"].sel(view="ümläut").values, expected["labels"][1])


@pytest.mark.parametrize(
    ("start", "length"),
    [
        ((0, 0, 0), (1, 4, 5)),
        ((1, 0, 0), (2, 4, 5)),
        ((0, 0, 0), (2, 3, 5)),
        ((2, 0, 0), (2, 4, 5)),
        ((0, 0), (2, 4)),
    ],
)
def test_a_region_that_cuts_a_shard_is_refused(local_store, start, length):
    writer = begin_product(local_store, "a", sharded(), {})
    with pytest.raises(StoreLayoutError, match="whole units"):
        writer.fill("features", start, np.zeros(length, np.float16))


def test_a_shard_has_one_writer(local_store):
    with begin_product(local_store, "a", sharded(), {}) as writer:
        writer.fill("features", (0, 0, 0), np.zeros((2, 4, 5), np.float16))
        with pytest.raises(StoreLayoutError, match="writer already"):
            writer.fill("features", (0, 0, 0), np.zeros((3, 4, 5), np.float16))


def test_a_region_that_failed_can_be_filled_again(local_store, monkeypatch):
    def unplugged(self, key, content):
        raise StoreUnavailableError("the line is dead")

    ones = np.ones(4, np.float32)
    with begin_product(local_store, "a", {"x": ArrayTemplate.whole(ones, ("i",))}, {}) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "write_bytes", unplugged)
            with pytest.raises(StoreUnavailableError):
                writer.fill("x", (0,), ones)
        writer.fill("x", (0,), ones)
        writer.commit()
    np.testing.assert_array_equal(open_product(local_store, "a").array("x"), ones)


def test_other_dtypes_and_names_are_refused(local_store):
    with begin_product(local_store, "a", sharded(), {}) as writer:
        with pytest.raises(StoreLayoutError, match="float16, got float32"):
            writer.fill("features", (0, 0, 0), np.zeros((3, 4, 5), np.float32))
        with pytest.raises(UnknownNameError, match="Did you mean 'features'"):
            writer.fill("feature", (0, 0, 0), np.zeros((3, 4, 5), np.float16))


@pytest.mark.parametrize(
    "fields",
    [
        {"dims": ("a",)},
        {"chunks": (0, 2)},
        {"shards": (3, 2)},
        {"shards": (2,)},
        {"dtype": "complex64"},
        {"dtype": "datetime64[s]"},
    ],
)
def test_templates_that_do_not_fit_are_refused(fields):
    valid = {"shape": (4, 4), "dtype": "float32", "dims": ("a", "b"), "chunks": (2, 2)}
    ArrayTemplate(**valid)
    with pytest.raises(StoreLayoutError):
        ArrayTemplate(**(valid | fields))


def test_an_unfilled_product_is_not_committed(local_store):
    with begin_product(local_store, "a", sharded(), {}) as writer:
        writer.fill("features", (0, 0, 0), np.zeros((2, 4, 5), np.float16))
        with pytest.raises(StoreLayoutError, match="1 of 2 units"):
            writer.commit()
    assert committed(local_store, "a") is None
    assert local_store.list("a") == []


def test_a_product_that_was_never_committed_is_missing(store):
    with pytest.raises(ProductMissingError, match="scenes/x"):
        open_product(store, "scenes/x")


def test_leaving_without_commit_leaves_nothing(store):
    with pytest.raises(RuntimeError), begin_product(store, "a", sharded(), {}):
        raise RuntimeError("the operator failed")
    assert store.list("a") == []


def test_leaving_after_an_unanswered_commit_keeps_what_may_be_the_product(local_store, monkeypatch):
    create = Store.create_bytes

    def unplugged(self, key, content):
        create(self, key, content)
        raise StoreUnavailableError("the line is dead")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "create_bytes", unplugged)
        with pytest.raises(StoreUnavailableError):
            write_product(local_store, "a", {"x": (("i",), np.ones(3))}, {})
    np.testing.assert_array_equal(open_product(local_store, "a").array("x"), np.ones(3))


def test_a_second_try_of_a_commit_keeps_its_attributes(local_store):
    with begin_product(local_store, "a", {}, {}) as writer:
        first = writer.commit({"n": 1})
        assert writer.commit({"n": 1}) == first
        with pytest.raises(StoreLayoutError, match="attributes of the first"):
            writer.commit({"n": 2})


@pytest.mark.fault(8, "a bit of a stored chunk or shard is flipped, or its end is cut off")
@pytest.mark.fault(9, "a chunk is deleted, a shard is emptied to zero bytes")
@pytest.mark.parametrize("damage", ["deleted", "emptied", "cut", "flipped"])
def test_damage_is_an_error_and_never_a_fill_value(store, damage):
    for name in ("features", "labels", "view"):
        check_damage(store, name, damage)


def check_damage(store: Store, name: str, damage: str) -> None:
    protocol.remove_product(store, "a")
    write_sharded(store, "a")
    key = chunk_keys(store, "a", name)[0]
    content = bytearray(store.read_bytes(key))
    content[len(content) // 3] ^= 4
    if damage == "deleted":
        store.delete_prefix(key)
    else:
        store.write_bytes(key, {"emptied": b"", "cut": bytes(content[:-1]), "flipped": bytes(content)}[damage])
    product = open_product(store, "a")
    with pytest.raises(DamagedProductError, match=f"{name}.*run again"):
        product.array(name)
    with pytest.raises(DamagedProductError, match=name):
        product.read(name, (0,))
    with pytest.raises(DamagedProductError, match=name):
        product.to_xarray().load()
    with pytest.raises(DamagedProductError, match=name):
        protocol.verify(store, "a", checksums=True)


@pytest.mark.fault(8, "an inner chunk of a shard comes wrong once")
def test_a_part_of_a_shard_that_is_hurt_on_its_way_is_read_once_more(local_store, monkeypatch):
    write_sharded(local_store, "a")
    key = chunk_keys(local_store, "a", "features")[0]
    product = open_product(local_store, "a")
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
    write_sharded(local_store, "a")
    key = chunk_keys(local_store, "a", "features")[0]
    content = local_store.read_bytes(key)
    product = open_product(local_store, "a")
    seen_count = 0
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        local_store.write_bytes(key, bytes(flipped))
        for view in (0, 1):
            try:
                found = product.read("features", (view,))
            except DamagedProductError:
                seen_count += 1
            else:
                np.testing.assert_array_equal(found, values()["features"][view])
    assert seen_count >= len(content)


def test_integers_and_floats_start_as_missing():
    kinds = {"float16": np.nan, "int32": -1, "uint8": 255, "bool": False, "string": ""}
    for dtype, expected in kinds.items():
        np.testing.assert_equal(ArrayTemplate((1,), dtype, ("i",), (1,)).missing, expected)


@given(hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32)))
def test_half_precision_is_clamped_and_counted(array):
    half, clamped_count = to_half(array)
    assert half.dtype == np.float16
    assert not np.isinf(half).any()
    np.testing.assert_array_equal(np.isnan(half), np.isnan(array))
    is_inside = np.abs(array) <= 65504
    assert clamped_count == (~is_inside & ~np.isnan(array)).sum()
    np.testing.assert_array_equal(half[is_inside], array[is_inside].astype(np.float16))
