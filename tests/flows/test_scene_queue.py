"""The order in which scenes are handed out, and what is remembered of those that failed."""

import json

import pytest

from flows.scene_queue import Item, SceneQueue, size_hint
from lift3d.config import Recipe
from lift3d.domain.shard import Shard
from lift3d.storage.location import open_store

SCENES = tuple(f"procedural:room?seed=0&views={count}" for count in (3, 40, 7, 12))


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"), create=True)


@pytest.mark.fault(38, "one scene that is much longer than the others, last in the list")
def test_the_longest_goes_first(store):
    queue = SceneQueue(SCENES, Recipe(scenes=SCENES), store)
    taken = [queue.take(0.0) for _ in SCENES]
    assert [item.size for item in taken if item is not None] == [40, 12, 7, 3]
    assert queue.take(0.0) is None


def test_a_scene_waits_for_its_time_and_lets_others_pass(store):
    queue = SceneQueue((), Recipe(scenes=SCENES), store)
    queue.put(Item("long", 90, not_before=5.0))
    queue.put(Item("short", 1))
    taken = [queue.take(1.0), queue.take(1.0), queue.take(5.0)]
    assert [one and one.location for one in taken] == ["short", None, "long"]


def test_the_size_of_a_folder_is_the_number_of_its_images(tmp_path):
    (tmp_path / "images").mkdir()
    for name in (*(f"images/{number}.JPG" for number in range(5)), "transforms.json"):
        (tmp_path / name).touch()
    assert size_hint(str(tmp_path)) == 5
    assert size_hint(str(tmp_path / "missing")) == 0


def test_failures_survive_the_driver_and_damage_to_them(store):
    recipe = Recipe(scenes=SCENES)
    queue = SceneQueue(SCENES, recipe, store)
    item = queue.take(0.0)
    assert item is not None
    kinds = ("lost", "memory", "store", "preempted")
    assert [queue.count_failure(item, kind) for kind in kinds] == [1, 1, 1, 1]
    again = SceneQueue(SCENES, recipe, store).take(0.0)
    assert again is not None
    assert again.failures == {"lost": 1, "memory": 1}
    assert SceneQueue(SCENES, recipe, store, forget_failures=True).take(0.0).failures == {}
    (key,) = store.list(f"runs/{recipe.run_id}/failures")
    assert json.loads(store.read_bytes(key))["location"] == item.location
    # Those of scenes in other batches are not read at all.
    assert SceneQueue(SCENES[:1], recipe, store).take(0.0).failures == {}
    store.write_bytes(key, b"{")
    assert SceneQueue(SCENES, recipe, store).take(0.0).failures == {}


def test_encoding_comes_before_the_fit_of_one_that_before_lifting_and_all_before_the_rest(store):
    scenes = ("procedural:room?views=10", "procedural:room?views=11")
    queue = SceneQueue(scenes, Recipe(scenes=scenes), store, shard_count=2, split_views=10)
    for stage, count in (("encode", 2), ("fit", 1), ("lift", 2)):
        shards = [queue.take(0.0) for _ in range(count)]
        assert [item.shard for item in shards] == [Shard(stage, index, count) for index in range(count)]
        for item in shards:
            assert len(queue) == 1, "of its stage all must be done"
            queue.finish_shard(item)
    assert [(item.location, item.shard) for item in (queue.take(0.0), queue.take(0.0))] == [
        ("procedural:room?views=11", None),
        ("procedural:room?views=10", None),
    ]
