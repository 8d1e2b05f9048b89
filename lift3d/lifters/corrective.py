"""The learned lifter: coarse density proposal, then corrective aggregation of each operator's features.

Stage I starts from the consensus that needs no training and lets a network correct it; stage II compares an
operator's own features at the taps, and in the lifted picture, and weighs them anew. Both work before they are trained.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureMap
from lift3d.domain.proposals import RayProposal, SourceGuide
from lift3d.domain.scene import DepthRange
from lift3d.domain.weights import PER_CELL, BlendingWeights
from lift3d.lifters.catalog import lifter_spec
from lift3d.lifters.checkpoint import Checkpoint, load_checkpoint
from lift3d.lifters.checkpoint_files import DEFAULT
from lift3d.lifters.networks.corrector import Corrector
from lift3d.lifters.networks.density_proposal import DensityProposal
from lift3d.lifters.plane_sweep import PlaneSweep, PlaneSweepConfig
from lift3d.lifters.protocol import LifterSpec
from lift3d.lifters.ray_evidence import EvidenceSamples, RayEvidence, gather_evidence, strongest
from lift3d.lifters.residual import solve
from lift3d.lifters.tap_agreement import CONTEXT_WIDTHS, compare, gather, state_at, within_reach
from lift3d.lifters.unswept_sources import Consensus, unswept_visibility
from lift3d.lifters.weights import ReadablePixels, weights_at

SAMPLE_COUNT = 4
_LEAST_WEIGHT = 1e-6
# Cells corrected at once, and the rows around them that their widest window reaches into.
TILE_CELLS, TILE_TAPS = 8192, 32
TILE_MARGIN = CONTEXT_WIDTHS[-1] // 2
# By how many logits the guide is trusted more where near views are preferred: the more faithful choice among few
# sources. Chosen on the capture fox with MobileNetV2, VGG and a segmenter, between 0, 1.5 and 3.
FEW_SOURCES_TRUST = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """Stage I's answer: depth along rays, the strongest samples, each source's weight there, and state for stage II."""

    probability: Float[Tensor, "plane row col"]
    samples: EvidenceSamples
    preference: Float[Tensor, "source sample row col"]
    state: Float[Tensor, "state row col"]

    @property
    def color(self) -> Float[Tensor, "3 row col"]:
        """The guide colour that the sources give each cell: what training compares with the target's."""
        share = self.preference / self.preference.sum(0).clamp(min=_LEAST_WEIGHT)
        per_sample = (share[:, None] * self.samples.color).sum(0)
        return (per_sample * self.samples.probability).sum(1)


def estimate(network: DensityProposal, evidence: RayEvidence, sample_count: int) -> Density:
    """Run the network; differentiable in its parameters."""
    probability, places = network.density(evidence.volume)
    samples = strongest(evidence, probability, sample_count)
    at_samples = places.movedim(1, 0).gather(1, samples.plane[None].expand(places.shape[1], -1, -1, -1))
    weight = samples.visibility * samples.preference
    share = weight / weight.sum(0).clamp(min=_LEAST_WEIGHT)
    preference = weight * torch.exp(network.scores(samples.inputs, at_samples, share.detach()))
    return Density(probability, samples, preference, (at_samples * samples.probability).sum(1))


class Lift3D:
    """Lift3D: stage I, then weights of their own for features with a residual, all from trained networks.

    The checkpoint is the name of a packaged one, the path of one, or networks in memory, which are bound neither to the
    planes nor to the neighbours of ``sweep``.
    """

    _has_residual = True

    def __init__(
        self,
        spec: LifterSpec | None = None,
        checkpoint: str | Checkpoint = DEFAULT,
        sweep: PlaneSweepConfig | None = None,
    ) -> None:
        self.spec = spec or lifter_spec("lift3d")
        self._networks = load_checkpoint(checkpoint) if isinstance(checkpoint, str) else checkpoint
        self._sweep = PlaneSweep(sweep)

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on; a checkpoint that others hold, too, stays where it is."""
        own = deepcopy(self._networks)
        self._networks = Checkpoint(own.density.to(device), own.corrector.to(device), own.about)

    @torch.no_grad()
    def propose(self, target: Camera, guides: Sequence[SourceGuide], depth_range: DepthRange) -> RayProposal:
        """Return the few most probable depths per ray, how much each source counts there, and the guide state.

        NoOverlapError if no source sees anything of the target's frustum.
        """
        volumes = self._sweep.depth_volumes(target, guides, depth_range)
        found = estimate(self._networks.density, gather_evidence(self._sweep, volumes), SAMPLE_COUNT)
        samples = found.samples
        # A ray that no source sees has no probability, whatever the network says.
        is_seen = (found.preference > 0).any(0)
        probability = samples.probability * is_seen
        total = probability.sum(0)
        probability = probability / torch.where(total > 0, total, 1.0)
        # Unswept sources are weighed as sources are without training.
        uv, z_depth = volumes.uv, 1 / samples.disparity
        consensus = Consensus.of(samples.color, samples.visibility)
        of_unswept = unswept_visibility(target, uv, samples.disparity, probability, consensus, volumes.unswept)
        view_weight = volumes.in_guide_order(found.preference, of_unswept)
        for place in volumes.unswept_places:
            view_weight[place] *= self._sweep.preference(target, guides[place].camera, uv, z_depth)
        visibility = volumes.in_guide_order(samples.visibility, of_unswept)
        return volumes.proposal(z_depth, probability, view_weight, visibility, found.state)

    @torch.no_grad()
    def correct(
        self,
        proposal: RayProposal,
        weights: BlendingWeights,
        sources: Sequence[FeatureMap],
        guide: FeatureMap | None = None,
    ) -> BlendingWeights:
        """Return weights that suit this operator's features, over the same sources."""
        proximity = proximity_exponent(len(proposal.sources))
        agreeing = weights_at(proposal.uniformly_weighted(proximity), weights.grid, tap_count=weights.source.shape[1])
        agreeing = covered_as(weights, agreeing)
        # Without a guide there is nothing to correct by.
        if guide is None:
            return agreeing
        network, which = self._networks.corrector, int(self._has_residual)
        return in_tiles(
            lambda uniform, near: corrected(network, proposal, uniform, near, sources, guide, proximity)[which],
            agreeing,
            weights,
        )


