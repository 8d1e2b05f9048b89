"""Propose: where surfaces may be along a target's rays, once for all operators."""

from collections.abc import Callable
from dataclasses import replace

import torch

from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import RayProposal, SourceGuide
from lift3d.domain.scene import DepthRange, Frame
from lift3d.domain.target import Target
from lift3d.errors import NoOverlapError
from lift3d.lifters.protocol import Lifter


def propose(lifter: Lifter, target: Target, frames: Callable[[ViewId], Frame], depth_range: DepthRange) -> RayProposal:
    """Return where surfaces may be along the target's rays: once per target, for all operators.

    NoOverlapError if the target has no source, or none sees anything of what it sees.
    """
    if not target.sources:
        raise NoOverlapError(f"Target '{target.id}' has no source view left.", view=target.id)
    guides = [
        SourceGuide(name, frame.camera, frame.image, frame.is_valid, taper, frame.z_depth)
        for name, taper, frame in ((name, taper, frames(name)) for name, taper in target.sources)
    ]
    with torch.inference_mode():
        proposal = lifter.propose(target.camera, guides, depth_range)
    is_valid = {guide.id: guide.is_valid for guide in guides}
    return replace(proposal, source_is_valid=tuple(is_valid[name] for name in proposal.source_ids))
