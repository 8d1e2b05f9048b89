"""Scenes on workers, one of them killed, one shared by all, one unusable, against the same recipe in one process."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.batch_driver import run_batch
from flows.worker_pool import WorkerPool
from lift3d.config import Execution
from lift3d.runs.driver import run_serially
from lift3d.runs.records import begin_run
from lift3d.storage.location import open_store
from tests.support.captures import capture, write_transforms
from tests.support.disturbed import Disturbed, die_once
from tests.support.runs import canonical_table, tiny_rooms
from tests.support.store_content import committed_content

KILLED = "killed-once"


@pytest.fixture(scope="module")
def both(ray_here, tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    recipe = tiny_rooms(0, scenes=_scenes(folder))
    serial = Execution(store=str(folder / "serial"))
    # Features are kept as in a serial run, so that the stores are equal.
    distributed = Execution(store=str(folder / "distributed"), workers=2, split_views=8, keep_features=True)
    stores = [open_store(one.store, create=True) for one in (serial, distributed)]
    serial_records = run_serially(recipe, serial)
    begin_run(recipe, stores[1])
    killed_once = Disturbed(partial(die_once, folder / "distributed" / KILLED, recipe.scenes[0]))
    with WorkerPool(recipe, distributed, killed_once) as pool:
        records = run_batch(recipe.scenes, pool)
    given = {"recipe": recipe, "serial_records": serial_records, "distributed_records": records}
    return SimpleNamespace(serial=stores[0], distributed=stores[1], **given)


def test_the_run_completes_though_a_scene_is_unusable_and_a_worker_was_killed(both):
    assert [record.outcome for record in both.distributed_records] == ["ok", "ok", "failed", "ok", "ok"]
    assert both.distributed.exists(KILLED)


@pytest.mark.fault(38, "one scene of many views, shared by the workers")
def test_of_a_shared_scene_scoring_alone_is_left_for_the_last_worker(both):
    _, short, _, long, _ = both.distributed_records
    assert set(long.computed) <= {"scores"}
    assert set(short.computed) > {"scores"}


def test_arrays_and_tables_are_equal_bit_for_bit_and_records_but_for_what_was_computed(both):
    serial, distributed = committed_content(both.serial), committed_content(both.distributed)
    assert serial
    assert distributed == serial
    assert canonical_table(both.serial.url, both.recipe) == canonical_table(both.distributed.url, both.recipe)
    for serial, distributed in zip(both.serial_records, both.distributed_records, strict=True):
        assert replace(serial, computed={}) == replace(distributed, computed={})


def test_the_serial_driver_finds_nothing_left_to_do_in_the_store_of_the_workers(both):
    again = run_serially(both.recipe, Execution(store=both.distributed.url))
    assert all(record.computed == {} for record in again)


def _scenes(folder: Path) -> tuple[str, ...]:
    """Return small scenes: one has more targets than one part holds, one no format, one a relative path."""
    (folder / "unusable").mkdir()
    write_transforms(folder / "capture", capture())
    room = "procedural:room?seed={}&views={}&height=24&width=32"
    relative = os.path.relpath(folder / "capture")
    return room.format(0, 4), room.format(1, 4), str(folder / "unusable"), room.format(3, 70), relative
