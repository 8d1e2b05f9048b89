"""A long scene is prepared by several workers and equals the serial run."""

from pathlib import Path

import pytest

from flows.batch_driver import run_batch
from flows.progress import Listener
from flows.scene_queue import Item, SceneShards
from flows.worker_pool import WorkerPool
from lift3d.config import Execution, Recipe
from lift3d.domain.shard import Shard
from lift3d.runs.driver import begin_run, run_serially
from lift3d.storage.location import open_store
from tests.support.store_content import committed_content

# More targets than one part holds, so that lifting is shared as well.
SCENES = ("procedural:room?seed=3&views=40&height=24&width=32", "procedural:room?seed=4&views=3&height=24&width=32")


def test_encoding_comes_before_lifting_and_all_before_the_rest() -> None:
    shards = SceneShards(count=2, split_views=10)
    assert [item.shard for item in shards.begin(Item("short", 10))] == [None]
    first, second = shards.begin(Item("long", 11))
    assert [first.shard, second.shard] == [Shard("encode", 0, 2), Shard("encode", 1, 2)]
    assert shards.finish(second) == []
    lifts = shards.finish(first)
    assert [item.shard for item in lifts] == [Shard("lift", 0, 2), Shard("lift", 1, 2)]
    assert shards.finish(lifts[0]) == []
    assert [(item.location, item.shard) for item in shards.finish(lifts[1])] == [("long", None)]


@pytest.mark.fault(38, "one scene of many views, shared by the workers")
@pytest.mark.usefixtures("ray_here")
def test_a_shared_scene_equals_the_serial_run(tmp_path: Path) -> None:
    recipe = Recipe(scenes=SCENES, lifters=("nearest_view",), image_height=24, sources=3, target_mode="heldout")
    run_serially(recipe, Execution(store=str(tmp_path / "serial")))
    execution = Execution(store=str(tmp_path / "shared"), workers=2, split_views=8)
    stages: set[tuple[str, str]] = set()
    begin_run(recipe, open_store(execution.store, create=True))
    listener = Listener(on_stage=lambda location, stage, done, total: stages.add((location, stage)))
    with WorkerPool(recipe, execution) as pool:
        long, short = run_batch(recipe.scenes, pool, listener)
    assert long.is_ok
    assert short.is_ok
    # What is left for the last worker is scoring alone: all else was committed by the shards.
    assert set(long.computed) <= {"scores"}
    assert set(short.computed) > {"scores"}
    assert committed_content(open_store(execution.store)) == committed_content(open_store(str(tmp_path / "serial")))