def proximity_exponent(source_count: int) -> float:
    """Return the exponent in (0, 1] by which near views are preferred for features: less, the more sources there are.

    Distant targets agree by reading the same many sources; of few they share none, and near ones know best.
    """
    return min(1.0, PlaneSweepConfig().swept_count / max(1, source_count))


def corrected(
    network: Corrector,
    proposal: RayProposal,
    agreeing: BlendingWeights,
    near: BlendingWeights,
    sources: Sequence[FeatureMap],
    guide: FeatureMap,
    proximity: float = 0.0,
) -> tuple[BlendingWeights, BlendingWeights]:
    """Run stage II; return weights without and with the residual, differentiable in the network's parameters.

    ``agreeing`` are uniform weights, which the answer starts from, and ``near`` those of colours on the same cells;
    ``guide`` is the operator's map of the lifted picture; ``proximity`` is the exponent of the uniform weights, 0 in
    training.
    """
    taps = within_reach(agreeing, near, sources, ReadablePixels.of(proposal))
    at_taps, of_guide = gather(taps, sources, guide)
    inputs = compare(taps, at_taps, of_guide, sources)
    found = network(inputs, state_at(proposal, taps.weights), taps.weights.weight, taps.is_tap)
    consensus = (found.weight[:, None] @ at_taps)[:, 0]
    trust = torch.sigmoid(torch.logit(found.trust) + FEW_SOURCES_TRUST * proximity)
    wanted = consensus + trust * (of_guide - consensus)
    moved = solve(at_taps, wanted, found.weight, found.log_price, taps.is_tap)
    is_covered = (taps.weights.coverage > 0)[:, None]
    separate, whole = (replace(taps.weights, weight=one * is_covered) for one in (found.weight, moved))
    return separate, whole


def covered_as(near: BlendingWeights, agreeing: BlendingWeights) -> BlendingWeights:
    """Return uniform weights, and those of colours where there are none: what stage I covers stays covered."""
    is_missing = (near.coverage > 0) & (agreeing.coverage <= 0)
    if not bool(is_missing.any()):
        return agreeing
    patched: dict[str, Any] = {}
    for name in PER_CELL:
        one, other = getattr(near, name), getattr(agreeing, name)
        patched[name] = torch.where(is_missing.reshape(-1, *[1] * (one.ndim - 1)), one, other)
    return replace(agreeing, **patched)


def in_tiles(
    correct: Callable[[BlendingWeights, BlendingWeights], BlendingWeights],
    agreeing: BlendingWeights,
    near: BlendingWeights,
) -> BlendingWeights:
    """Correct a large grid by tiles of rows, each with a margin that its windows reach into: bounded memory.

    A tap of a cell takes about 2 KB on the way, so a tile takes less than a gigabyte, however many taps there are.
    """
    grid = agreeing.grid
    height = max(1, tile_cells(agreeing.source.shape[1]) // grid.cols)
    if grid.rows <= height:
        return correct(agreeing, near)
    done = []
    for first in range(0, grid.rows, height):
        last = min(first + height, grid.rows)
        low, high = max(0, first - TILE_MARGIN), min(grid.rows, last + TILE_MARGIN)
        tile = correct(agreeing.rows(low, high), near.rows(low, high))
        done.append(tile.rows(first - low, last - low))
    whole: dict[str, Any] = {name: torch.cat([getattr(one, name) for one in done]) for name in PER_CELL}
    return replace(agreeing, **whole)


def tile_cells(tap_count: int) -> int:
    """Return how many cells of so many taps are corrected at once; their pairs of taps are held, too."""
    return max(1, int(TILE_CELLS * min(1.0, TILE_TAPS / tap_count) ** 1.5))
