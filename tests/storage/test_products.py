import warnings

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lift3d.errors import DamagedProductError, StoreLayoutError, StoreUnavailableError
from lift3d.storage import commit as protocol
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import ArrayTemplate, ProductWriter, open_product, to_half, write_product
from tests.support.store_content import require_whole

DTYPES = st.sampled_from(["bool", "uint8", "int32", "int64", "float16", "float32", "float64"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
VIEWS = np.array(["IMG 1.jpg", "ümläut", "c"], dtype=np.dtypes.StringDType())
FEATURES = ArrayTemplate((3, 4, 5), "float16", ("view", "row", "col"), (1, 4, 5), (2, 4, 5), {"units": "1"})
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
        writer.write_part(number, {"features": (FEATURES, arrays["features"][2 * number :][:2])})
    rest = {"labels": (("view", "row", "col"), arrays["labels"]), "view": (("view",), VIEWS)}
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


def test_filled_regions_make_the_whole_and_xarray_opens_it_as_it_is(store):
    write_sharded(store)
    product = open_product(store, PATH)
    for name, expected in values().items():
        np.testing.assert_array_equal(product.array(name), expected)
    assert product.names == ("features", "labels", "view")
    assert product.attrs == {"kind": "test", "count": 3}
    np.testing.assert_array_equal(product.read("features", (1,)), values()["features"][1])
    np.testing.assert_array_equal(product.read("labels", (slice(1, 3), 2)), values()["labels"][1:3, 2])
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
    assert {name: value for name, value in dataset.attrs.items() if name != "lift3d"} == {"kind": "test", "count": 3}
    assert dataset["features"].attrs == {"units": "1"}
    expected = values()
    assert dataset["labels"].dtype == np.int32
    np.testing.assert_array_equal(dataset["features"].values, expected["features"])
    np.testing.assert_array_equal(dataset["labels"].sel(view="ümläut").values, expected["labels"][1])


@pytest.mark.parametrize(
    ("number", "shape"), [(0, (1, 4, 5)), (0, (2, 3, 5)), (1, (2, 4, 5)), (0, (2, 4)), (2, (1, 4, 5))]
)
def test_a_region_that_cuts_a_shard_and_another_dtype_are_refused(local_store, number, shape):
    for dtype, said in ((np.float16, "whole units"), (np.float32, "holds float16, got float32")):
        with pytest.raises(StoreLayoutError, match=said):
            ProductWriter(local_store, PATH).write_part(number, {"features": (FEATURES, np.zeros(shape, dtype))})


def test_a_part_that_failed_can_be_written_again(local_store, monkeypatch):
    def unplugged(self, key, content):
        raise StoreUnavailableError("the line is dead")

    writer = ProductWriter(local_store, PATH)
    ones = np.ones((2, 4, 5), np.float16)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "create_bytes", unplugged)
        with pytest.raises(StoreUnavailableError):
            writer.write_part(0, {"features": (FEATURES, ones)})
    assert writer.part(0) is None
    writer.write_part(0, {"features": (FEATURES, ones)})
    assert ProductWriter(local_store, PATH).part(0) == writer.part(0)


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


@pytest.mark.fault(8, "a bit of a stored chunk or shard is flipped, or its end is cut off")
@pytest.mark.fault(9, "a chunk is deleted, a shard is emptied to zero bytes")
@pytest.mark.parametrize("damage", ["deleted", "emptied", "cut", "flipped"])
def test_damage_is_an_error_and_never_a_fill_value(store, damage):
    for name in ("features", "labels", "view"):
        protocol.remove_product(store, PATH)
        write_sharded(store)
        key = store.list(f"{PATH}/{name}/c")[0]
        content = bytearray(store.read_bytes(key))
        content[len(content) // 3] ^= 4
        if damage == "deleted":
            store.delete_prefix(key)
        else:
            store.write_bytes(key, {"emptied": b"", "cut": bytes(content[:-1]), "flipped": bytes(content)}[damage])
        product = open_product(store, PATH)
        with pytest.raises(DamagedProductError, match=f"{name}.*run again"):
            product.array(name)
        with pytest.raises(DamagedProductError, match=name):
            product.read(name, (0,))
        with pytest.raises(DamagedProductError, match=name):
            product.to_xarray().load()
        with pytest.raises(DamagedProductError, match=name):
            require_whole(store, PATH)


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
                found = product.read("features", (view,))
            except DamagedProductError:
                seen_count += 1
            else:
                np.testing.assert_array_equal(found, values()["features"][view])
    assert seen_count >= len(content) // 3


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
