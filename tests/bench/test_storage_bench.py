import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic_core import to_jsonable_python

from lift3d.bench import storage, store_objects
from lift3d.bench.plain_zarr import read_plain, write_plain
from lift3d.bench.storage_page import page
from lift3d.cli import app as cli
from lift3d.errors import ConfigError
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import open_product, write_product
from tests.support.runs import run_into, tiny_rooms

ROOM = "procedural:room?seed=1&views=2&height=24&width=32"
TINY = storage.StorageSize("rgb", ROOM, view_count=3, part_views=2, writers=(1, 2), repeats=2, service_repeats=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def figures(folder, moto_server, moto_shared_bucket):
    with pytest.MonkeyPatch.context() as patch:
        moto_server.use(patch)
        return storage.measure(folder, f"s3://{moto_shared_bucket}/bench", TINY)


def test_figures_are_complete_and_nothing_is_left(figures, folder, moto_bucket):
    json.dumps(to_jsonable_python(figures), allow_nan=False)
    assert [(case.products, case.views) for case in figures.local] == [(3, 1), (1, 2)]
    ran = [(case.products, case.views, case.writers) for case in figures.service]
    assert ran == [(3, 1, 1), (3, 1, 2), (1, 2, 1)]
    for case in figures.local + figures.service:
        assert min(case.product.write, case.product.read) > 0
    for case in figures.local:
        assert min(case.plain.write, case.plain.read, case.ratio.write, case.ratio.read) > 0
    assert list(folder.iterdir()) == []
    assert Store(f"s3://{moto_bucket}").list("bench") == []


def test_bytes_are_those_of_the_real_spec_and_the_real_product(figures):
    one = figures.per_view
    channels, rows, cols = one.features_shape
    assert one.planned_features == one.template == channels * rows * cols * 2
    assert one.stored > one.stored_chunks > 0
    assert one.objects >= 5


def test_plain_zarr_has_the_chunks_and_codecs_of_a_product(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float16)
    dims = ("channel", "row", "col")
    store = open_store(str(tmp_path / "store"), create=True)
    write_product(store, "a", {"x": (dims, values)}, {})
    write_plain(tmp_path / "plain", "x", values, dims)
    product = open_product(store, "a")
    described = [(Path(folder) / "x" / "zarr.json").read_text() for folder in (product.url, tmp_path / "plain")]
    assert json.loads(described[0]) == json.loads(described[1])
    np.testing.assert_array_equal(read_plain(tmp_path / "plain", "x"), product.array("x"))


def test_the_page_shows_the_figures(figures):
    text = page(figures, "an emulator")
    assert "lift3d bench storage --s3 s3://BUCKET/PREFIX" in text
    assert "an emulator" in text
    assert "| missed |" in text or "| reached |" in text
    assert f"{figures.per_view.stored:,}" in text
    assert re.search(r"3 products of one view, 2 at once \| \d", text)
    assert "`StoreRefusedError`: abort" in text
    assert "On a service" not in page(replace(figures, service=None))


def test_the_command_writes_a_page_and_prints_json_and_another_service_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="s3://BUCKET"):
        storage.measure(tmp_path, "memory://x", TINY)
    monkeypatch.setattr(storage, "FULL", TINY)
    out = tmp_path / "docs" / "storage.md"
    ran = CliRunner().invoke(cli.app, ["bench", "storage", "--folder", str(tmp_path), "--out", str(out), "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["operator"] == "rgb"
    assert out.read_text(encoding="utf-8").startswith("# Storage")


def test_arrays_of_lifted_views_are_packed_by_every_codec_and_come_back(tmp_path):
    url = str(tmp_path / "store")
    run_into(url, tiny_rooms(1, operators=["hog"], lifters=["anchored"]))
    ran = CliRunner().invoke(cli.app, ["bench", "storage", "--packing", url])
    assert ran.exit_code == 0, ran.output
    rows = [line.split(" | ") for line in ran.stdout.splitlines()[2:]]
    # Of raw2d features and where its answer is valid; of the lifter coverage, depth and confidence as well.
    assert len(rows) == 2 + 5 + 1
    assert all(len(row) == 1 + 7 for row in rows)
    rows_of_features = [row for row in rows if "features_0 float16" in row[0]]
    assert len(rows_of_features) == 2
    assert all(float(cell.split()[0]) > 0 for row in rows_of_features for cell in row[1:])


def test_objects_are_counted_by_kind(monkeypatch):
    monkeypatch.setattr(store_objects, "OPERATORS", ("rgb",))
    counts = store_objects.count_objects(3)
    # Shards of the arrays, their metadata, three arrays of the cameras, the group file.
    assert counts == {"features": 1 + 1 + 6 + 1, "raw2d": 2 + 2 + 6 + 1, "anchored": 5 + 5 + 6 + 1}
    assert "| together | 37 | 12.33 |" in store_objects.objects_table(counts, 3)
