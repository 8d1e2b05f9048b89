"""Weights that do not depend on who looks: which views show the surface in a target's cell, and which one owns it.

Letters: a guide cell is a cell of the target for which the views are asked; a witness is a view that shows the
surface there.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.holes import fill_from_nearest
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import bilinear_corners, nearest_cells
from lift3d.surface.confidence import place_evidence
from lift3d.surface.depth_map import EDGE, DepthMap
from lift3d.surface.owners import owners
from lift3d.surface.scene_surface import Look, SceneSurface, is_cut

# Pixels per guide cell: who sees a surface changes more slowly than where it is.
GUIDE_STRIDE_PX = 2.0
# A surface that no view sees through is half covered if it is so sure that it is there.
UNSURE = 0.15
# Coverage of what no view shows, where views are read as if the surface went on from its surroundings: as good as none.
GUESSED = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class AnchoredTarget:
    """The surface as a target sees it.

    Attributes:
        camera: Of the target.
        depth: Where the surface is; where no view shows any, where it would be if it went on from its surroundings.
        grid: Guide grid.
        z_depth: At guide cells.
        witness: Indices of views that show the surface there, the surest first; where none does, of those that might.
        weight: Of each witness, 0 for what is none; rows sum to 1, or to 0 where nothing is known.
        coverage: S² / (S² + P²), by the confidence S of the views that show the surface there and P of those that see
            through it: a half where they are even. GUESSED where no view shows any.
        evidence: Of the surface being there, in [0, 1] (``confidence.place_evidence``).
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
    owner: Int[Tensor, "cell owner"]
    owner_weight: Float[Tensor, "cell owner"]
    surface: SceneSurface
    # Found once for all operators that have a grid.
    _places: dict[FeatureGrid, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def view_ids(self) -> tuple[ViewId, ...]:
        """What indices refer to."""
        return self.surface.ids

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """Of the views."""
        return tuple(view.camera for view in self.surface.views)

    @property
    def is_shown(self) -> Bool[Tensor, " cell"]:
        """Guide cells whose surface some view shows."""
        return self.coverage > GUESSED


def anchored_target(
    surface: SceneSurface, camera: Camera, depth: DepthMap, sources: Collection[ViewId], witness_count: int
) -> AnchoredTarget:
    """Ask views of the surface for what a target sees: ``sources`` may answer, ``witness_count`` per cell at most."""
    grid = FeatureGrid.covering(camera.size, GUIDE_STRIDE_PX)
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    may_answer = torch.tensor([name in sources for name in surface.ids])
    z_depth = depth.at(uv)
    look = surface.look(camera, uv, z_depth).only(may_answer)
    is_empty = is_cut(look) | torch.isinf(z_depth)
    shown = look.shown * look.confidence * ~is_empty[:, None]
    is_shown = (shown > 0).any(1)
    is_gap = ~is_shown & ~is_empty
    depth = _continued(depth, grid, is_shown, is_gap)
    z_depth = depth.at(uv)
    answering = shown.clone()
    answering[is_gap] = surface.look(camera, uv[is_gap], z_depth[is_gap]).only(may_answer).is_open.float()
    most = max(1, int((answering > 0).sum(1).max()))
    weight, witness = _heaviest(answering, min(witness_count, most))
    owner, owner_weight = owners(look, answering, surface.keyframes, z_depth.reshape(grid.shape))
    support, against = shown.sum(1), (look.passed * look.confidence).sum(1)
    coverage = support.square() / (support.square() + against.square() + UNSURE**2)
    coverage = torch.where(is_shown, coverage.clamp(min=2 * GUESSED), GUESSED * (answering > 0).any(1))
    evidence = _evidence(look, shown, against, surface.tolerance)
    by_cell = (z_depth, witness, weight, coverage, evidence, owner.short(), owner_weight)
    return AnchoredTarget(camera, depth, grid, *by_cell, surface)


def _continued(
    depth: DepthMap, grid: FeatureGrid, is_shown: Bool[Tensor, " cell"], is_gap: Bool[Tensor, " cell"]
) -> DepthMap:
    """Return the depth with that of the nearest cells that are shown in gaps."""
    cell = nearest_cells(cell_centers(*depth.grid.lattice).reshape(-1, 2), *grid.lattice)
    is_known, to_fill = (flags[cell].reshape(depth.grid.shape) for flags in (is_shown, is_gap))
    if not bool(to_fill.any()):
        return depth
    filled = fill_from_nearest(depth.z_depth[None], is_known & torch.isfinite(depth.z_depth))[0]
    return DepthMap(depth.grid, torch.where(to_fill, filled, depth.z_depth))


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


def owner_weights(target: AnchoredTarget, grid: FeatureGrid) -> BlendingWeights:
    """Return weights that read each cell from the views that own it, the heaviest first."""
    z_depth, guide = _at(target, grid)
    return weights_of(target, grid, z_depth, target.owner[guide].long(), target.owner_weight[guide])


def _at(target: AnchoredTarget, grid: FeatureGrid) -> tuple[Float[Tensor, " cell"], Int[Tensor, " cell"]]:
    """Return depth of the cells of a grid, and the nearest covered guide cell of the same surface."""
    if grid in target._places:
        return target._places[grid]
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    z_depth = target.depth.at(uv)
    corner, share = bilinear_corners(uv, *target.grid.lattice)
    is_alike = (target.z_depth[corner] / z_depth[:, None] - 1).abs() < EDGE
    preferred = (share + 1e-6) * torch.where(is_alike, 1.0, 1e-3) * (target.coverage > 0)[corner]
    target._places[grid] = z_depth, corner.gather(1, preferred.argmax(1, keepdim=True))[:, 0]
    return target._places[grid]


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
    slope, offset = target.surface.maps_of(target.camera)
    rays = (slope @ torch.cat([uv.T, torch.ones_like(uv[:, 0])[None]])).permute(1, 0, 2).flatten(1)
    # Numbers lie apart by axis: each is looked up by one index.
    ray = source * len(uv) + torch.arange(len(uv))[:, None]
    x, y, z_source = (torch.addcmul(offset[:, axis].take(source), rays[axis].take(ray), tap_depth) for axis in range(3))
    is_tap = (weight > 0) & (z_source > 0)
    per_z = torch.where(is_tap, 1 / z_source, 0.0)
    at = torch.stack([x * per_z, y * per_z], dim=-1)
    ratio = target.z_depth.new_tensor(_log_focal_ratios(target))[source] - (z_source / tap_depth).log()
    kept = torch.where(is_tap, weight, 0.0)
    total = kept.sum(1, keepdim=True)
    is_covered = total[:, 0] > 0
    coverage = torch.where(is_covered, target.coverage[_at(target, grid)[1]], 0.0)
    return BlendingWeights(
        grid,
        target.view_ids,
        torch.where(is_tap, source, 0),
        at,
        kept / torch.where(total > 0, total, 1.0),
        torch.where(is_tap, ratio, 0.0),
        torch.where(coverage > GUESSED, z_depth, torch.nan),
        coverage,
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
