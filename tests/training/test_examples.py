"""Examples and their cache: reproducible at any step, independent of who rendered, true to the geometry."""

import numpy as np
import pytest
import torch

from lift3d.errors import ConfigError, StoreLayoutError
from lift3d.synthetic.training_scenes import Sensor, render_scene
from lift3d.training.batches import Examples
from lift3d.training.examples import SceneCache, draw_example
from tests.support.warping import correspondences
from tests.training.tiny_training import same_example, small_cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return small_cache(tmp_path_factory.mktemp("scenes"))


def test_every_step_has_its_example_and_every_scene_comes_once_before_any_comes_again(cache):
    examples_of = Examples(cache, 4, (2, 12))
    first, second = ([examples_of(step) for step in steps] for steps in (range(2), range(2, 4)))
    for examples in (first, second):
        assert sorted(one.scene for one in examples) == ["0", "1"]
    assert same_example(second[1], Examples(cache, 4, (2, 12))(3))
    assert not same_example(second[1], Examples(cache, 5, (2, 12))(3))


def test_an_interrupted_cache_goes_on_and_equals_a_whole_one(cache, tmp_path):
    broken = SceneCache(tmp_path, cache.seed, cache.count)
    broken.scene(1)
    (tmp_path / ".000000.npz.1.part").write_bytes(b"half")
    for name in ("000000.npz", "000001.npz"):
        broken.scene(int(name[:6]))
        assert (tmp_path / name).read_bytes() == (cache.folder / name).read_bytes()
    assert (tmp_path / "000000.npz").read_bytes() != (tmp_path / "000001.npz").read_bytes()


def test_the_target_is_never_a_source_and_the_range_holds_what_it_sees(cache):
    for example in map(Examples(cache, 1, (2, 12)), range(9)):
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


def test_a_folder_of_other_scenes_and_a_damaged_one_are_refused(cache, tmp_path):
    with pytest.raises(ConfigError, match="Name an empty folder"):
        SceneCache(cache.folder, cache.seed + 1, 1)
    damaged = SceneCache(tmp_path, 0, 1)
    (tmp_path / "000000.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(StoreLayoutError, match="Delete it"):
        damaged.scene(0)
    (tmp_path / "cache.json").write_text("{")
    with pytest.raises(ConfigError, match="does not read as JSON"):
        SceneCache(tmp_path, 0, 1)
