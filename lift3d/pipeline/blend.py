"""Blend: weights, correction and the weighted sum, for every cut of one operator."""

from collections.abc import Sequence

import torch

from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
from lift3d.domain.lifted import LiftedFeatures
from lift3d.domain.proposals import RayProposal
from lift3d.lifters.blend import blend as blend_taps
from lift3d.lifters.protocol import Lifter
from lift3d.lifters.weights import weights_at
from lift3d.operators.protocol import OperatorSpec
from lift3d.pipeline.quantities import TargetFrameTransform


def lift_features(
    operator: OperatorSpec,
    lifter: Lifter,
    proposal: RayProposal,
    sources: Sequence[tuple[FeatureMap, ...]],
    grids: Sequence[FeatureGrid],
    taps: int,
    guides: tuple[FeatureMap, ...] | None = None,
    state: SceneState = EMPTY_STATE,
) -> tuple[LiftedFeatures, ...]:
    """weights_at → correct → blend, for every cut of one operator.

    What is compared and blended is the same quantity in every view (``pipeline.quantities``): without a positional
    field, depth and directions in the target's axes, instances under the scene's ids. What comes out is the target's.
    Colours are read off the lifted picture (``lift_colors``).

    ``sources`` are the sources' maps in the proposal's order, one per cut, ``grids`` the target's of each cut, ``taps``
    source samples per target cell, ``guides`` the maps of the lifted picture if the lifter wants them
    (``wants_guide``). SceneError if a source or the target has another grid than the positional field, or the state
    does not place what the sources say in the scene (``missing_of``).
    """
    if guides is not None and operator.quantity == "color":
        return lift_colors(proposal, guides)
    lifted: list[LiftedFeatures] = []
    views = list(zip(sources, proposal.source_ids, proposal.sources, strict=True))
    with torch.inference_mode():
        for cut, grid in enumerate(grids):
            if guides is not None and cut in operator.color_cuts:
                lifted += lift_colors(proposal, guides[cut : cut + 1])
                continue
            to_target = TargetFrameTransform(operator.quantity, state, cut, proposal.target)
            maps = [to_target.of_source(of_view[cut], name, camera) for of_view, name, camera in views]
            guide = None if guides is None else to_target.of_guide(guides[cut])
            weights = weights_at(proposal, grid, tap_count=taps)
            weights = lifter.correct(proposal, weights, maps, guide)
            lifted.append(to_target.at_target(blend_taps(weights, maps)))
    return tuple(lifted)


def lift_colors(proposal: RayProposal, guides: tuple[FeatureMap, ...]) -> tuple[LiftedFeatures, ...]:
    """Return what an operator whose features are colours says of the lifted picture, where anything is covered.

    Colours have weights of their own, those of the picture: already a linear combination of what the sources show,
    and read as sharply as pictures allow.
    """
    lifted = []
    with torch.inference_mode():
        for guide in guides:
            shape = guide.grid.shape
            weights = weights_at(proposal, guide.grid, tap_count=1)
            coverage = weights.coverage.reshape(shape)
            values = torch.where(coverage > 0, guide.values, torch.nan)
            lifted.append(
                LiftedFeatures(FeatureMap(values, guide.grid), coverage, weights.z_depth.reshape(shape).float())
            )
    return tuple(lifted)
