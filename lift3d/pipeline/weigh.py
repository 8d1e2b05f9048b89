"""Weigh: who gets weights, and the picture that guides them."""

from collections.abc import Sequence

import torch

from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import Frame
from lift3d.geometry.holes import fill_from_nearest
from lift3d.lifters.blend import blend_picture
from lift3d.lifters.protocol import Lifter
from lift3d.lifters.weights import weights_at
from lift3d.operators.protocol import COMPARABLE, Operator

# Taps of the picture that guides: colours change by less than a grey level with more.
PICTURE_TAPS = 16


def wants_guide(lifter: Lifter, operator: Operator) -> bool:
    """Whether a lifter is given what an operator says of the lifted picture, which must mean what it means in views."""
    spec = operator.spec
    return lifter.spec.is_guided and spec.quantity in COMPARABLE and not spec.is_precomputed


def lift_picture(proposal: RayProposal, frames: Sequence[Frame]) -> Frame:
    """Return what the target looks like by the proposal's shared weights: what guided lifters let operators see.

    ``frames`` are those of the sources, in the proposal's order.
    """
    target = proposal.target
    with torch.inference_mode():
        weights = weights_at(proposal, FeatureGrid.covering(target.size, 1.0), tap_count=PICTURE_TAPS)
        image = blend_picture(weights, [fill_from_nearest(frame.image, frame.is_valid) for frame in frames])
        is_covered = (weights.coverage > 0).reshape(target.size.height, target.size.width)
        picture = fill_from_nearest(image, is_covered)
    return Frame(image=picture, is_valid=torch.ones_like(is_covered), camera=target, z_depth=None)
