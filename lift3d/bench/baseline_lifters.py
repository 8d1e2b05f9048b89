"""The baselines themselves: a copy of the nearest view, and ``lift3d`` without parts of its second stage."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.bench.baselines import NEAREST_VIEW
from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import RayProposal, SourceGuide
from lift3d.domain.scene import DepthRange
from lift3d.errors import NoOverlapError
from lift3d.geometry.projection import transfer
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells
from lift3d.lifters.corrective import Lift3D
from lift3d.lifters.protocol import Uncorrected
from lift3d.lifters.source_selection import view_costs

# A plane needs few rays; the grid only carries which pixels of the sources are valid.
GUIDE_STRIDE_PX = 4.0


class SharedWeights(Uncorrected, Lift3D):
    """Stage I alone: every operator is blended as colours are."""


class SeparateWeights(Lift3D):
    """Stage I and weights of their own for features, without the residual."""

    _has_residual = False


class NearestView(Uncorrected):
    """Every cell copies the nearest view that sees it on a plane parallel to the target's image.

    "Nearest" is the order of ``source_selection.view_costs``. The plane stands at the geometric mean of the depth
    range, so it moves with the scale of the scene. No other view gets any weight, whatever the tapers.
    """

    spec = NEAREST_VIEW

    def propose(self, target: Camera, guides: Sequence[SourceGuide], depth_range: DepthRange) -> RayProposal:
        """Return the plane, and for each cell the nearest source that sees it.

        Raises:
            NoOverlapError: If there is no source, or none sees the plane.
        """
        if not guides:
            raise NoOverlapError("The nearest view needs at least one source view, got none.")
        grid = FeatureGrid.covering(target.size, GUIDE_STRIDE_PX)
        z_depth = torch.full((grid.cell_count,), (depth_range.near * depth_range.far) ** 0.5)
        sees = _sees_plane(target, guides, grid, z_depth)
        if not bool(sees.any()):
            raise NoOverlapError(f"None of {len(guides)} source views sees the plane at z-depth {z_depth[0]:.4g}.")
        costs = view_costs(target, [guide.camera for guide in guides], depth_range).tolist()
        order = sorted(range(len(guides)), key=lambda index: (costs[index], guides[index].id))
        nearest = sees[:, order].float().argmax(1)
        view_weight = torch.nn.functional.one_hot(torch.tensor(order)[nearest], len(guides)) * sees
        return RayProposal(
            grid=grid,
            target=target,
            sources=tuple(guide.camera for guide in guides),
            source_ids=tuple(guide.id for guide in guides),
            z_depth=z_depth[:, None],
            probability=torch.ones(grid.cell_count, 1),
            view_weight=view_weight[:, None].float(),
        )


def _sees_plane(
    target: Camera, guides: Sequence[SourceGuide], grid: FeatureGrid, z_depth: Float[Tensor, " cell"]
) -> Float[Tensor, "cell source"]:
    """Return 1 where the point of the plane falls on a valid pixel of the source."""
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    columns = []
    for guide in guides:
        uv_source, _ = transfer(uv, z_depth, (target.K, target.w2c), (guide.camera.K, guide.camera.w2c))
        height, width = guide.is_valid.shape
        pixel = nearest_cells(uv_source, height, width)
        columns.append((pixel >= 0) & guide.is_valid.reshape(-1)[pixel.clamp(min=0)])
    return torch.stack(columns, dim=1).float()
