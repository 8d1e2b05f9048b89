"""What tests of lifters begin with: a view that is left out and its sources, random features, equality to the bit."""

import functools

import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.proposals import SourceGuide
from lift3d.pipeline.targets import choose_targets, select_sources
from tests.support.runs import small_recipe

same_bits = functools.partial(torch.testing.assert_close, rtol=0, atol=0, equal_nan=True)


def situation(scene, target=2, height=48):
    """Frame of the target, guides of the other views (of all, if the target is None), and depth range."""
    frames = [view.load(height) for view in scene.views]
    guides = [
        SourceGuide(view.id, frame.camera, frame.image, frame.is_valid, 1.0, frame.z_depth)
        for index, (view, frame) in enumerate(zip(scene.views, frames, strict=True))
        if index != target
    ]
    return frames[target or 0], guides, scene.depth_range


def held_out_targets(scene, **fields):
    """Every fourth view as a target, if nothing else is said, with the four nearest of the others as its sources."""
    given = {"holdout": 4, "image_height": scene.views[0].camera.size.height}
    targets = choose_targets(scene.views, small_recipe(**{**given, **fields}))
    return select_sources(targets, {view.id: view.camera for view in scene.views}, 4, scene.depth_range)


def random_map(grid, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    return FeatureMap(torch.randn(channels, grid.rows, grid.cols, generator=generator), grid)


def share(condition):
    return float(condition.float().mean())


def pixels(camera, stride=1.0):
    return FeatureGrid.covering(camera.size, stride)
