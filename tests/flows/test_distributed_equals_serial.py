"""Scenes on workers, one of them killed, one shared by all, one unusable, against the same recipe in one process."""

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from flows.batch_driver import run_batch
from flows.worker_pool import WorkerPool
from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.runs.driver import run_serially
from lift3d.runs.records import begin_run
from lift3d.runs.table import run_table
from lift3d.storage.location import Store, open_store
from tests.support.captures import capture, write_transforms
from tests.support.disturbed import Disturbed, die_once
from tests.support.store_content import committed_content

KILLED = "killed-once"


@dataclass
class Both:
    recipe: Recipe
    serial: Store
    distributed: Store
    serial_records: list[SceneRecord]
    distributed_records: list[SceneRecord]


@pytest.fixture(scope="module")
def both(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("both")
    recipe = Recipe(
        scenes=_scenes(folder), lifters=("nearest_view",), image_height=24, sources=3, target_mode="heldout"
    )
    serial = Execution(store=str(folder / "serial"))
    distributed = Execution(store=str(folder / "distributed"), workers=2, split_views=8)
    stores = [open_store(one.store, create=True) for one in (serial, distributed)]
    serial_records = run_serially(recipe, serial)
    begin_run(recipe, stores[1])
    killed_once = Disturbed(partial(die_once, folder / "distributed" / KILLED, recipe.scenes[0]))
    with WorkerPool(recipe, distributed, killed_once) as pool:
        records = run_batch(recipe.scenes, pool)
    return Both(recipe, *stores, serial_records, records)


def test_the_run_completes_though_a_scene_is_unusable_and_a_worker_was_killed(both: Both) -> None:
    assert [record.outcome for record in both.distributed_records] == ["ok", "ok", "failed", "ok", "ok"]
    assert both.distributed.exists(KILLED)


@pytest.mark.fault(38, "one scene of many views, shared by the workers")
def test_of_a_shared_scene_scoring_alone_is_left_for_the_last_worker(both: Both) -> None:
    _, short, _, long, _ = both.distributed_records
    assert set(long.computed) <= {"scores"}
    assert set(short.computed) > {"scores"}


def test_every_array_and_every_row_is_equal_bit_for_bit(both: Both) -> None:
    serial, distributed = committed_content(both.serial), committed_content(both.distributed)
    assert serial
    assert distributed == serial


def test_the_canonical_tables_are_equal(both: Both) -> None:
    run = both.recipe.run_id
    tables = [run_table(store, run).canonical() for store in (both.serial, both.distributed)]
    assert len(tables[0])
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_records_are_equal_but_for_what_was_computed(both: Both) -> None:
    for serial, distributed in zip(both.serial_records, both.distributed_records, strict=True):
        assert replace(serial, computed={}) == replace(distributed, computed={})


def test_the_serial_driver_finds_nothing_left_to_do_in_the_store_of_the_workers(both: Both) -> None:
    again = run_serially(both.recipe, Execution(store=both.distributed.url))
    assert all(record.computed == {} for record in again)


def _scenes(folder: Path) -> tuple[str, ...]:
    """Return small scenes: one has more targets than one part holds, one no format, one a relative path."""
    (folder / "unusable").mkdir()
    write_transforms(folder / "capture", capture())
    room = "procedural:room?seed={}&views={}&height=24&width=32"
    relative = os.path.relpath(folder / "capture")
    return room.format(0, 4), room.format(1, 4), str(folder / "unusable"), room.format(3, 40), relative
