"""The table of a run is its scenes' rows: whatever came in which order, and however often a writer was killed."""

import random
from collections import Counter
from dataclasses import replace

import pyarrow.dataset
import pytest

from lift3d.domain.keys import digest
from lift3d.domain.records import DroppedView, SceneRecord
from lift3d.errors import DamagedProductError, ProductMissingError
from lift3d.runs import table as run_tables
from lift3d.runs.records import read_record, rows_path, standing_record, write_record
from lift3d.runs.status import run_states
from lift3d.runs.table import run_parts, run_table
from lift3d.storage.location import Store
from tests.support.store_workers import Killed
from tests.tables import fake_runs


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(run_tables, "SCENES_PER_PART", 4)


@pytest.fixture
def calls(monkeypatch):
    found = Counter()
    for method in ("read_bytes", "write_bytes", "exists", "entries"):
        plain = getattr(Store, method)

        def counted(self, key, *args, _plain=plain, _method=method, **kwargs):
            found[_method, key.split("/")[2] if key.count("/") > 1 else ""] += 1
            return _plain(self, key, *args, **kwargs)

        monkeypatch.setattr(Store, method, counted)
    return found


def filled(tmp_path, count=10, order=None):
    store, recipe = fake_runs.begin(str(tmp_path), fake_runs.locations(count))
    for number in order if order is not None else range(count):
        finish_one(store, recipe, number)
    return store, recipe


def finish_one(store, recipe, number, shift=0.0):
    if number % 5 == 3:
        return fake_runs.fail(store, recipe, recipe.scenes[number])
    values = {"psnr": [number + shift, number + 0.1 + shift], "ssim": [number / 7]}
    return fake_runs.finish(store, recipe, recipe.scenes[number], values)


def table_of(found):
    store, recipe = found
    return run_table(store, recipe.run_id)


def test_the_table_holds_the_rows_of_all_scenes_and_one_for_each_that_failed(tmp_path, monkeypatch):
    store, recipe = filled(tmp_path)
    table = run_table(store, recipe.run_id)
    assert table.frame["scene"].nunique() == 10
    assert (table.frame["metric"] == "usable_scene").sum() == 2
    assert (table.frame["outcome"] == "ok").sum() == 8 * 3
    assert set(table.frame["run"]) == {recipe.run_id}
    parts = [*run_parts(store, recipe.run_id)]
    assert [part.frame["scene"].nunique() for part in parts] == [4, 4, 2]
    assert sum(map(len, parts)) == len(table)
    monkeypatch.setattr(run_tables, "SCENES_PER_PART", 100)
    assert run_table(store, recipe.run_id).to_parquet() == table.to_parquet()


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_arrival_gives_the_same_table_bit_for_bit(tmp_path, seed):
    straight = filled(tmp_path / "straight")
    order = [*range(10)]
    random.Random(seed).shuffle(order)
    store, recipe = filled(tmp_path / "shuffled", order=())
    for start in range(0, 10, 3):  # The table is asked for while scenes still come in.
        for number in order[start : start + 3]:
            finish_one(store, recipe, number)
        assert run_table(store, recipe.run_id).frame["scene"].nunique() == min(start + 3, 10)
    assert run_table(store, recipe.run_id).to_parquet() == table_of(straight).to_parquet()


@pytest.mark.fault(39, "requests of a store are counted: one listing, and a read per record and per file of rows")
def test_status_takes_a_listing_and_a_read_per_scene_and_the_table_one_more(tmp_path, calls):
    store, recipe = filled(tmp_path)
    calls.clear()
    run_states(store.url)
    assert calls["entries", "scenes"] == 1
    assert (calls["read_bytes", "scenes"], calls["read_bytes", "scores"]) == (10, 0)
    calls.clear()
    run_table(store, recipe.run_id)
    assert calls["entries", "scenes"] == 1
    assert (calls["read_bytes", "scenes"], calls["read_bytes", "scores"]) == (10, 10)
    assert not [key for key in calls if key[0] == "write_bytes"]


@pytest.mark.fault(40, "a worker is killed before each of its two last writes, and the scene finished again")
@pytest.mark.parametrize("allowed", range(2))
def test_a_scene_that_is_interrupted_as_it_is_recorded_is_recorded_again(tmp_path, monkeypatch, allowed):
    clean = table_of(filled(tmp_path / "clean", count=2))
    store, recipe = filled(tmp_path / "killed", count=2, order=[0])
    writes = iter([True] * allowed)
    plain = Store.write_bytes

    def write(self, key, content):
        if not next(writes, False):
            raise Killed
        plain(self, key, content)

    monkeypatch.setattr(Store, "write_bytes", write)
    with pytest.raises(Killed):
        finish_one(store, recipe, 1)
    monkeypatch.undo()
    assert set(run_table(store, recipe.run_id).frame["scene"]) == {"scene-0000"}
    finish_one(store, recipe, 1)
    assert run_table(store, recipe.run_id).to_parquet() == clean.to_parquet()


