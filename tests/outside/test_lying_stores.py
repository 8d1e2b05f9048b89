"""Products whose sums add up and whose content lies: they are damage, named by who reads and made again by who runs."""

import io
import resource
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google_crc32c import value as crc32c
from numcodecs import Blosc, zstd

from lift3d.errors import DamagedProductError
from lift3d.results.opened import lifted_scenes
from lift3d.tables.row_files import COLUMNS, NUMBERS, stored_rows
from lift3d.viewer.gathering import view_scene
from tests.support.forged import arrays_of, check_runs_again, command, forge, is_refused, product_of, views_of

outside = partial(pytest.mark.outside, kind="6 small input, huge memory")
MOST_BYTES = 2**30
# Every case mends a store by a run.
pytestmark = pytest.mark.slow
LIFTED = "lifted/rgb/plane_sweep"


@pytest.fixture(autouse=True)
def little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MOST_BYTES


def own_of(group):
    return group["attributes"]["lift3d"]


def without_chunk(group):
    for part in own_of(group)["parts"]:
        part["objects"] = {key: entry for key, entry in part["objects"].items() if "z_depth_0/c" not in key}


def chunked(name, unit, chunk=None, **fields):
    """Return a change of an array's chunks: of its objects, and of what is unpacked of them at once."""

    def change(group):
        arrays_of(group)[name].update(fields)
        arrays_of(group)[name]["chunk_grid"]["configuration"]["chunk_shape"] = unit
        if chunk is not None:
            arrays_of(group)[name]["codecs"][0]["configuration"]["chunk_shape"] = chunk

    return change


# What the group file says.
GROUPS = {
    "a shape of 224 GiB": lambda group: arrays_of(group)["features_0"].update(shape=[3, 3, 100_000, 100_000]),
    "chunks of 224 GiB": chunked("features_0", [32, 3, 10**5, 10**5], [1, 3, 10**5, 10**5]),
    "a billion chunks": lambda group: arrays_of(group)["K"].update(shape=[10**9, 3, 3]),
    "a billion inner chunks": chunked("features_0", [2**30, 3, 24, 32], [1, 3, 24, 32], shape=[2**30, 3, 24, 32]),
    "texts without end": chunked("view", [2**40], shape=[2**40]),
    "a chunk that is not listed": without_chunk,
    "a codec of somebody's": lambda group: arrays_of(group)["K"]["codecs"].insert(0, {"name": "numcodecs.astype"}),
    "objects outside": lambda group: own_of(group)["objects"].update({"../../../../../../lift3d.json": [1, 1]}),
    "sizes below zero": lambda group: own_of(group).update(objects={"K/c/0/0/0": [-1, 0]}),
}
# What it notes of views.
NOTES = {
    "an image of 10¹² pixels": lambda view: view.update(image=[10**6, 10**6]),
    "an image of no pixels": lambda view: view.update(image=[0, -4]),
    "a grid of 10¹² cells": lambda view: view["grids"][0].update(rows=10**6, cols=10**6),
    "a grid of texts": lambda view: view["grids"][0].update(rows="many"),
    "more cuts than there are": lambda view: view["grids"].append(dict(view["grids"][0])),
    "no grid": lambda view: view.update(grids=[]),
    "a prediction of another size": lambda view: view.update(prediction=[3, 10**6, 10**6]),
    "a prediction of another kind": lambda view: view.update(kind="labels"),
    "an unknown kind": lambda view: view.update(kind="spells"),
    "sources that are none": lambda view: view.update(sources=7),
    "an id that is none": lambda view: view.update(id=[1]),
}


READERS = {
    "export ply": lambda store, out: command("export", store, out / "a.ply"),
    "export images": lambda store, out: command("export", store, out / "images"),
    "render": lambda store, out: command("render", store, out / "a.mp4", "--frames", "0"),
    "report": lambda store, out: command("report", store, "--out", out / "r.html"),
}


def check_read(store, out, lies, lie, words):
    """One command after the other reads what lies, a command for each lie, and says so; a report on its page."""
    name = [*READERS][[*lies].index(lie) % len(READERS)]
    said = READERS[name](store, out)
    if name == "report":
        assert (said[0], words in (out / "r.html").read_text()) == (0, True)
    else:
        assert is_refused(said, words)


