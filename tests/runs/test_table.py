"""The table of a run is a cache: whatever is lost, late or damaged, the same records give the same table."""

import os
import random
from collections import Counter

import pandas as pd
import pytest

from lift3d.domain.keys import digest
from lift3d.domain.records import SceneRecord
from lift3d.errors import ProductMissingError, StoreRefusedError
from lift3d.runs import table as run_tables
from lift3d.runs.table import (
    run_parts,
    run_table,
    scene_record_path,
    scene_table_path,
    update_dataset,
    write_scene_table,
)
from lift3d.storage.location import Store
from lift3d.tables.schema import ScoreTable
from tests.tables import fake_runs


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(run_tables, "SCENES_PER_PART", 4)


@pytest.fixture
def calls(monkeypatch):
    """Count what is asked of stores, by method and file name."""
    found = Counter()
    for method in ("read_bytes", "write_bytes", "exists", "sizes", "entries"):
        plain = getattr(Store, method)

        def counted(self, key, *args, _plain=plain, _method=method, **kwargs):
            found[_method, key] += 1
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
    return fake_runs.finish(store, recipe, recipe.scenes[number], values, f"{shift}")


def parts_of(store, recipe):
    keys = [key for key in store.list(f"runs/{recipe.run_id}/dataset") if key.endswith(".parquet")]
    return {key: store.read_bytes(key) for key in keys}


def keys_of(calls, method):
    return [key.rsplit("/", 1)[-1] for (name, key), count in calls.items() if name == method for _ in range(count)]


def test_the_table_holds_the_rows_of_all_scenes_and_one_for_each_that_failed(tmp_path):
    frame = run_table(*run_of(filled(tmp_path))).frame
    assert frame["scene"].nunique() == 10
    assert (frame["metric"] == "usable_scene").sum() == 2
    assert (frame["outcome"] == "ok").sum() == 8 * 3
    assert set(frame["run"]) == {filled(tmp_path)[1].run_id}


def run_of(found):
    store, recipe = found
    return store, recipe.run_id


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_arrival_gives_the_same_parts_and_the_same_table_bit_for_bit(tmp_path, seed):
    straight = filled(tmp_path / "straight")
    order = [*range(10)]
    random.Random(seed).shuffle(order)
    store, recipe = filled(tmp_path / "shuffled", order=())
    for start in range(0, 10, 3):  # The table is asked for while scenes still come in.
        for number in order[start : start + 3]:
            finish_one(store, recipe, number)
        assert run_table(store, recipe.run_id).frame["scene"].nunique() == min(start + 3, 10)
    assert run_table(store, recipe.run_id).canonical_bytes() == run_table(*run_of(straight)).canonical_bytes()
    assert parts_of(store, recipe) == parts_of(*straight)
    assert len(parts_of(store, recipe)) == 3


def test_the_partition_does_not_show_in_the_table(tmp_path, monkeypatch):
    store, recipe = filled(tmp_path)
    few = run_table(store, recipe.run_id)
    monkeypatch.setattr(run_tables, "SCENES_PER_PART", 100)
    assert run_table(store, recipe.run_id).to_parquet() == few.to_parquet()
    assert sum(len(part) for part in run_parts(store, recipe.run_id)) == len(few)


@pytest.mark.fault(39, "requests of a store are counted: one listing, no request per scene")
def test_a_second_build_reads_listings_and_indices_alone(tmp_path, calls):
    store, recipe = filled(tmp_path)
    fake_runs.make_old(store)
    for _ in range(2):
        update_dataset(store, recipe.run_id)
    calls.clear()
    update_dataset(store, recipe.run_id)
    assert sorted(keys_of(calls, "read_bytes")) == ["parts.json", "recipe.json", "records.json"]
    assert not keys_of(calls, "write_bytes") + keys_of(calls, "exists")
    assert sorted(keys_of(calls, "entries") + keys_of(calls, "sizes")) == ["dataset", "records.json", "scenes"]


def test_only_what_is_new_or_changed_is_read(tmp_path, calls):
    store, recipe = filled(tmp_path, order=range(9))
    fake_runs.make_old(store)
    for _ in range(2):
        update_dataset(store, recipe.run_id)
    finish_one(store, recipe, 9)
    finish_one(store, recipe, 2, shift=0.5)
    calls.clear()
    table = run_table(store, recipe.run_id)
    changed = {f"{digest(recipe.scenes[number])}.json" for number in (2, 9)}
    records = {key.rsplit("/", 1)[-1] for _, key in calls if f"{recipe.run_id}/scenes/" in key}
    assert records == changed
    rewritten = {key for key in keys_of(calls, "write_bytes") if key.startswith("part-")}
    assert rewritten == {"part-00000.parquet", "part-00002.parquet"}
    fresh = [store.delete_prefix(f"runs/{recipe.run_id}/{folder}") for folder in ("dataset", "tables")]
    assert len(fresh) == 2
    assert run_table(store, recipe.run_id).to_parquet() == table.to_parquet()


def test_a_record_written_again_at_once_with_as_many_bytes_is_noticed(tmp_path):
    """Clocks of stores are coarse: neither size nor time tells such a record from the one before."""
    store, recipe = filled(tmp_path, count=1)
    before = run_table(store, recipe.run_id).frame["value"].max()
    path = tmp_path / scene_record_path(recipe, recipe.scenes[0])
    old = path.stat()
    finish_one(store, recipe, 0, shift=0.7)
    assert path.stat().st_size == old.st_size
    os.utime(path, ns=(old.st_mtime_ns, old.st_mtime_ns))
    assert run_table(store, recipe.run_id).frame["value"].max() == pytest.approx(before + 0.7)