@pytest.mark.fault(40, "the rows of a scene are damaged or gone")
@pytest.mark.parametrize("damage", [None, b"", b"PAR1 half", "flip"])
def test_rows_that_are_damaged_are_one_error_and_the_scene_does_not_stand(tmp_path, damage):
    store, recipe = filled(tmp_path, count=3)
    location = recipe.scenes[1]
    key = rows_path(recipe.run_id, location)
    assert standing_record(store, recipe, location, "") is not None
    if damage == "flip":
        content = store.read_bytes(key)
        damage = content[:40] + bytes([content[40] ^ 1]) + content[41:]
    store.delete_prefix(key) if damage is None else store.write_bytes(key, damage)
    with pytest.raises(DamagedProductError, match=r"data/scene-0001.*Run the same recipe again"):
        run_table(store, recipe.run_id)
    assert standing_record(store, recipe, location, "") is None


def test_a_scene_without_rows_has_no_file_of_them_and_adds_nothing_to_the_table(tmp_path):
    store, recipe = filled(tmp_path, count=2, order=[0])
    write_record(store, recipe, SceneRecord("scene-0001", recipe.scenes[1], "ok"))
    assert not store.exists(rows_path(recipe.run_id, recipe.scenes[1]))
    assert standing_record(store, recipe, recipe.scenes[1], "") is not None
    assert set(run_table(store, recipe.run_id).frame["scene"]) == {"scene-0000"}
    alone, of_none = fake_runs.begin(str(tmp_path / "none"), fake_runs.locations(1))
    write_record(alone, of_none, SceneRecord("scene-0000", of_none.scenes[0], "ok"))
    assert list(run_table(alone, of_none.run_id).frame.columns) == list(run_table(store, recipe.run_id).frame.columns)


def test_a_scene_that_is_finished_again_while_the_table_is_read_gives_its_new_rows(tmp_path):
    store, recipe = filled(tmp_path, count=1)
    table = run_tables.RunTable.of(store, recipe.run_id)
    finish_one(store, recipe, 0, shift=0.7)
    (part,) = table.parts()
    assert part.frame["value"].max() == pytest.approx(0.8)


def test_scenes_of_one_name_are_told_apart(tmp_path):
    store, recipe = fake_runs.begin(str(tmp_path), ["a/room", "b/room", "c/hall"])
    for location in recipe.scenes:
        fake_runs.fail(store, recipe, location)
    names = set(run_table(store, recipe.run_id).frame["scene"])
    assert names == {f"room-{digest('a/room')[:6]}", f"room-{digest('b/room')[:6]}", "hall"}


def test_a_record_is_read_as_it_was_written(tmp_path):
    store, recipe = filled(tmp_path, count=4)
    written = fake_runs.fail(store, recipe, recipe.scenes[3], is_quarantined=True)
    assert read_record(store, recipe.run_id, recipe.scenes[3]) == written
    named = replace(written, location="files may be named \udcff")
    assert SceneRecord.parsed(named.to_bytes()) == named
    with pytest.raises(ProductMissingError):
        run_table(store, "0123456789abcdef")


@pytest.mark.fault(28, "half a surrogate pair in the name of a scene, of a view, and in what an operator says")
def test_texts_that_are_no_unicode_are_written_escaped(tmp_path):
    store, recipe = fake_runs.begin(str(tmp_path), ["data/room-\udcff"])
    (location,) = recipe.scenes
    dropped = (DroppedView("\ud800.png", "gone", "It names '\ud800'."),)
    written = fake_runs.fail(store, recipe, location, reason="contract: It says \ud800", dropped=dropped)
    assert read_record(store, recipe.run_id, location) == written
    assert written.location == location
    assert (written.scene, written.reason) == (r"room-\udcff", r"contract: It says \ud800")
    rows = run_table(store, recipe.run_id).frame.set_index("metric")
    assert rows.loc["usable_scene", "reason"] == written.reason
    assert rows.loc["usable_view", "target"] == r"\ud800.png"


def test_the_rows_of_a_run_are_a_plain_parquet_dataset(tmp_path):
    store, recipe = filled(tmp_path)
    found = pyarrow.dataset.dataset(f"{tmp_path}/runs/{recipe.run_id}/scores").to_table()
    assert len(found) == len(run_table(store, recipe.run_id))
