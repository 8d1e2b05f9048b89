"""Examples and their cache: reproducible at any step, independent of who rendered, true to the geometry."""

import numpy as np
import pytest
import torch

from lift3d.errors import ConfigError, StoreLayoutError
from lift3d.synthetic.sensor import Sensor
from lift3d.synthetic.training_scenes import render_scene
from lift3d.training.examples import ExampleStream, draw_example
from lift3d.training.scene_cache import ExampleCache
from tests.support.warping import correspondences
from tests.training.tiny_training import same_example, small_cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return small_cache(tmp_path_factory.mktemp("scenes"))


def test_every_step_has_its_example_and_every_scene_comes_once_before_any_comes_again(cache):
    stream = ExampleStream(cache, 4)
    first, second = ([stream.example(step) for step in steps] for steps in (range(2), range(2, 4)))
    for examples in (first, second):
        assert sorted(one.scene for one in examples) == ["0", "1"]
    assert same_example(second[1], ExampleStream(cache, 4).example(3))
    assert not same_example(second[1], ExampleStream(cache, 5).example(3))


def test_an_interrupted_cache_goes_on_and_equals_a_whole_one(cache, tmp_path):
    broken = ExampleCache(tmp_path, cache.seed, cache.count)
    broken.scene(1)
    (broken.folder / ".000000.npz.1.part").write_bytes(b"half")
    for index in range(cache.count):
        broken.scene(index)
        assert broken.path(index).read_bytes() == cache.path(index).read_bytes()


def test_the_target_is_never_a_source_and_the_range_holds_what_it_sees(cache):
    for example in map(ExampleStream(cache, 1).example, range(9)):
        centers = torch.stack([frame.camera.center for frame in example.sources])
        assert (centers - example.target.camera.center).norm(dim=-1).min() > 0
        assert 2 <= len(example.sources) <= 12
        known = example.target.z_depth[torch.isfinite(example.target.z_depth)]
        inside = (known >= example.depth_range.near) & (known <= example.depth_range.far)
        assert inside.float().mean() > 0.97


def test_depth_agrees_between_views_after_the_world_was_moved():
    rendered = render_scene((2, 0), family="room", sensor=Sensor())
    for seed in range(3):
        example = draw_example(np.random.default_rng(seed), rendered, 4)
        target, source = example.target, example.sources[0]
        ends = [(frame.camera.K, frame.camera.w2c) for frame in (target, source)]
        uv, is_seen = correspondences(target.z_depth, source.z_depth, *ends)
        is_inside = torch.isfinite(uv).all(-1) & (uv > 0).all(-1)
        is_inside &= (uv[..., 0] < source.camera.size.width) & (uv[..., 1] < source.camera.size.height)
        assert is_seen[is_inside].float().mean() > 0.6


def test_wrong_requests_are_refused(cache, tmp_path):
    with pytest.raises(ConfigError, match="Name an empty folder"):
        ExampleCache(cache.folder, cache.seed + 1, 1)
    with pytest.raises(ConfigError, match="not in a cache of 2"):
        cache.scene(2)
    with pytest.raises(ConfigError, match="sources"):
        ExampleStream(cache, 0, least_sources=3, most_sources=14)
    with pytest.raises(ConfigError, match="count from 0"):
        ExampleStream(cache, 0).example(-1)
    damaged = ExampleCache(tmp_path, 0, 1)
    damaged.path(0).write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(StoreLayoutError, match="Delete it"):
        damaged.scene(0)
