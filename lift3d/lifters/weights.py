"""From a proposal on the guide grid to the blending weights of one operator's grid.

Letters: a merged sample is a depth on the ray of one cell, a candidate is a (merged sample, source) pair, a
tap is a candidate that was kept. Every row of the grid is computed on its own and always with the same
shapes, so a tile of rows equals the rows of the whole bit for bit.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import RayProposal
from lift3d.domain.weights import BlendingWeights
from lift3d.errors import ConfigError, NoOverlapError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import bilinear_corners

TAP_COUNT = 32
# Depths this close (relative) are one surface read at neighbouring guide cells; a larger step is an edge.
MERGE_GAP = 0.015
# A merged sample spans no more than this, so that a fine ladder of depths does not collapse into one.
MERGE_EXTENT = 0.03


def weights_at(
    proposal: RayProposal, grid: FeatureGrid, *, tap_count: int = TAP_COUNT, rows: slice | None = None
) -> BlendingWeights:
    """Read the weights of one operator's grid from a proposal.

    Peak memory beyond proposal and result is that of one row of cells: about 60 bytes per column, source and
    4 × sample. The result takes 24 bytes per cell and tap.

    Args:
        proposal: Where rays end and which sources see the samples.
        grid: The operator's grid at the target, pixels of the target camera.
        tap_count: Taps kept per cell, the heaviest first; fewer candidates are padded with weight 0.
        rows: Contiguous rows to compute; all if None.

    Returns:
        Weights of those rows. Their order of sources is the proposal's.

    Raises:
        ConfigError: If ``tap_count`` is below 1 or ``rows`` is empty or has a step.
        NoOverlapError: If the proposal has no source.
    """
    if tap_count < 1:
        raise ConfigError(f"A cell needs at least one tap, got tap_count={tap_count}.")
    span = _row_range(grid, rows)
    cameras = _SourceCameras.of(proposal)
    stride, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    centers = cell_centers(grid.rows, grid.cols, stride, origin)
    parts = [_row_weights(proposal, cameras, centers[row], tap_count) for row in span]
    source, uv, weight, log_scale_ratio, z_depth, coverage = (torch.cat(part) for part in zip(*parts, strict=True))
    tile = replace(grid, rows=len(span), origin_v=grid.origin_v + grid.stride_v * span.start)
    return BlendingWeights(tile, proposal.source_ids, source, uv, weight, log_scale_ratio, z_depth, coverage)


def _row_range(grid: FeatureGrid, rows: slice | None) -> range:
    span = range(*(rows or slice(None)).indices(grid.rows))
    if span.step != 1 or not len(span):
        raise ConfigError(f"rows must be a contiguous, non-empty slice of {grid.rows} rows, got {rows}.")
    return span


@dataclass(frozen=True, slots=True, eq=False)
class _SourceCameras:
    """Pixel-to-pixel maps: target pixel (u, v) at depth z is seen at ``z · slope @ (u, v, 1) + offset``.

    Sources stand in the order of their ids, so that sums and ties do not depend on the order given.
    """

    order: Int[Tensor, "source"]
    slope: Float[Tensor, "source 3 3"]
    offset: Float[Tensor, "source 3"]
    size: Int[Tensor, "source 2"]
    log_focal_ratio: Float[Tensor, "source"]

    @classmethod
    def of(cls, proposal: RayProposal) -> "_SourceCameras":
        if not proposal.sources:
            raise NoOverlapError("A proposal without sources has no weights; select at least one source view.")
        order = sorted(range(len(proposal.sources)), key=lambda index: proposal.source_ids[index])
        sources, target = [proposal.sources[index] for index in order], proposal.target
        target2source = torch.stack([source.w2c @ target.c2w for source in sources])
        K = torch.stack([source.K for source in sources])
        focal = (K[:, 0, 0] * K[:, 1, 1] / (target.K[0, 0] * target.K[1, 1])).sqrt()
        return cls(
            order=torch.tensor(order),
            slope=K @ target2source[:, :3, :3] @ torch.linalg.inv(target.K),
            offset=(K @ target2source[:, :3, 3:])[..., 0].float(),
            size=torch.tensor([[source.size.height, source.size.width] for source in sources]),
            log_focal_ratio=focal.log().float(),
        )

    def project(
        self, uv: Float[Tensor, "cell 2"], z_depth: Float[Tensor, "cell sample"]
    ) -> tuple[Float[Tensor, "cell sample source 2"], Float[Tensor, "cell sample source"]]:
        """Return source pixels (NaN behind) and depth in the source as a multiple of the target's."""
        homogeneous = torch.cat([uv.double(), torch.ones_like(uv[:, :1], dtype=torch.float64)], dim=-1)
        slope = torch.einsum("nij,cj->cni", self.slope, homogeneous).float()
        z = z_depth[..., None]
        x, y, z_source = (z * slope[:, None, :, axis] + self.offset[:, axis] for axis in range(3))
        return torch.stack([x, y], dim=-1) / torch.where(z_source > 0, z_source, torch.nan)[..., None], z_source / z


