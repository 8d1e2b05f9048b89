"""From a proposal on the guide grid to the blending weights of one operator's grid.

Letters: a merged sample is a depth on the ray of one cell, a candidate is a (merged sample, source) pair, a
tap is a candidate that was kept. Rows of the grid are computed in blocks that start at fixed rows, so a tile of
rows equals the rows of the whole bit for bit.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import max_pool2d

from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import RayProposal
from lift3d.domain.weights import BlendingWeights
from lift3d.errors import NoOverlapError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import bilinear_corners

TAP_COUNT = 32
# Depths this close (relative) are one surface read at neighbouring guide cells; a larger step is an edge.
MERGE_GAP = 0.015
# A merged sample spans no more than this, so that a fine ladder of depths does not collapse into one.
MERGE_EXTENT = 0.03
# Candidates held at once: 64 times as many bytes, few enough to stay in the caches.
BLOCK_CANDIDATES = 2**18
# A preference below this is nobody's: dividing by sums of such numbers would overflow.
LEAST_PREFERENCE = 1e-20


def weights_at(
    proposal: RayProposal, grid: FeatureGrid, *, tap_count: int = TAP_COUNT, rows: slice | None = None
) -> BlendingWeights:
    """Read the weights of one operator's grid, in pixels of the target camera, from a proposal: all rows, or some.

    ``tap_count`` taps are kept per cell, the heaviest first; fewer candidates are padded with weight 0. Peak memory
    beyond proposal and result is a copy of the proposal's view weights and one block of rows, whatever the height of
    the grid. The result takes 24 bytes per cell and tap. NoOverlapError if the proposal has no source.
    """
    if not proposal.sources:
        raise NoOverlapError("A proposal without sources has no weights; select at least one source view.")
    span = range(*(rows or slice(None)).indices(grid.rows))
    order, ordered = _in_order_of_ids(proposal)
    cameras = _SourceCameras.of(ordered, order)
    centers = cell_centers(*grid.lattice)
    height = max(1, BLOCK_CANDIDATES // (4 * grid.cols * proposal.view_weight[0].numel()))
    found: list[Tensor] = []
    for start in range(span.start - span.start % height, span.stop, height):
        block = _cell_weights(ordered, cameras, centers[start : start + height].flatten(0, 1), tap_count)
        found = found or [part.new_empty(len(span) * grid.cols, *part.shape[1:]) for part in block]
        low, high = max(start, span.start), min(start + height, span.stop)
        into = slice((low - span.start) * grid.cols, (high - span.start) * grid.cols)
        wanted = slice((low - start) * grid.cols, (high - start) * grid.cols)
        for whole, part in zip(found, block, strict=True):
            whole[into] = part[wanted]
    tile = replace(grid, rows=len(span), origin_v=grid.origin_v + grid.stride_v * span.start)
    source, uv, weight, log_scale_ratio, z_depth, coverage = found
    return BlendingWeights(tile, proposal.source_ids, source, uv, weight, log_scale_ratio, z_depth, coverage)


def _in_order_of_ids(proposal: RayProposal) -> tuple[Int[Tensor, " source"], RayProposal]:
    """Put the sources in the order of their ids, so that sums and ties do not depend on the order given.

    What samples without probability say of view weights is dropped: it need not be a number.
    """
    order = sorted(range(len(proposal.sources)), key=lambda index: proposal.source_ids[index])
    view_weight = proposal.view_weight[..., order]
    view_weight[proposal.probability <= 0] = 0
    is_valid = proposal.source_is_valid
    ordered = replace(
        proposal,
        source_is_valid=None if is_valid is None else tuple(is_valid[index] for index in order),
        sources=tuple(proposal.sources[index] for index in order),
        source_ids=tuple(proposal.source_ids[index] for index in order),
        view_weight=view_weight,
        visibility=None,
    )
    return torch.tensor(order), ordered


@dataclass(frozen=True, slots=True, eq=False)
class ReadablePixels:
    """Where the sources may be read: on the image, and where a bilinear tap touches valid pixels alone.

    ``may_read`` has the pixels of all sources in a row, each source's from its ``first_pixel`` on; None if all may be
    read. Sizes are (height, width).
    """

    size: Int[Tensor, "source 2"]
    may_read: Bool[Tensor, " pixel"] | None
    first_pixel: Int[Tensor, " source"]

    @classmethod
    def of(cls, proposal: RayProposal) -> "ReadablePixels":
        """Read sizes and validity from a proposal; the order of sources is the proposal's."""
        size = torch.tensor([[source.size.height, source.size.width] for source in proposal.sources])
        count = size.prod(1)
        return cls(size, _readable(proposal.source_is_valid), count.cumsum(0) - count)

    def at(self, u: Tensor, v: Tensor, source: Int[Tensor, "*batch"] | slice = slice(None)) -> Bool[Tensor, "*batch"]:
        """Whether pixels of sources may be read; if none is named, the last axis is the source."""
        height, width, first = self.size[source, 0], self.size[source, 1], self.first_pixel[source]
        is_on_image = (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
        if self.may_read is None:
            return is_on_image
        col = torch.where(is_on_image, u, 0.0).long().minimum(width - 1)
        row = torch.where(is_on_image, v, 0.0).long().minimum(height - 1)
        return is_on_image & self.may_read[first + row * width + col]


def _readable(is_valid: tuple[Bool[Tensor, "_ _"], ...] | None) -> Bool[Tensor, " pixel"] | None:
    """Return, for all sources in a row, the pixels within which every bilinear tap reads valid pixels alone.

    A tap touches the pixel it lies in and some of its eight neighbours; beyond the border the border value holds.
    """
    if is_valid is None or all(bool(one.all()) for one in is_valid):
        return None
    invalid = [max_pool2d((~one[None, None]).float(), 3, stride=1, padding=1) for one in is_valid]
    return torch.cat([one.flatten() == 0 for one in invalid])


@dataclass(frozen=True, slots=True, eq=False)
class _SourceCameras:
    """Pixel-to-pixel maps: target pixel (u, v) at depth z is seen at ``z · slope @ (u, v, 1) + offset``.

    ``order`` says which source of the proposal as it was given each one is.
    """

    order: Int[Tensor, " source"]
    slope: Float[Tensor, "source 3 3"]
    offset: Float[Tensor, "source 3"]
    log_focal_ratio: Float[Tensor, " source"]
    readable: ReadablePixels

    @classmethod
    def of(cls, proposal: RayProposal, order: Int[Tensor, " source"]) -> "_SourceCameras":
        sources, target = proposal.sources, proposal.target
        target2source = torch.stack([source.w2c @ target.c2w for source in sources])
        K = torch.stack([source.K for source in sources])
        focal = (K[:, 0, 0] * K[:, 1, 1] / (target.K[0, 0] * target.K[1, 1])).sqrt()
        slope = K @ target2source[:, :3, :3] @ torch.linalg.inv(target.K)
        return cls(
            order=order,
            slope=slope.to(order.device),
            offset=(K @ target2source[:, :3, 3:])[..., 0].float().to(order.device),
            log_focal_ratio=focal.log().float().to(order.device),
            readable=ReadablePixels.of(proposal),
        )

    def project(
        self, uv: Float[Tensor, "cell 2"], z_depth: Float[Tensor, "cell sample"]
    ) -> tuple[
        Float[Tensor, "cell sample source"], Float[Tensor, "cell sample source"], Float[Tensor, "cell sample source"]
    ]:
        """Return u, v and depth in each source; u and v are arbitrary behind it."""
        homogeneous = torch.cat([uv.double(), torch.ones_like(uv[:, :1], dtype=torch.float64)], dim=-1)
        slope = torch.einsum("nij,cj->icn", self.slope, homogeneous).float()[:, :, None]
        x, y, z = (torch.addcmul(self.offset[:, axis], z_depth[..., None], slope[axis]) for axis in range(3))
        return x / z, y / z, z

    def is_seen(self, u: Tensor, v: Tensor, z: Tensor) -> Bool[Tensor, "cell sample source"]:
        """Whether points lie in front of a source, on its image, and where all it would be read from is valid."""
        return (z > 0) & self.readable.at(u, v)


def _cell_weights(
    proposal: RayProposal, cameras: _SourceCameras, uv: Float[Tensor, "cell 2"], tap_count: int
) -> tuple[Tensor, ...]:
    z_depth, probability, view_weight = _merge_samples(*_mixed_samples(proposal, uv))
    # 1. How much each source is preferred at a sample it sees at all.
    u, v, z = cameras.project(uv, z_depth)
    preference = torch.where(cameras.is_seen(u, v, z) & (view_weight > LEAST_PREFERENCE), view_weight, 0.0)
    total = preference.sum(-1)
    # 2. What the ray knows: coverage and expected depth, before any tap is dropped.
    seen_probability = torch.where(total > 0, probability, 0.0)
    coverage = seen_probability.sum(-1)
    is_covered = coverage > 0
    expected_z = (seen_probability * z_depth).sum(-1) / torch.where(is_covered, coverage, torch.nan)
    # 3. The heaviest candidates.
    scale = seen_probability / torch.where(total > 0, total, 1.0)
    candidate = (scale[..., None] * preference).flatten(1)
    kept, index = candidate.topk(min(tap_count, candidate.shape[1]), dim=1)
    weight = kept / torch.where(is_covered, kept.sum(-1), 1.0)[:, None]
    # 4. Where they are read.
    source, sample = index % len(cameras.order), index // len(cameras.order)
    relative_z = z.flatten(1).gather(1, index) / z_depth.gather(1, sample)
    log_scale = cameras.log_focal_ratio[source] - relative_z.log()
    uv_source = torch.stack([axis.flatten(1).gather(1, index) for axis in (u, v)], dim=-1)
    is_tap = kept > 0
    taps = (
        torch.where(is_tap, cameras.order[source], 0),
        torch.where(is_tap[..., None], uv_source, 0.0),
        weight,
        torch.where(is_tap, log_scale, 0.0),
    )
    padded = tuple(_padded(tap, tap_count) for tap in taps)
    return (*padded, expected_z, coverage.clamp(max=1.0))


def _mixed_samples(
    proposal: RayProposal, uv: Float[Tensor, "cell 2"]
) -> tuple[Float[Tensor, "cell sample"], Float[Tensor, "cell sample"], Float[Tensor, "cell sample source"]]:
    """Return the samples of the four guide cells around each pixel, probabilities times bilinear weight."""
    guide = proposal.grid
    corner, share = bilinear_corners(uv, *guide.lattice)
    probability = (proposal.probability[corner] * share[..., None]).flatten(1)
    return proposal.z_depth[corner].flatten(1), probability, proposal.view_weight[corner].flatten(1, 2)


def _merge_samples(
    z_depth: Float[Tensor, "cell sample"],
    probability: Float[Tensor, "cell sample"],
    view_weight: Float[Tensor, "cell sample source"],
) -> tuple[Float[Tensor, "cell merged"], Float[Tensor, "cell merged"], Float[Tensor, "cell merged source"]]:
    """Merge samples whose depths agree to their probability-weighted mean: smooth surfaces, sharp edges.

    View weights are summed with the same weights but not divided: only their shares in a sample matter.
    """
    # 1. Sort by depth; samples without probability go last and join whatever is there.
    is_live = probability > 0
    ordered, order = torch.where(is_live, z_depth, torch.inf).sort(dim=1)
    ordered = torch.where(torch.isinf(ordered), ordered.nan_to_num(posinf=0.0).amax(1, keepdim=True), ordered)
    # 2. A segment ends at a gap, and at every MERGE_EXTENT of a long chain.
    is_gap = ordered[:, 1:] > ordered[:, :-1] * (1 + MERGE_GAP)
    first = torch.cat([torch.zeros_like(is_gap[:, :1]), is_gap], dim=1)
    segment = first.cumsum(1)
    start = torch.full_like(ordered, torch.inf).scatter_reduce(1, segment, ordered, "amin").gather(1, segment)
    link = torch.where(start > 0, (ordered / start - 1) / MERGE_EXTENT, 0.0).floor()
    first[:, 1:] |= link[:, 1:] != link[:, :-1]
    segment = first.cumsum(1)
    # 3. Probability-weighted means per segment; as many slots as the fullest ray of these has.
    p = probability.gather(1, order)
    slots = p.new_zeros(p.shape[0], int(segment[:, -1].max()) + 1)
    merged_p = slots.scatter_add(1, segment, p)
    divisor = torch.where(merged_p > 0, merged_p, 1.0)
    merged_z = slots.scatter_add(1, segment, p * ordered) / divisor
    weighted = p[..., None] * view_weight.gather(1, order[..., None].expand_as(view_weight))
    target = segment[..., None].expand_as(weighted)
    merged_v = weighted.new_zeros(*slots.shape, weighted.shape[2]).scatter_add(1, target, weighted)
    return merged_z, merged_p, merged_v


def _padded(taps: Tensor, tap_count: int) -> Tensor:
    missing = tap_count - taps.shape[1]
    return torch.cat([taps, taps.new_zeros(taps.shape[0], missing, *taps.shape[2:])], dim=1) if missing else taps
