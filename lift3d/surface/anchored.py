"""The lifter that reads the scene's surface."""

from collections.abc import Sequence

import torch

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import RayProposal, SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.errors import NoOverlapError
from lift3d.geometry.rays import cell_centers
from lift3d.lifters.catalog import ANCHORED
from lift3d.lifters.protocol import Uncorrected
from lift3d.surface.anchors import GUIDE_STRIDE_PX, AnchoredTarget, anchored_target
from lift3d.surface.catalog import build_geometry
from lift3d.surface.depth_map import DepthMap
from lift3d.surface.keyframes import keyframes
from lift3d.surface.render import coarser, render_depth
from lift3d.surface.scene_surface import SceneSurface, SeenSurface

# Pixels per guide cell of a target: its depth is put together from all views, so that finer cells are worth it.
TARGET_STRIDE_PX = 1.0
# A view that is less sure of its depth is contradicted: of four that look there, three see through it.
LEAST_CONFIDENCE = 0.25


class Anchored(Uncorrected):
    """Every witness of a surface point weighs by how well it sees it, whoever looks."""

    spec = ANCHORED

    def anchor(
        self, surface: SceneSurface, target: Camera, sources: Sequence[ViewId], witness_count: int
    ) -> AnchoredTarget:
        """Return what a target sees of a surface: its own depth there if it is one of the views, else a rendered one.

        ``sources`` may answer; of them ``witness_count`` are kept per cell at most. NoOverlapError if none of them
        shows anything that the target sees.
        """
        found = anchored_target(surface, target, self._depth(surface, target), sources, witness_count)
        if not bool(found.is_shown.any()):
            raise NoOverlapError(f"None of {len(sources)} views shows any surface that the target sees.")
        return found

    def _depth(self, surface: SceneSurface, target: Camera) -> DepthMap:
        # A view that knows nothing itself is shown what the others know.
        own = surface.view_of(target)
        if own is not None:
            return _completed(surface, own)
        return render_depth(surface, target, TARGET_STRIDE_PX)

    def propose(self, target: Camera, guides: Sequence[SourceGuide], depth_range: DepthRange) -> RayProposal:
        """Return one depth per cell and its witnesses, on the surface that the given views alone show.

        NoOverlapError if they show nothing that the target sees.
        """
        if not guides:
            raise NoOverlapError("anchored needs at least one source view, got none.")
        method = "sensor" if all(guide.z_depth is not None for guide in guides) else "sweep"
        geometry = build_geometry(method).estimate(guides, depth_range, _no_tracks)
        surface = SceneSurface.of(geometry)
        surface = SceneSurface(surface.method, surface.views, keyframes(surface))
        found = self.anchor(surface, target, surface.ids, len(guides))
        taper = torch.tensor([one.taper for one in sorted(guides, key=lambda one: one.id)])
        view_weight = torch.zeros(len(found.weight), len(guides)).scatter_(1, found.witness.long(), found.weight)
        return RayProposal(
            grid=found.grid,
            target=target,
            sources=found.cameras,
            source_ids=found.view_ids,
            z_depth=torch.where(found.is_shown, found.z_depth, depth_range.near)[:, None],
            probability=found.is_shown.float()[:, None],
            view_weight=(view_weight * taper)[:, None],
        )


def _completed(surface: SceneSurface, view: SeenSurface) -> DepthMap:
    """Return a view's own depth, and what all views together show where it is blind or contradicted."""
    is_unsure = torch.isnan(view.z_depth) | (view.confidence < LEAST_CONFIDENCE)
    if not bool(is_unsure.any()):
        return DepthMap(view.grid, view.z_depth)
    stride_px = max(GUIDE_STRIDE_PX, view.grid.stride_u)
    wanted = coarser(is_unsure, FeatureGrid.covering(view.camera.size, stride_px))
    rendered = render_depth(surface, view.camera, stride_px, wanted)
    shown = rendered.at(cell_centers(*view.grid.lattice).reshape(-1, 2)).reshape(view.grid.shape)
    return DepthMap(view.grid, torch.where(is_unsure & ~torch.isnan(shown), shown, view.z_depth))


def _no_tracks() -> Tracks:
    raise NoOverlapError("No surface point of these views is known.")
