"""Scenes on workers, one of them killed and every third scene unusable, against the same recipe in one process."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from flows.batch_driver import run_batch
from flows.worker_pool import WorkerPool
from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.runs.driver import begin_run, run_serially
from lift3d.runs.table import run_table
from lift3d.storage.location import Store, open_store
from tests.support.killed_scenes import KILLED, prepare_killed_once
from tests.support.store_content import committed_content


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
        scenes=_scenes(folder, 5),
        operators=("rgb",),
        lifters=("nearest_view",),
        image_height=32,
        target_mode="heldout",
    )
    serial = Execution(store=str(folder / "serial"))
    distributed = Execution(store=str(folder / "distributed"), workers=2)
    stores = [open_store(one.store, create=True) for one in (serial, distributed)]
    serial_records = run_serially(recipe, serial)
    begin_run(recipe, stores[1])
    with WorkerPool(recipe, distributed, prepare_killed_once) as pool:
        records = run_batch(recipe.scenes, pool)
    return Both(recipe, *stores, serial_records, records)


def test_every_third_scene_fails_and_the_run_completes(both: Both) -> None:
    outcomes = [record.outcome for record in both.distributed_records]
    assert outcomes == ["ok", "ok", "failed", "ok", "ok"]


def test_a_worker_was_killed_mid_scene(both: Both) -> None:
    assert both.distributed.exists(KILLED)


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


def _scenes(folder: Path, count: int) -> tuple[str, ...]:
    """Return tiny scenes, every third of them a folder that no reader recognises."""
    unusable = folder / "unusable"
    unusable.mkdir()
    (unusable / "notes.txt").write_text("no scene here")
    return tuple(
        str(unusable) if index % 3 == 2 else f"procedural:room?seed={index}&views=4&height=32&width=40"
        for index in range(count)
    )