class Killed(BaseException):
    """What ends a process between two writes."""


@pytest.mark.fault(40, "the table is killed before each of its writes in turn, and made again")
@pytest.mark.parametrize("allowed", range(8))
def test_a_table_that_is_interrupted_anywhere_is_made_again_with_equal_rows(tmp_path, monkeypatch, allowed):
    clean = run_table(*run_of(filled(tmp_path / "clean", count=4)))
    store, recipe = filled(tmp_path / "killed", count=4)
    writes = iter([True] * allowed)
    plain = Store.write_bytes

    def write(self, key, content):
        if not next(writes, False):
            raise Killed
        plain(self, key, content)

    monkeypatch.setattr(Store, "write_bytes", write)
    # Writes: the index of records, four scenes, a part, the index of parts; the eighth never comes.
    if allowed < 7:
        with pytest.raises(Killed):
            run_table(store, recipe.run_id)
    else:
        run_table(store, recipe.run_id)
    monkeypatch.setattr(Store, "write_bytes", plain)
    table = run_table(store, recipe.run_id)
    assert table.to_parquet() == clean.to_parquet() == run_table(store, recipe.run_id).to_parquet()
    assert table.frame["scene"].nunique() == len(store.list(f"runs/{recipe.run_id}/scenes"))


@pytest.mark.parametrize("damage", [b"", b"PAR1 half", b"{}"])
@pytest.mark.parametrize("name", ["part-00000.parquet", "parts.json", "records.json", "table"])
def test_what_is_damaged_is_made_again(tmp_path, name, damage):
    store, recipe = filled(tmp_path, count=3)
    table = run_table(store, recipe.run_id).to_parquet()
    if name == "table":
        for key in store.list(f"runs/{recipe.run_id}/tables"):
            store.write_bytes(key, damage)
        store.delete_prefix(f"runs/{recipe.run_id}/dataset")
    else:
        store.write_bytes(f"runs/{recipe.run_id}/dataset/{name}", damage)
    assert run_table(store, recipe.run_id).to_parquet() == table


def test_a_part_that_is_gone_or_of_the_same_size_and_other_bytes_is_made_again(tmp_path):
    store, recipe = filled(tmp_path, count=3)
    table = run_table(store, recipe.run_id).to_parquet()
    (key,) = parts_of(store, recipe)
    content = store.read_bytes(key)
    for other in (None, content[:-9] + b"x" + content[-8:]):
        store.delete_prefix(key) if other is None else store.write_bytes(key, other)
        assert run_table(store, recipe.run_id).to_parquet() == table
        assert store.read_bytes(key) == content


def test_the_rows_that_a_worker_wrote_are_used_unless_the_record_is_another(tmp_path, calls):
    store, recipe = filled(tmp_path, count=2)
    for number in range(2):
        content = store.read_bytes(scene_record_path(recipe, recipe.scenes[number]))
        write_scene_table(store, recipe, SceneRecord.parsed(content), content)
    finish_one(store, recipe, 1, shift=0.25)
    calls.clear()
    values = run_table(store, recipe.run_id).frame["value"]
    assert values.max() == pytest.approx(1.35)
    documents = [key for _, key in calls if key.endswith("document.json")]
    assert len(documents) == 1
    assert "scene-0001" in documents[0]
    own = ScoreTable.from_parquet(store.read_bytes(scene_table_path(recipe, recipe.scenes[0])))
    assert set(own.frame["scene"]) == {"scene-0000"}


def test_scenes_of_one_name_are_told_apart(tmp_path):
    store, recipe = fake_runs.begin(str(tmp_path), ["a/room", "b/room", "c/hall"])
    for location in recipe.scenes:
        fake_runs.fail(store, recipe, location)
    names = set(run_table(store, recipe.run_id).frame["scene"])
    assert names == {f"room-{digest('a/room')[:6]}", f"room-{digest('b/room')[:6]}", "hall"}


def test_who_may_not_write_reads_the_table_all_the_same(tmp_path, monkeypatch):
    store, recipe = filled(tmp_path, count=6)
    expected = run_table(store, recipe.run_id).to_parquet()
    for folder in ("dataset", "tables"):
        store.delete_prefix(f"runs/{recipe.run_id}/{folder}")

    def refuse(self, key, content):
        raise StoreRefusedError("read only")

    monkeypatch.setattr(Store, "write_bytes", refuse)
    assert run_table(store, recipe.run_id).to_parquet() == expected


def test_scores_that_are_gone_are_not_passed_over(tmp_path):
    store, recipe = filled(tmp_path, count=3)
    store.delete_prefix("scenes")
    with pytest.raises(ProductMissingError):
        run_table(store, recipe.run_id)


def test_a_record_that_does_not_parse_is_none(tmp_path):
    store, recipe = filled(tmp_path, count=3)
    store.write_bytes(scene_record_path(recipe, recipe.scenes[1]), b"half a rec")
    assert set(run_table(store, recipe.run_id).frame["scene"]) == {"scene-0000", "scene-0002"}


def test_parts_are_plain_parquet(tmp_path):
    store, recipe = filled(tmp_path)
    table = run_table(store, recipe.run_id)
    frames = [pd.read_parquet(tmp_path / key) for key in parts_of(store, recipe)]
    assert sum(map(len, frames)) == len(table)
    assert set(pd.concat(frames)["location"]) == set(recipe.scenes)
