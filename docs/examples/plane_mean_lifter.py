"""A lifter in one file: the scene is a plane, and all views that see a spot of it vote alike."""

import torch

from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import RayProposal
from lift3d.errors import NoOverlapError
from lift3d.geometry.projection import transfer
from lift3d.geometry.rays import cell_centers
from lift3d.lifters.protocol import LifterSpec

SPEC = LifterSpec(
    name="plane_mean",
    stage_version=1,
    summary="Mean over all views, warped by a plane in the middle of the depth range.",
)


class PlaneMean:
    """Say where the surface is along each ray, and which sources see it; weights, blend and decoder follow."""

    spec = SPEC

    def propose(self, target, guides, depth_range):
        """Return one sample per ray, on the plane."""
        grid = FeatureGrid.covering(target.size, 4.0)
        z_depth = torch.full((grid.cell_count,), (depth_range.near * depth_range.far) ** 0.5)
        uv = cell_centers(grid.rows, grid.cols, (grid.stride_u, grid.stride_v)).reshape(-1, 2)
        sees = torch.stack([_sees(uv, z_depth, target, guide) for guide in guides], dim=1)
        if not bool(sees.any()):
            raise NoOverlapError(f"None of {len(guides)} source views sees the plane.")
        return RayProposal(
            grid=grid,
            target=target,
            sources=tuple(guide.camera for guide in guides),
            source_ids=tuple(guide.id for guide in guides),
            z_depth=z_depth[:, None],
            probability=torch.ones(grid.cell_count, 1),
            view_weight=sees[:, None].float(),
        )

    def correct(self, proposal, weights, sources, guide=None):
        """Features have no weights of their own."""
        return weights


def _sees(uv, z_depth, target, guide):
    at, z_source = transfer(uv, z_depth, (target.K, target.w2c), (guide.camera.K, guide.camera.w2c))
    size = torch.tensor([guide.camera.size.width, guide.camera.size.height])
    return (z_source > 0) & ((at > 0) & (at < size)).all(dim=-1)