def check_made_again(store, table):
    next(store.glob("runs/*/scenes/*.json")).unlink()
    check_runs_again(store, table)


@outside(case="a product whose metadata lies", right="damage, before memory is taken for it")
@pytest.mark.parametrize("lie", GROUPS)
def test_metadata_that_lies_is_damage_and_made_again(store, table, tmp_path, lie):
    product = product_of(store, LIFTED)
    forge(product, GROUPS[lie])
    check_read(store, tmp_path, GROUPS, lie, "is not the group file that was committed")
    assert is_refused(command("fsck", store), "is not the group file that was committed")
    check_made_again(store, table)


@outside(case="a product whose notes of views lie", right="damage: named, and made again by a run")
@pytest.mark.parametrize("lie", NOTES)
def test_notes_that_lie_are_damage_and_made_again(store, table, tmp_path, lie):
    forge(product_of(store, LIFTED), lambda group: NOTES[lie](views_of(group)[1]))
    check_read(store, tmp_path, NOTES, lie, "is damaged")
    scenes = lifted_scenes(str(store))
    with pytest.raises(DamagedProductError, match="is damaged"):
        view_scene(scenes[0], scenes)
    check_made_again(store, table)


SAID = {"long texts": "unpack to", "many rows": "say that they", "other columns": "columns", "no Parquet": "Arrow"}


def summed(frame):
    return frame + crc32c(frame).to_bytes(4, "little")


def packed(content):
    return summed(bytes(zstd.compress(content, 1)))


def shuffled(content):
    return summed(bytes(Blosc("zstd", 1).encode(content)))


def claiming(size):
    """Return a chunk whose frame says that it unpacks to so many bytes, of which it has none."""
    return summed(b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00")


def blosc_claiming(size, packed_size=20):
    """The same of Blosc; of its four bytes of content it says that they are as many as are asked for."""
    lengths = b"".join(one.to_bytes(4, "little") for one in (size, 2**17, packed_size))
    return summed(b"\x02\x01\x91\x08" + lengths + bytes(4))


CHUNKS = {
    "a bomb of 256 MiB": ("K/c/0/0/0", lambda: shuffled(bytes(2**28))),
    "a chunk that says 2 GiB": ("w2c/c/0/0/0", lambda: blosc_claiming(2**31 - 1)),
    "a chunk that ends beyond its end": ("K/c/0/0/0", lambda: blosc_claiming(3 * 72, 2**30)),
    "a frame that says 1 TiB": ("view/c/0", lambda: claiming(2**40)),
    "no frame": ("K/c/0/0/0", lambda: bytes(64)),
    "four billion texts": ("view/c/0", lambda: packed((2**32 - 1).to_bytes(4, "little"))),
    "a shard of a bomb": ("features_0/c/0/0/0/0", lambda: shuffled(bytes(2**28)) + b"\xff" * 16 * 63 + bytes(20)),
    "a shard shorter than its index": ("features_0/c/0/0/0/0", lambda: b"short"),
}


@outside(case="a chunk that unpacks to more than its array", right="damage, before it is unpacked")
@pytest.mark.parametrize("lie", CHUNKS)
def test_chunks_that_lie_are_not_unpacked(store, table, tmp_path, lie):
    product = product_of(store, LIFTED)
    key, content = CHUNKS[lie]
    (product / key).write_bytes(content())
    forge(product)
    if key != "view/c/0":
        check_read(store, tmp_path, CHUNKS, lie, "is damaged")
    assert is_refused(command("export", store, tmp_path / "a.zarr"), "is damaged")
    check_made_again(store, table)


@outside(case="a file of score rows that unpacks to gigabytes", right="named, before it is unpacked")
@pytest.mark.parametrize("how", SAID)
def test_rows_that_lie_are_not_unpacked(how):
    count = 2**21 if how == "many rows" else 2**14
    text = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), ["x" * (2**16 if how == "long texts" else 1)])
    names = ["other", *COLUMNS[1:]] if how == "other columns" else COLUMNS
    file = io.BytesIO()
    table = pa.table([np.ones(count) if name in NUMBERS else text for name in COLUMNS], names)
    pq.write_table(table, file, store_schema=False)
    content = b"PAR1 nothing" if how == "no Parquet" else file.getvalue()
    with pytest.raises(ValueError, match=SAID[how]):
        stored_rows(content)
