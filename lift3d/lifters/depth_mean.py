"""The depth-checked multi-view mean of OpenScene, between views that have depth.

Letters: a hypothesis is a depth on the ray of a target cell; a source supports it if its own depth shows a surface
there, opposes it if its depth lies behind (it looks through the surface), and is silent if something nearer hides the
place, if its depth is unknown, or if the place is outside its image.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import RayProposal, SourceGuide
from lift3d.domain.scene import DepthRange
from lift3d.errors import ConfigError, NoOverlapError
from lift3d.geometry.projection import transfer
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells
from lift3d.geometry.visibility import splat_depth
from lift3d.lifters.catalog import DEPTH_MEAN
from lift3d.lifters.protocol import Uncorrected

GUIDE_STRIDE_PX = 2.0
# Relative depth difference of one surface. OpenScene takes 0.25 of the depth, which on a desk is another object;
# consumer depth sensors err by about 1 % at 2 m, and a pixel of a slanted surface by as much again.
TOLERANCE = 0.03
# Rounds in which cells try the depths of their neighbours: closes the sieve of sparse splats and small gaps.
ROUNDS = 2
# How many cells a surface is continued into the sensors' blind spots (rims, gloss, sensor shadows).
REACH = 12
# A surface needs this many times more support than opposition.
MAJORITY = 1.5


class DepthMean(Uncorrected):
    """Mean over the sources that see the surface, by the depth of the sources alone.

    The surface is the nearest depth on the ray that the sources support by majority: candidates are the splats of
    every source and, against the sieve that splats leave, the depths of neighbouring cells. Where the sources'
    sensors are blind, the surface is continued from the surrounding cells and counts as seen by the blind sources.
    """

    spec = DEPTH_MEAN

    def propose(self, target: Camera, guides: Sequence[SourceGuide], depth_range: DepthRange) -> RayProposal:
        """Return one depth per cell, and the sources whose own depth agrees with it.

        Raises:
            NoOverlapError: If no source sees anything of the target's frustum.
            ConfigError: If a source has no depth.
        """
        if not guides:
            raise NoOverlapError("depth_mean needs at least one source view, got none.")
        depths = [_SourceDepth(target, guide) for guide in guides]
        grid = FeatureGrid.covering(target.size, GUIDE_STRIDE_PX)
        uv = cell_centers(*grid.lattice).reshape(-1, 2)
        surface = _fused_surface(depths, grid, uv)
        z_depth = _continued(surface.reshape(grid.shape))
        visibility = _visibility(depths, uv, z_depth, torch.isnan(surface))
        is_seen = visibility.sum(-1) > 0
        if not bool(is_seen.any()):
            raise NoOverlapError(f"None of {len(guides)} source views sees a surface of the target's frustum.")
        return RayProposal(
            grid=grid,
            target=target,
            sources=tuple(guide.camera for guide in guides),
            source_ids=tuple(guide.id for guide in guides),
            z_depth=torch.where(is_seen, z_depth, depth_range.near)[:, None],
            probability=is_seen.float()[:, None],
            view_weight=visibility[:, None],
        )


class _SourceDepth:
    """One source's depth as a witness for points on the target's rays."""

    def __init__(self, target: Camera, guide: SourceGuide) -> None:
        if guide.z_depth is None:
            raise ConfigError(
                f"depth_mean needs the depth of every source, '{guide.id}' has none; use plane_sweep instead.",
                view=guide.id,
            )
        self.target, self.source = (target.K, target.w2c), (guide.camera.K, guide.camera.w2c)
        self.taper = guide.taper
        self.is_valid = guide.is_valid
        self.z_depth = torch.where(guide.is_valid & (guide.z_depth > 0), guide.z_depth, torch.nan)

    def splat(self, grid: FeatureGrid) -> Float[Tensor, " cell"]:
        """Return the nearest depth of this source's surface per cell of the target, NaN where there is none."""
        height, width = self.z_depth.shape
        uv, z = transfer(cell_centers(height, width).reshape(-1, 2), self.z_depth.reshape(-1), self.source, self.target)
        return splat_depth(uv, z, *grid.lattice).reshape(-1)

    def look(
        self, uv: Float[Tensor, "cell 2"], z_depth: Float[Tensor, " cell"]
    ) -> tuple[Float[Tensor, " cell"], Bool[Tensor, " cell"]]:
        """Look at points of the target's rays.

        Returns:
            Own depth there as a multiple of the point's depth (NaN where unknown), and whether the point falls on a
            valid pixel at all.
        """
        uv_source, z_source = transfer(uv, z_depth, self.target, self.source)
        height, width = self.z_depth.shape
        pixel = nearest_cells(uv_source, height, width)
        index = pixel.clamp(min=0)
        is_on_image = (pixel >= 0) & self.is_valid.reshape(-1)[index]
        ratio = self.z_depth.reshape(-1)[index] / z_source
        return torch.where(is_on_image, ratio, torch.nan), is_on_image


