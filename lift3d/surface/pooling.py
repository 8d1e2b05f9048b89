"""From depth on fine cells to votes on coarse ones, at a quarter of the cost, and back.

Letters: a cell lies in the coarse cell that its centre is in.
"""

import torch
import torch.nn.functional as F

from lift3d.domain.features import FeatureGrid
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells, taken
from lift3d.surface.fusion import DepthVotes


def pooled(fine: DepthVotes, grid: FeatureGrid) -> DepthVotes:
    """Return what a view says on coarse cells: in each, the depth of its surest cell."""
    at = nearest_cells(cell_centers(*fine.grid.lattice), *grid.lattice).flatten()
    known = torch.isfinite(fine.z_depth).flatten() & (at >= 0)
    # One past the last coarse cell takes what is unknown.
    at = torch.where(known, at, grid.cell_count)
    weight = torch.zeros(grid.cell_count + 1).scatter_reduce_(0, at, fine.weight.flatten(), "amax")
    # Of several that are as sure, the farthest: one of them, whatever the device.
    depth = torch.where(known & (fine.weight.flatten() == weight[at]), fine.z_depth.flatten(), 0.0)
    z_depth = torch.zeros(grid.cell_count + 1).scatter_reduce_(0, at, depth, "amax")[:-1].reshape(grid.shape)
    is_known = z_depth > 0
    weight = torch.where(is_known, weight[:-1].reshape(grid.shape), 0.0)
    return DepthVotes(fine.camera, grid, torch.stack([torch.where(is_known, z_depth, torch.nan), weight]))


def corrected(fine: DepthVotes, fused: ViewGeometry, tolerance: float) -> DepthVotes:
    """Return a view's own depth where it is near what all views agree on around there, else the latter.

    Around are 3×3 coarse cells, so that edges stay where the view itself found them.
    """
    agreed = torch.where(torch.isfinite(fused.z_depth), 1 / fused.z_depth, 0.0)
    around = F.pad(agreed[None], (1, 1, 1, 1), mode="replicate")[0].unfold(0, 3, 1).unfold(1, 3, 1).flatten(2)
    at = nearest_cells(cell_centers(*fine.grid.lattice), *fused.grid.lattice).clamp(min=0)
    own = torch.where(torch.isfinite(fine.z_depth), 1 / fine.z_depth, 0.0)
    is_upheld = ((taken(around.flatten(0, 1), at) - own[..., None]).abs().amin(-1) < tolerance * own) & (own > 0)
    disparity = torch.where(is_upheld, own, taken(agreed.flatten(), at))
    weight = torch.where(is_upheld, fine.weight, taken(fused.confidence.flatten(), at))
    is_known = disparity > 0
    z_depth = torch.where(is_known, 1 / disparity, torch.nan)
    both = torch.stack([z_depth, torch.where(is_known, weight, 0.0)])
    return DepthVotes(fine.camera, fine.grid, both)
