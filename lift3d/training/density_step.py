"""One training step of stage I: an example to evidence, evidence to colours, colours to a loss.

The loss is relative: the squared error of the colours over that of the same evidence without training. 1 is no gain,
0.7 is 1.5 dB; easy and hard scenes count alike, as they do in a mean of PSNR.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.proposals import SourceGuide
from lift3d.lifters.checkpoint import untrained
from lift3d.lifters.corrective import SAMPLE_COUNT, Density, estimate
from lift3d.lifters.networks.density_proposal import DensityProposal
from lift3d.lifters.plane_sweep import PlaneSweep, PlaneSweepConfig
from lift3d.lifters.ray_evidence import RayEvidence, gather_evidence
from lift3d.training.examples import Example

# Squared error of colours below which a scene is not worth fitting further (40 dB).
_ERROR_FLOOR = 1e-4
DEPTH_SHARE = 0.03
# Fewer planes and neighbours than lifting has, at half the cost: the network is bound to neither.
SWEEP = PlaneSweepConfig(plane_count=48, neighbour_count=4)
# Side of the window that one step looks at; what the sources know is computed for whole views either way.
WINDOW_CELLS = 56


@dataclass(frozen=True, slots=True, eq=False)
class DensityBatch:
    """An example as stage I sees it, and what it should say: the target's guide colours and the true plane.

    That is an index (a fraction), NaN where unknown. ``is_seen`` are cells that some source sees and whose true colour
    is known; ``untrained_error`` is the mean squared error of the colours without training.
    """

    evidence: RayEvidence
    color: Float[Tensor, "3 row col"]
    plane: Float[Tensor, "row col"]
    is_seen: Bool[Tensor, "row col"]
    untrained_error: float

    @property
    def seen_share(self) -> float:
        """Share of the cells that count."""
        return float(self.is_seen.float().mean())


@torch.no_grad()
def prepare(example: Example, rng: np.random.Generator) -> DensityBatch:
    """Compute all of stage I that has nothing to learn, on a drawn window of the target."""
    sweep, target = PlaneSweep(SWEEP), example.target
    volumes = sweep.depth_volumes(target.camera, guides_of(example), example.depth_range)
    size = volumes.grid.shape
    rows, cols = (_window(rng, count) for count in size)
    volumes = replace(volumes, uv=volumes.uv[rows, cols])
    evidence = gather_evidence(sweep, volumes)
    # The sources' own volumes and pictures are the bulk of it, and nobody reads them any more.
    evidence = replace(evidence, volumes=replace(volumes, depths=(), guides=()))
    color = F.interpolate(target.image[None], size=size, mode="area")[0][:, rows, cols]
    is_valid = F.interpolate(target.is_valid[None, None].float(), size=size, mode="area")[0, 0, rows, cols] > 1 - 1e-3
    plain = estimate(untrained().density, evidence, SAMPLE_COUNT)
    is_seen = (plain.preference > 0).any(0).any(0) & is_valid
    planes = volumes.planes
    z_depth = torch.full(target.is_valid.shape, torch.nan) if target.z_depth is None else target.z_depth
    disparity = 1 / F.interpolate(z_depth[None, None], size=size, mode="nearest")[0, 0, rows, cols]
    plane = (disparity - planes[0]) / (planes[-1] - planes[0]) * (len(planes) - 1)
    plane = torch.where((plane >= 0) & (plane <= len(planes) - 1), plane, torch.nan)
    return DensityBatch(evidence, color, plane, is_seen, _error(plain, color, is_seen).item())


def _window(rng: np.random.Generator, count: int) -> slice:
    length = min(count, WINDOW_CELLS)
    first = int(rng.integers(count - length + 1))
    return slice(first, first + length)


def guides_of(example: Example) -> tuple[SourceGuide, ...]:
    """Return the sources as a lifter sees them: without their depth."""
    return tuple(
        SourceGuide(f"{place:03d}", frame.camera, frame.image, frame.is_valid)
        for place, frame in enumerate(example.sources)
    )


def density_loss(network: DensityProposal, batch: DensityBatch) -> tuple[Tensor, dict[str, float]]:
    """Return the loss and its parts."""
    found = estimate(network, batch.evidence, SAMPLE_COUNT)
    error = _error(found, batch.color, batch.is_seen)
    relative = (error + _ERROR_FLOOR) / (batch.untrained_error + _ERROR_FLOOR)
    parts = {"relative_error": relative.item()}
    if not bool(torch.isfinite(batch.plane).any()):
        # Captures know no depth: colours alone teach, and there is nothing to record.
        return relative, parts
    depth = _surprise(found.probability, batch.plane, batch.is_seen)
    return relative + DEPTH_SHARE * depth, {**parts, "surprise": depth.item()}


def _error(found: Density, color: Float[Tensor, "3 row col"], is_seen: Bool[Tensor, "row col"]) -> Tensor:
    squared = (found.color - color).square().mean(0)
    return (squared * is_seen).sum() / is_seen.sum().clamp(min=1)


def _surprise(
    probability: Float[Tensor, "plane row col"], plane: Float[Tensor, "row col"], is_seen: Bool[Tensor, "row col"]
) -> Tensor:
    """Return the mean of −log of the probability within half a plane or so of the truth, in nats."""
    is_known = torch.isfinite(plane) & is_seen
    at = torch.where(is_known, plane, 0.0)
    low = at.floor().long().clamp(max=len(probability) - 2)
    share = at - low
    before, after = (probability.gather(0, index[None])[0] for index in (low, low + 1))
    mixed = 0.5 * _log(before + after) + 0.5 * ((1 - share) * _log(before) + share * _log(after))
    return -(mixed * is_known).sum() / is_known.sum().clamp(min=1)


def _log(probability: Tensor) -> Tensor:
    return (probability + 1e-4).log()
