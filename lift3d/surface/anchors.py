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
from lift3d.geometry.sampling import bilinear_corners, nearest_cells, taken
from lift3d.surface.confidence import place_evidence
from lift3d.surface.culling import Asked
from lift3d.surface.depth_map import EDGE, DepthMap
from lift3d.surface.look import Look, is_cut
from lift3d.surface.owners import owners
from lift3d.surface.scene_surface import SceneSurface

# Pixels per guide cell: who sees a surface changes more slowly than where it is.
GUIDE_STRIDE_PX = 2.0
# A surface that no view sees through is half covered if it is so sure that it is there.
UNSURE = 0.15
# Coverage of what no view shows, where views are read as if the surface went on from its surroundings: as good as none.
GUESSED = 1e-3
# Taps whose places are computed at once: all that is looked up for them stays in the caches.
_TILE_TAPS = 2**15


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
    may_answer = torch.tensor([*map(set(sources).__contains__, surface.ids)])
    z_depth = depth.at(uv)
    asked = surface.asked(camera, uv, z_depth, is_allowed=may_answer)
    look = surface.look(camera, uv, z_depth, asked).only(may_answer[asked.views])
    is_empty = is_cut(look) | torch.isinf(z_depth)
    shown = look.shown * look.confidence * ~is_empty[:, None]
    is_shown = (shown > 0).any(1)
    is_gap = ~is_shown & ~is_empty
    depth = _continued(depth, grid, is_shown, is_gap)
    z_depth = depth.at(uv)
    answering = asked.among_all(shown.clone())
    answering[is_gap] = _open_to(surface, camera, uv[is_gap], z_depth[is_gap], may_answer)
    most = max(1, int((answering > 0).sum(1).max()))
    weight, witness = _heaviest(answering, min(witness_count, most))
    owner, owner_weight = owners(look, asked, answering, surface.keyframes, z_depth.reshape(grid.shape))
    support, against = (asked.among_all(one).sum(1) for one in (shown, look.passed * look.confidence))
    coverage = support.square() / (support.square() + against.square() + UNSURE**2)
    coverage = torch.where(is_shown, coverage.clamp(min=2 * GUESSED), GUESSED * (answering > 0).any(1))
    evidence = _evidence(look, asked, shown, against, surface.tolerance)
    by_cell = (z_depth, witness, weight, coverage, evidence, owner.short(), owner_weight)
    return AnchoredTarget(camera, depth, grid, *by_cell, surface)


def _open_to(
    surface: SceneSurface,
    camera: Camera,
    uv: Float[Tensor, "point 2"],
    z_depth: Float[Tensor, " point"],
    may_answer: Bool[Tensor, " view"],
) -> Float[Tensor, "point view"]:
    """Return 1 for each view that may show a point which none does."""
    asked = surface.asked(camera, uv, z_depth, is_allowed=may_answer, may_be_hidden=True)
    look = surface.look(camera, uv, z_depth, asked).only(may_answer[asked.views])
    return asked.among_all(look.is_open.float())


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
    look: Look, asked: Asked, surety: Float[Tensor, "cell asked"], against: Float[Tensor, " cell"], tolerance: float
) -> Float[Tensor, " cell"]:
    support = asked.among_all(surety).sum(1)
    off = tolerance * look.beyond.clamp(-2, 2).nan_to_num(0.0)
    spread = (asked.among_all(surety * off.square()).sum(1) / torch.where(support > 0, support, 1.0)).sqrt()
    count = asked.among_all(torch.where(surety > 0, look.shown, 0.0)).sum(1)
    return place_evidence(count, support, against, spread)


def _heaviest(weight: Float[Tensor, "cell view"], count: int) -> tuple[Tensor, Tensor]:
    """Return the largest weights of each cell, with sum 1 (or 0 where there are none), and whose they are."""
    kept, index = weight.topk(count, dim=1)
    total = kept.sum(1, keepdim=True)
    return kept / torch.where(total > 0, total, 1.0), index.short()


def consensus_weights(target: AnchoredTarget, grid: FeatureGrid, tap_count: int) -> BlendingWeights:
    """Return weights over all witnesses at the cells of a grid, the surest ``tap_count`` of them."""
    z_depth, guide = _at(target, grid)
    witness, weight = target.witness[:, :tap_count], target.weight[:, :tap_count]
    return weights_of(target, grid, z_depth, witness, weight, guide)


def ballots(target: AnchoredTarget, grid: FeatureGrid, tap_count: int) -> BlendingWeights:
    """Return weights by which witnesses vote at the cells of a grid: how far each shows the place, and nothing else.

    A network is no surer of what a thing is where a sensor is surer of how far away it is.
    """
    uv = cell_centers(*target.grid.lattice).reshape(-1, 2)
    asked = target.surface.asked(target.camera, uv, target.z_depth)
    shown = asked.among_all(target.surface.look(target.camera, uv, target.z_depth, asked).shown)
    shown = shown.gather(1, target.witness.long())
    votes = torch.where(target.is_shown[:, None] & (target.weight > 0), shown, target.weight)
    return consensus_weights(replace(target, weight=votes), grid, tap_count)


def evidence_at(target: AnchoredTarget, grid: FeatureGrid) -> Float[Tensor, "row col"]:
    """Return the evidence of the surface at the cells of a grid."""
    return target.evidence[_at(target, grid)[1]].reshape(grid.shape)