def _fused_surface(
    depths: Sequence[_SourceDepth], grid: FeatureGrid, uv: Float[Tensor, "cell 2"]
) -> Float[Tensor, " cell"]:
    """Return the nearest depth per cell that the sources support by majority, NaN where there is none."""
    surface = _nearest_supported(depths, uv, torch.stack([depth.splat(grid) for depth in depths], dim=1))
    for _ in range(ROUNDS):
        surface = _nearest_supported(depths, uv, _neighbourhood(surface.reshape(grid.shape)))
    return surface


def _nearest_supported(
    depths: Sequence[_SourceDepth], uv: Float[Tensor, "cell 2"], z_depth: Float[Tensor, "cell hypothesis"]
) -> Float[Tensor, " cell"]:
    """Return the nearest supported hypothesis, moved to the mean of the surfaces that support it."""
    count = z_depth.shape[1]
    flat_uv, flat_z = uv.repeat_interleave(count, dim=0), z_depth.reshape(-1)
    support, opposition, drift = (torch.zeros_like(flat_z) for _ in range(3))
    for depth in depths:
        ratio, _ = depth.look(flat_uv, flat_z)
        agrees = (ratio - 1).abs() < TOLERANCE
        support += depth.taper * agrees
        opposition += depth.taper * (ratio > 1 + TOLERANCE)
        drift += depth.taper * torch.where(agrees, ratio - 1, 0.0)
    is_supported = (support > 0) & (support > MAJORITY * opposition)
    moved = flat_z * (1 + drift / torch.where(support > 0, support, 1.0))
    nearest = torch.where(is_supported, moved, torch.inf).reshape(z_depth.shape).amin(1)
    return torch.where(torch.isinf(nearest), torch.nan, nearest)


def _neighbourhood(surface: Float[Tensor, "row col"]) -> Float[Tensor, "cell neighbour"]:
    """Return the depths of the 3×3 cells around each cell, NaN outside."""
    padded = pad(surface, (1, 1, 1, 1), value=torch.nan)
    return padded.unfold(0, 3, 1).unfold(1, 3, 1).reshape(-1, 9)


def _continued(surface: Float[Tensor, "row col"]) -> Float[Tensor, " cell"]:
    """Return the surface continued into its holes, REACH cells far, by the mean disparity of known neighbours."""
    for _ in range(REACH):
        grown = 1 / (1 / _neighbourhood(surface)).nanmean(1)
        surface = torch.where(torch.isnan(surface), grown.reshape(surface.shape), surface)
    return surface.reshape(-1)


def _visibility(
    depths: Sequence[_SourceDepth],
    uv: Float[Tensor, "cell 2"],
    z_depth: Float[Tensor, " cell"],
    is_continued: Bool[Tensor, " cell"],
) -> Float[Tensor, "cell source"]:
    """Return the taper of each source that sees the surface, 0 for the others.

    A continued surface is also seen by the sources that are blind there, unless too many look through it.
    """
    columns, opposition = [], torch.zeros_like(z_depth)
    for depth in depths:
        ratio, is_on_image = depth.look(uv, z_depth)
        is_blind = is_continued & is_on_image & torch.isnan(ratio)
        columns.append(depth.taper * (((ratio - 1).abs() < TOLERANCE) | is_blind).float())
        opposition += depth.taper * (is_continued & (ratio > 1 + TOLERANCE))
    visibility = torch.stack(columns, dim=1)
    return visibility * (visibility.sum(1) > MAJORITY * opposition)[:, None]
