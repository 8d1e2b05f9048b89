"""Invalid pixels never vote: what lies under a mask changes no bit of what is lifted."""

from dataclasses import replace

import pytest
import torch

from lift3d.lifters.catalog import LIFTERS, build_lifter
from lift3d.operators.rgb import RgbOperator
from lift3d.pipeline.blend import lift_features
from lift3d.pipeline.encode import target_grids
from lift3d.pipeline.propose import propose
from tests.support.lifting import held_out_targets
from tests.support.scenes import textured_plane_scene

MARGIN = 9


def lifted_image(lifter_name: str, garbage: float):
    """Lift one view of a plane whose sources have garbage along their left border, marked invalid."""
    scene = textured_plane_scene(view_count=5)
    target = held_out_targets(scene, holdout=None)[2]

    def masked(name):
        frame = scene.view(name).load()
        is_valid = frame.is_valid.clone()
        is_valid[:, :MARGIN] = False
        image = torch.where(is_valid, frame.image, torch.full_like(frame.image, garbage))
        return replace(frame, image=image, is_valid=is_valid)

    lifter, operator = build_lifter(lifter_name), RgbOperator()
    proposal = propose(lifter, target, masked, scene.depth_range)
    # The raw image, not the one encode_view cleans: the weights alone must keep invalid pixels out.
    sources = [operator.encode(masked(name).image) for name in proposal.source_ids]
    grids = target_grids(operator, target.camera.size)
    return lift_features(operator.spec, lifter, proposal, sources, grids, taps=16)[0]


@pytest.mark.parametrize("lifter_name", LIFTERS)
def test_what_lies_under_a_mask_changes_nothing(lifter_name):
    black, white = lifted_image(lifter_name, 0.0), lifted_image(lifter_name, 1.0)
    assert torch.equal(black.coverage, white.coverage)
    assert bool((black.coverage > 0).any())
    torch.testing.assert_close(black.features.values, white.features.values, rtol=0, atol=0, equal_nan=True)
