"""Weights that do not depend on who looks: which views show the surface in a target's cell, and which one owns it.

Letters: a guide cell is a cell of the target for which the views are asked; a witness is a view that shows the
surface there.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import bilinear_corners
from lift3d.surface.confidence import place_evidence
from lift3d.surface.depth_map import EDGE, DepthMap
from lift3d.surface.owners import owners
from lift3d.surface.scene_surface import Look, SceneSurface, is_cut, pixel_maps

# Pixels per guide cell: who sees a surface changes more slowly than where it is.
GUIDE_STRIDE_PX = 2.0
# Keyframes that answer for a point at most, and what other witnesses weigh beside them.
KEYFRAME_COUNT, NO_KEYFRAME = 12, 1e-4
# A surface that no view sees through is half covered if it is so sure that it is there.
UNSURE = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class AnchoredTarget:
    """The surface as a target sees it.

    Attributes:
        camera: Of the target.
        depth: Where the surface is.
        grid: Guide grid.
        z_depth: At guide cells.
        witness: Indices of views that show the surface there, the surest first.
        weight: Of each witness, 0 for what is none; rows sum to 1, or to 0 where nothing is known.
        coverage: S² / (S² + P²), by the confidence S of the views that show the surface there and P of those that see
            through it: a half where they are even.
        evidence: Of the surface being there, in [0, 1] (``confidence.place_evidence``).
        keyframe: Indices of the keyframes among the witnesses; where none shows the surface, of the surest others.
        keyframe_weight: Of each of them, as ``weight``. The mean of few views is the same for whoever looks, where that
            of the surest of many hangs on small differences; and it is less blurred.
        owner: Indices of the views that own the surface there, the heaviest first (``owners.owners``).
        owner_weight: Of each of them, as ``weight``.
        surface: Whose views indices refer to.
    """

    camera: Camera
    depth: DepthMap
    grid: FeatureGrid
    z_depth: Float[Tensor, " cell"]
    witness: Int[Tensor, "cell witness"]
    weight: Float[Tensor, "cell witness"]
    coverage: Float[Tensor, " cell"]
    evidence: Float[Tensor, " cell"]
    keyframe: Int[Tensor, "cell keyframe"]
    keyframe_weight: Float[Tensor, "cell keyframe"]
    owner: Int[Tensor, "cell owner"]
    owner_weight: Float[Tensor, "cell owner"]
    surface: SceneSurface

    @property
    def view_ids(self) -> tuple[ViewId, ...]:
        """What indices refer to."""
        return self.surface.ids

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """Of the views."""
        return tuple(view.camera for view in self.surface.views)

    @property
    def covered(self) -> Bool[Tensor, " cell"]:
        """Guide cells whose surface some view shows."""
        return self.weight.sum(1) > 0


def anchored_target(
    surface: SceneSurface, camera: Camera, depth: DepthMap, sources: Collection[ViewId], witness_count: int
) -> AnchoredTarget:
    """Ask views of the surface for what a target sees: ``sources`` may answer, ``witness_count`` per cell at most."""
    grid = FeatureGrid.covering(camera.size, GUIDE_STRIDE_PX)
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    z_depth = depth.at(uv)
    look = surface.look(camera, uv, z_depth).only(torch.tensor([name in sources for name in surface.ids]))
    surety = look.shown * look.confidence * ~is_cut(look)[:, None]
    most = max(1, int((surety > 0).sum(1).max()))
    weight, witness = _heaviest(surety, min(witness_count, most))
    is_key = torch.zeros(len(surface.views)).index_fill(0, torch.tensor(surface.keyframes), 1.0)
    keyframe_weight, keyframe = _heaviest(surety * (is_key + NO_KEYFRAME), min(KEYFRAME_COUNT, most))
    against = (look.passed * look.confidence).sum(1)
    owner, owner_weight = owners(look, surety, surface.keyframes, z_depth.reshape(grid.shape))
    support = surety.sum(1)
    coverage = support.square() / (support.square() + against.square() + UNSURE**2)
    evidence = _evidence(look, surety, against, surface.tolerance)
    by_cell = (z_depth, witness, weight, coverage, evidence, keyframe, keyframe_weight, owner.short(), owner_weight)
    return AnchoredTarget(camera, depth, grid, *by_cell, surface)


def _evidence(
    look: Look, surety: Float[Tensor, "cell view"], against: Float[Tensor, " cell"], tolerance: float
) -> Float[Tensor, " cell"]:
    support = surety.sum(1)
    off = tolerance * look.beyond.clamp(-2, 2).nan_to_num(0.0)
    spread = ((surety * off.square()).sum(1) / torch.where(support > 0, support, 1.0)).sqrt()
    return place_evidence(torch.where(surety > 0, look.shown, 0.0).sum(1), support, against, spread)


def _heaviest(weight: Float[Tensor, "cell view"], count: int) -> tuple[Tensor, Tensor]:
    """Return the largest weights of each cell, with sum 1 (or 0 where there are none), and whose they are."""
    kept, index = weight.topk(count, dim=1)
    total = kept.sum(1, keepdim=True)
    return kept / torch.where(total > 0, total, 1.0), index.short()


def consensus_weights(target: AnchoredTarget, grid: FeatureGrid, tap_count: int) -> BlendingWeights:
    """Return weights over all witnesses at the cells of a grid, the surest ``tap_count`` of them."""
    z_depth, guide = _at(target, grid)
    witness, weight = target.witness[:, :tap_count], target.weight[:, :tap_count]
    return weights_of(target, grid, z_depth, witness[guide].long(), weight[guide])


def evidence_at(target: AnchoredTarget, grid: FeatureGrid) -> Float[Tensor, "row col"]:
    """Return the evidence of the surface at the cells of a grid."""
    return target.evidence[_at(target, grid)[1]].reshape(grid.shape)


def keyframe_weights(target: AnchoredTarget, grid: FeatureGrid) -> BlendingWeights:
    """Return weights over the keyframes that show what lies in the cells of a grid."""
    z_depth, guide = _at(target, grid)
    return weights_of(target, grid, z_depth, target.keyframe[guide].long(), target.keyframe_weight[guide])


def owner_weights(target: AnchoredTarget, grid: FeatureGrid) -> BlendingWeights:
    """Return weights that read each cell from the views that own it, the heaviest first."""
    z_depth, guide = _at(target, grid)
    return weights_of(target, grid, z_depth, target.owner[guide].long(), target.owner_weight[guide])


def _at(target: AnchoredTarget, grid: FeatureGrid) -> tuple[Float[Tensor, " cell"], Int[Tensor, " cell"]]:
    """Return depth of the cells of a grid, and the nearest covered guide cell of the same surface."""
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    z_depth = target.depth.at(uv)
    corner, share = bilinear_corners(uv, *target.grid.lattice)
    is_alike = (target.z_depth[corner] / z_depth[:, None] - 1).abs() < EDGE
    preferred = (share + 1e-6) * torch.where(is_alike, 1.0, 1e-3) * target.covered[corner]
    return z_depth, corner.gather(1, preferred.argmax(1, keepdim=True))[:, 0]


def weights_of(
    target: AnchoredTarget,
    grid: FeatureGrid,
    z_depth: Float[Tensor, " cell"],
    source: Int[Tensor, "cell tap"],
    weight: Float[Tensor, "cell tap"],
    tap_depth: Float[Tensor, "cell tap"] | None = None,
) -> BlendingWeights:
    """Return what reads views at the cells of a grid: at the depth of each cell unless taps have their own."""
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    tap_depth = z_depth[:, None] if tap_depth is None else tap_depth
    slope, offset = (one.float() for one in pixel_maps(target.camera, target.cameras))
    rays = (slope @ torch.cat([uv.T, torch.ones_like(uv[:, 0])[None]])).permute(0, 2, 1)
    cell = torch.arange(len(uv))[:, None]
    point = tap_depth[..., None] * rays[source, cell] + offset[source]
    z_source = point[..., 2]
    is_tap = (weight > 0) & (z_source > 0)
    at = torch.where(is_tap[..., None], point[..., :2] / z_source[..., None], 0.0)
    ratio = target.z_depth.new_tensor(_log_focal_ratios(target))[source] - (z_source / tap_depth).log()
    kept = torch.where(is_tap, weight, 0.0)
    total = kept.sum(1, keepdim=True)
    is_covered = total[:, 0] > 0
    return BlendingWeights(
        grid,
        target.view_ids,
        torch.where(is_tap, source, 0),
        at,
        kept / torch.where(total > 0, total, 1.0),
        torch.where(is_tap, ratio, 0.0),
        torch.where(is_covered, z_depth, torch.nan),
        torch.where(is_covered, target.coverage[_at(target, grid)[1]], 0.0),
    )


def _log_focal_ratios(target: AnchoredTarget) -> list[float]:
    own = target.camera.K[0, 0] * target.camera.K[1, 1]
    return [float((one.K[0, 0] * one.K[1, 1] / own).sqrt().log()) for one in target.cameras]


def used_sources(weights: BlendingWeights) -> BlendingWeights:
    """Return the same weights with only the sources that they use."""
    used = torch.unique(weights.source[weights.weight > 0])
    if not len(used):
        return weights
    renumbered = torch.zeros(len(weights.source_ids), dtype=torch.long)
    renumbered[used] = torch.arange(len(used))
    source = torch.where(weights.weight > 0, renumbered[weights.source], 0)
    return replace(weights, source=source, source_ids=tuple(weights.source_ids[one] for one in used.tolist()))