def _row_weights(
    proposal: RayProposal, cameras: _SourceCameras, uv: Float[Tensor, "cell 2"], tap_count: int
) -> tuple[Tensor, ...]:
    z_depth, probability, visibility = _merge_samples(*_mixed_samples(proposal, cameras.order, uv))
    # 1. Which sources see a sample at all, and their shares in it.
    uv_source, relative_z = cameras.project(uv, z_depth)
    is_seen = (visibility > 0) & _is_on_image(uv_source, cameras.size)
    preference = torch.where(is_seen, visibility, 0.0)
    total = preference.sum(-1, keepdim=True)
    share = preference / torch.where(total > 0, total, 1.0)
    # 2. What the ray knows: coverage and expected depth, before any tap is dropped.
    seen_probability = torch.where(is_seen.any(-1), probability, 0.0)
    coverage = seen_probability.sum(-1)
    is_covered = coverage > 0
    expected_z = (seen_probability * z_depth).sum(-1) / torch.where(is_covered, coverage, torch.nan)
    # 3. The heaviest candidates.
    candidate = (seen_probability[..., None] * share).flatten(1)
    kept, index = candidate.topk(min(tap_count, candidate.shape[1]), dim=1)
    weight = kept / torch.where(is_covered, kept.sum(-1), 1.0)[:, None]
    is_tap = kept > 0
    log_scale = cameras.log_focal_ratio - torch.where(is_seen, relative_z, 1.0).log()
    taps = (
        torch.where(is_tap, cameras.order[index % len(cameras.order)], 0),
        torch.where(is_tap[..., None], _pick(uv_source.flatten(1, 2), index), 0.0),
        weight,
        torch.where(is_tap, _pick(log_scale.flatten(1), index), 0.0),
    )
    padded = tuple(_padded(tap, tap_count) for tap in taps)
    return (*padded, expected_z, coverage.clamp(max=1.0))


def _mixed_samples(
    proposal: RayProposal, order: Int[Tensor, "source"], uv: Float[Tensor, "cell 2"]
) -> tuple[Float[Tensor, "cell sample"], Float[Tensor, "cell sample"], Float[Tensor, "cell sample source"]]:
    """Return the samples of the four guide cells around each pixel, probabilities times bilinear weight."""
    guide = proposal.grid
    corner, share = bilinear_corners(
        uv, guide.rows, guide.cols, (guide.stride_u, guide.stride_v), (guide.origin_u, guide.origin_v)
    )
    probability = (proposal.probability[corner] * share[..., None]).flatten(1)
    return (
        proposal.z_depth[corner].flatten(1),
        probability,
        proposal.visibility[corner][..., order].flatten(1, 2),
    )


def _merge_samples(
    z_depth: Float[Tensor, "cell sample"],
    probability: Float[Tensor, "cell sample"],
    visibility: Float[Tensor, "cell sample source"],
) -> tuple[Float[Tensor, "cell merged"], Float[Tensor, "cell merged"], Float[Tensor, "cell merged source"]]:
    """Merge samples whose depths agree to their probability-weighted mean: smooth surfaces, sharp edges."""
    # 1. Sort by depth; samples without probability go last and join whatever is there.
    is_live = probability > 0
    ordered, order = torch.where(is_live, z_depth, torch.inf).sort(dim=1)
    ordered = torch.where(torch.isinf(ordered), ordered.nan_to_num(posinf=0.0).amax(1, keepdim=True), ordered)
    # 2. A segment ends at a gap, and at every MERGE_EXTENT of a long chain.
    first = torch.cat([torch.zeros_like(ordered[:, :1], dtype=torch.bool), _is_gap(ordered)], dim=1)
    segment = first.cumsum(1)
    start = torch.full_like(ordered, torch.inf).scatter_reduce(1, segment, ordered, "amin").gather(1, segment)
    link = torch.where(start > 0, (ordered / start - 1) / MERGE_EXTENT, 0.0).floor()
    first[:, 1:] |= link[:, 1:] != link[:, :-1]
    segment = first.cumsum(1)
    # 3. Probability-weighted means per segment; as many slots as the fullest ray of this row has.
    p = probability.gather(1, order)
    slots = p.new_zeros(p.shape[0], int(segment[:, -1].max()) + 1)
    merged_p = slots.scatter_add(1, segment, p)
    divisor = torch.where(merged_p > 0, merged_p, 1.0)
    merged_z = slots.scatter_add(1, segment, p * ordered) / divisor
    seen = visibility.gather(1, order[..., None].expand_as(visibility))
    weighted = torch.where(p[..., None] > 0, p[..., None] * seen, 0.0)
    target = segment[..., None].expand_as(weighted)
    merged_v = weighted.new_zeros(*slots.shape, weighted.shape[2]).scatter_add(1, target, weighted)
    return merged_z, merged_p, merged_v / divisor[..., None]


def _is_gap(ordered_z: Float[Tensor, "cell sample"]) -> Bool[Tensor, "cell step"]:
    return ordered_z[:, 1:] > ordered_z[:, :-1] * (1 + MERGE_GAP)


def _is_on_image(
    uv: Float[Tensor, "cell sample source 2"], size: Int[Tensor, "source 2"]
) -> Bool[Tensor, "cell sample source"]:
    u, v = uv[..., 0], uv[..., 1]
    return (u >= 0) & (u <= size[:, 1]) & (v >= 0) & (v <= size[:, 0])


def _pick(values: Tensor, index: Int[Tensor, "cell tap"]) -> Tensor:
    return values[torch.arange(len(values))[:, None], index]


def _padded(taps: Tensor, tap_count: int) -> Tensor:
    missing = tap_count - taps.shape[1]
    return torch.cat([taps, taps.new_zeros(taps.shape[0], missing, *taps.shape[2:])], dim=1) if missing else taps
