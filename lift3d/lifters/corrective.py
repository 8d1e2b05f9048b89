"""The learned lifter: coarse density proposal, then corrective aggregation of each operator's features.

Stage I starts from the consensus that needs no training and lets a network correct it; stage II compares an
operator's own features at the taps, and in the lifted picture, and weighs them anew. Both work before they are trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureMap
from lift3d.domain.proposals import RayProposal, SourceGuide
from lift3d.domain.scene import DepthRange
from lift3d.domain.weights import BlendingWeights
from lift3d.lifters.catalog import lifter_spec
from lift3d.lifters.checkpoint import Checkpoint, load_checkpoint
from lift3d.lifters.checkpoint_files import DEFAULT
from lift3d.lifters.density import estimate
from lift3d.lifters.networks.corrector import Corrector
from lift3d.lifters.plane_sweep import PlaneSweep, PlaneSweepConfig, by_cell, by_ray
from lift3d.lifters.protocol import LifterSpec
from lift3d.lifters.ray_evidence import gather_evidence
from lift3d.lifters.residual import solve
from lift3d.lifters.tap_agreement import CONTEXT_WIDTHS, compare, gather, state_at, within_reach
from lift3d.lifters.unswept_sources import Consensus, unswept_visibility
from lift3d.lifters.weights import ReadablePixels, weights_at

SAMPLE_COUNT = 4
# Cells corrected at once, and the rows around them that their widest window reaches into.
TILE_CELLS, TILE_TAPS = 8192, 32
TILE_MARGIN = CONTEXT_WIDTHS[-1] // 2
# By how many logits the guide is trusted more where near views are preferred: the more faithful choice among few
# sources. Chosen on the capture fox with MobileNetV2, VGG and a segmenter, between 0, 1.5 and 3.
FEW_SOURCES_TRUST = 1.5


class Lift3D:
    """Lift3D: stage I, then weights of their own for features with a residual, all from trained networks.

    Args:
        spec: What the catalog says of it; the packaged default if None.
        checkpoint: Name of a packaged checkpoint, path of one, or networks in memory.
        sweep: Planes and neighbours; the networks are bound to neither.
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

    @torch.no_grad()
    def propose(self, target: Camera, guides: Sequence[SourceGuide], depth_range: DepthRange) -> RayProposal:
        """Return the few most probable depths per ray, how much each source counts there, and the guide state.

        Raises:
            NoOverlapError: If no source sees anything of the target's frustum.
        """
        volumes = self._sweep.depth_volumes(target, guides, depth_range)
        found = estimate(self._networks.density, gather_evidence(self._sweep, target, volumes), SAMPLE_COUNT)
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
        preferred = [
            self._sweep.preference(target, source.view.camera, uv, z_depth) * one
            for source, one in zip(volumes.unswept, of_unswept, strict=True)
        ]
        view_weight = volumes.in_guide_order(
            len(guides), found.preference, torch.stack(preferred) if preferred else of_unswept
        )
        return RayProposal(
            grid=volumes.grid,
            target=target,
            sources=tuple(guide.camera for guide in guides),
            source_ids=tuple(guide.id for guide in guides),
            z_depth=by_ray(z_depth),
            probability=by_ray(probability),
            view_weight=by_cell(view_weight),
            visibility=by_cell(volumes.in_guide_order(len(guides), samples.visibility, of_unswept)),
            state=by_ray(found.state),
        )

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
    """Run stage II; differentiable in the network's parameters.

    Args:
        network: Stage II's.
        proposal: Of the target.
        agreeing: Uniform weights, which the answer starts from.
        near: Weights of colours, on the same cells.
        sources: The sources' maps.
        guide: The operator's map of the lifted picture.
        proximity: Exponent of the uniform weights; 0 in training.

    Returns:
        Weights without and with the residual.
    """
    taps = within_reach(agreeing, near, sources, ReadablePixels.of(proposal))
    features = gather(taps, sources, guide)
    found = network(
        compare(taps, features, sources), state_at(proposal, taps.weights), taps.weights.weight, taps.is_tap
    )
    consensus = (found.weight[:, None] @ features.at_taps)[:, 0]
    trust = torch.sigmoid(torch.logit(found.trust) + FEW_SOURCES_TRUST * proximity)
    wanted = consensus + trust * (features.of_guide - consensus)
    moved = solve(features.at_taps, wanted, found.weight, found.log_price, taps.is_tap)
    is_covered = (taps.weights.coverage > 0)[:, None]
    separate, whole = (replace(taps.weights, weight=one * is_covered) for one in (found.weight, moved))
    return separate, whole


def covered_as(near: BlendingWeights, agreeing: BlendingWeights) -> BlendingWeights:
    """Return uniform weights, and those of colours where there are none: what stage I covers stays covered."""
    is_missing = (near.coverage > 0) & (agreeing.coverage <= 0)
    if not bool(is_missing.any()):
        return agreeing
    patched: dict[str, Any] = {}
    for name in _PER_CELL:
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
        tile = correct(_rows(agreeing, low, high), _rows(near, low, high))
        done.append(_rows(tile, first - low, last - low))
    whole: dict[str, Any] = {name: torch.cat([getattr(one, name) for one in done]) for name in _PER_CELL}
    return replace(agreeing, **whole)


def tile_cells(tap_count: int) -> int:
    """Return how many cells of so many taps are corrected at once; their pairs of taps are held, too."""
    return max(1, int(TILE_CELLS * min(1.0, TILE_TAPS / tap_count) ** 1.5))


_PER_CELL = ("source", "uv", "weight", "log_scale_ratio", "z_depth", "coverage")


def _rows(weights: BlendingWeights, first: int, last: int) -> BlendingWeights:
    grid = weights.grid
    cells = slice(first * grid.cols, last * grid.cols)
    tile = replace(grid, rows=last - first, origin_v=grid.origin_v + grid.stride_v * first)
    part: dict[str, Any] = {name: getattr(weights, name)[cells] for name in _PER_CELL}
    return replace(weights, grid=tile, **part)