def owner_weights(target: AnchoredTarget, grid: FeatureGrid) -> BlendingWeights:
    """Return weights that read each cell from the views that own it, the heaviest first."""
    z_depth, guide = _at(target, grid)
    return weights_of(target, grid, z_depth, target.owner, target.owner_weight, guide)


def guide_cells(target: AnchoredTarget, grid: FeatureGrid) -> Int[Tensor, " cell"]:
    """Return the guide cell whose witnesses answer at each cell of a grid."""
    return _at(target, grid)[1]


def _at(target: AnchoredTarget, grid: FeatureGrid) -> tuple[Float[Tensor, " cell"], Int[Tensor, " cell"]]:
    """Return depth of the cells of a grid, and the nearest covered guide cell of the same surface."""
    if grid in target._places:
        return target._places[grid]
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    z_depth = target.depth.at(uv)
    corner, share = bilinear_corners(uv, *target.grid.lattice)
    is_alike = (taken(target.z_depth, corner) / z_depth[:, None] - 1).abs() < EDGE
    preferred = (share + 1e-6) * torch.where(is_alike, 1.0, 1e-3) * taken(target.coverage > 0, corner)
    target._places[grid] = z_depth, corner.gather(1, preferred.argmax(1, keepdim=True))[:, 0]
    return target._places[grid]


def weights_of(
    target: AnchoredTarget,
    grid: FeatureGrid,
    z_depth: Float[Tensor, " cell"],
    source: Int[Tensor, "row tap"],
    weight: Float[Tensor, "row tap"],
    row: Int[Tensor, " cell"],
    tap_depth: Float[Tensor, "cell tap"] | None = None,
) -> BlendingWeights:
    """Return what reads views at the cells of a grid, each by its row of sources and weights.

    It reads at the depth of the cell, unless its taps have their own.
    """
    uv, taps = cell_centers(*grid.lattice).reshape(-1, 2), source.shape[1]
    is_used = _is_used(source, weight, len(target.view_ids))
    slope, offset = (of_views[is_used] for of_views in target.surface.maps_of(target.camera))
    number = (is_used.cumsum(0) - 1).clamp(min=0)
    whose = torch.empty(len(uv), taps, dtype=torch.long)
    at, kept = torch.empty(len(uv), taps, 2), torch.empty(len(uv), taps)
    tile = max(1, _TILE_TAPS // taps)
    for start in range(0, len(uv), tile):
        cells = slice(start, start + tile)
        own, depth = row[cells], z_depth[cells, None] if tap_depth is None else tap_depth[cells]
        view, share = taken(source, own).long(), taken(weight, own)
        at[cells], kept[cells] = _read_at(slope, offset, uv[cells], number[view], share, depth)
        whose[cells] = view.masked_fill_(kept[cells] == 0, 0)
    coverage = torch.where(kept.sum(1) > 0, target.coverage[_at(target, grid)[1]], 0.0)
    z_depth = torch.where(coverage > GUESSED, z_depth, torch.nan)
    unasked = torch.full((1, 1), torch.nan).expand_as(kept)
    return BlendingWeights(grid, target.view_ids, whose, at, kept, unasked, z_depth, coverage)


def _read_at(
    slope: Float[Tensor, "view 3 3"],
    offset: Float[Tensor, "view 3"],
    uv: Float[Tensor, "cell 2"],
    source: Int[Tensor, "cell tap"],
    weight: Float[Tensor, "cell tap"],
    depth: Float[Tensor, " cell #tap"],
) -> tuple[Float[Tensor, "cell tap 2"], Float[Tensor, "cell tap"]]:
    """Return where taps read, and their weights with sum 1, or 0 where no tap is in front of its view."""
    count = len(slope)
    rays = (torch.cat([uv, torch.ones_like(uv[:, :1])], dim=1) @ slope.flatten(0, 1).T).reshape(-1, 3)
    # Each ray and offset is one row, of which a tap takes three numbers that lie together.
    ray = source + torch.arange(0, len(uv) * count, count)[:, None]
    xyz = torch.addcmul(taken(offset, source), taken(rays, ray), depth[..., None])
    z = xyz[..., 2]
    is_tap = (weight > 0) & (z > 0)
    per_z = torch.where(is_tap, 1 / z, 0.0)
    kept = torch.where(is_tap, weight, 0.0)
    total = kept.sum(1, keepdim=True)
    return xyz[..., :2] * per_z[..., None], kept / torch.where(total > 0, total, 1.0)


def _is_used(source: Int[Tensor, "row tap"], weight: Float[Tensor, "row tap"], count: int) -> Bool[Tensor, " view"]:
    return torch.zeros(count).index_add_(0, source.flatten().int(), weight.flatten()) > 0


def used_sources(weights: BlendingWeights) -> BlendingWeights:
    """Return the same weights with only the sources that they use."""
    is_used = _is_used(weights.source, weights.weight, len(weights.source_ids))
    used = [place for place, one in enumerate(is_used.tolist()) if one]
    if not used:
        return weights
    renumbered = is_used.cumsum(0) - 1
    source = torch.where(weights.weight > 0, renumbered[weights.source], 0)
    return replace(weights, source=source, source_ids=tuple(weights.source_ids[one] for one in used))
