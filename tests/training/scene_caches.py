"""A small cache of training scenes, and when two examples are the same."""

import torch

from lift3d.synthetic.training_scenes import scene_size
from lift3d.training.scene_cache import ExampleCache


def small_cache(folder):
    """Return a filled cache of two scenes."""
    # The first seed whose scenes have few pixels, to be quick.
    seed = next(seed for seed in range(1000) if all(_pixels((seed, index)) < 16_000 for index in range(2)))
    cache = ExampleCache(folder, seed, count=2)
    for index in range(2):
        cache.scene(index)
    return cache


def _pixels(seed):
    size = scene_size(seed)
    return size.height * size.width


def same_example(one, other):
    """Whether two examples agree in every pixel and camera."""
    frames, others = ([example.target, *example.sources] for example in (one, other))
    return len(frames) == len(others) and all(
        a.image.shape == b.image.shape
        and torch.equal(a.image, b.image)
        and torch.equal(a.camera.w2c, b.camera.w2c)
        and torch.equal(a.z_depth.nan_to_num(-1), b.z_depth.nan_to_num(-1))
        for a, b in zip(frames, others, strict=True)
    )
