"""Multi-view stereo without training: a sweep of every view against its neighbours, then all views' votes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import NoOverlapError
from lift3d.geometry.cost_aggregation import guided_filter, lowest, semi_global
from lift3d.surface.catalog import SWEEP
from lift3d.surface.depth_spans import depth_span, frustum_probes
from lift3d.surface.fusion import HALF_SURE, DepthVotes, fuse, settled
from lift3d.surface.held import held
from lift3d.surface.matching import Photograph, match_quality, matching_cost
from lift3d.surface.neighbours import FUSED, MATCHED, AngleChoice, angles_to, choose_views
from lift3d.surface.pooling import corrected, pooled

# Photographs, of 33 bytes a cell, that are kept as they are matched; of more views, some are made again.
PHOTOGRAPHS = 256


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """Constants of the sweep; found on ``kitchen``, where most are flat.

    Attributes:
        matched: Which views a view's depth is searched with.
        fused: Which views' depths are fused with a view's own.
        plane_count: Planes of disparity of either sweep.
        stride_px: Finest grid of cells.
        max_cells: Largest grid; larger images get a wider stride, so that time and memory stay bounded.
        coarsening: Stride of the first sweep and of the votes, in strides of the second sweep.
        window_radius: Half width of the aggregation window in cells: 2 and 0 cost a fortieth, 0 more if views are few.
        window_epsilon: Variance of luminance of a flat window (about 3 % contrast).
        jump_penalties: Price of a step of one plane and of a jump, in units of the cost.
        edge_scale: Contrast at which a jump has lost 1/e of its extra price.
        match_costs: Cost up to which a match is as good as any, and from which it is none: photographs that fit their
            poses rarely reach 0.5, others rarely stay below 0.4.
        temperature: Cost that makes a plane e times less probable.
        tolerance: Relative difference of depths within which two views speak of one surface.
        doubtful: Share of votes under which other evidence is asked for. Photographs with their own poses reach 0.2 to
            0.9; blank or unrelated ones 0.08, those with each other's poses 0.05 to 0.21.
    """

    matched: AngleChoice = MATCHED
    fused: AngleChoice = FUSED
    plane_count: int = 40
    stride_px: float = 1.0
    max_cells: int = 20_000
    coarsening: int = 2
    window_radius: int = 1
    window_epsilon: float = 1e-3
    jump_penalties: tuple[float, float] = (0.1, 1.0)
    edge_scale: float = 0.1
    match_costs: tuple[float, float] = (0.35, 0.55)
    temperature: float = 0.1
    tolerance: float = 0.1
    doubtful: float = 0.25


class SweepGeometry:
    """Depth of all views from their photographs alone.

    A coarse sweep through the whole range finds the range of each view and which views see the same places; a fine
    one finds depth; up to 24 other views vote, on coarse cells, for the depth of each view, and settle it on fine ones,
    which takes a third of the error. Deterministic.
    """

    spec = SWEEP

    def __init__(self, config: SweepConfig | None = None) -> None:
        self.config = config or SweepConfig()

    @torch.no_grad()
    def estimate(
        self, views: Sequence[SourceGuide], depth_range: DepthRange, find_tracks: Callable[[], Tracks]
    ) -> SceneGeometry:
        """Return depth and confidence of every view; tracks are asked for in doubt.

        Memory beyond the result is three times that, the photographs used last, and a few volumes of costs of one view.

        Raises:
            NoOverlapError: If no two views see the same place from different places, or nothing in the photographs
                tells depth: they show no texture, or do not fit their poses.
        """
        # Views may be loaded when they are asked for: none is held.
        named = [(view.id, view.camera) for view in views]
        order = sorted(range(len(views)), key=lambda place: named[place][0])
        cameras = [named[place][1] for place in order]
        config = self.config
        photographs = self._photographs(views, order, config.coarsening)
        roughly, _ = self._search(cameras, photographs, [depth_range] * len(order))
        spans = [depth_span(one.z_depth, one.weight, depth_range) for one, _ in roughly]
        searched, partners = self._search(cameras, self._photographs(views, order, 1), spans)
        fine, coarse, colors = [], [], []
        for one, color in searched:
            grid = self._grid(one.camera.size, config.coarsening)
            fine.append(one)
            coarse.append(pooled(one, grid))
            colors.append(F.interpolate(color[None], size=grid.shape, mode="area")[0])
        fused = [
            fuse(own, color, [coarse[place] for place in places], config.tolerance)
            for own, color, places in zip(coarse, colors, partners, strict=True)
        ]
        share = float(torch.tensor([_evidence(one, len(at)) for one, at in zip(fused, partners, strict=True)]).median())
        if share < config.doubtful:
            _require_points(share, find_tracks)
        votes = [corrected(own, one, config.tolerance) for own, one in zip(fine, fused, strict=True)]
        settling = (
            (named[place][0], settled(own, [votes[other] for other in places], config.tolerance))
            for place, own, places in zip(order, votes, partners, strict=True)
        )
        found = held(settling, sum(one.grid.cell_count for one in votes))
        return SceneGeometry(self.spec.name, {name: found[name] for name, _ in named})

    def _photographs(
        self, views: Sequence[SourceGuide], order: Sequence[int], coarsening: int
    ) -> Callable[[int], Photograph]:
        """Return what gives the photograph of a view by its place in an order; those used last are kept."""

        @lru_cache(PHOTOGRAPHS)
        def photograph(place: int) -> Photograph:
            view = views[order[place]]
            return Photograph.of(view, self._grid(view.camera.size, coarsening))

        return photograph

    def _search(
        self, cameras: Sequence[Camera], photograph: Callable[[int], Photograph], spans: Sequence[DepthRange]
    ) -> tuple[Iterator[tuple[DepthVotes, Float[Tensor, "3 row col"]]], list[list[int]]]:
        """Return each view's own depth at one size of cells, with its colours there, and whom to fuse it with."""
        # Cameras are the host's.
        with torch.device("cpu"):
            probes = [frustum_probes(camera, span) for camera, span in zip(cameras, spans, strict=True)]
            angles = [angles_to(camera.center, one, cameras) for camera, one in zip(cameras, probes, strict=True)]
        matched, fused = (
            [choose_views(one, choice) for one in angles] for choice in (self.config.matched, self.config.fused)
        )
        if not any(matched):
            raise NoOverlapError(
                f"None of {len(cameras)} views shares a place with another that looks from elsewhere: depth cannot be "
                "told from photographs. Give depth, or photographs from more places."
            )
        votes = (
            (self._votes(photograph(own), [photograph(place) for place in places], span), photograph(own).color)
            for own, (places, span) in enumerate(zip(matched, spans, strict=True))
        )
        return votes, fused

    def _grid(self, size: ImageSize, coarsening: int) -> FeatureGrid:
        bounded = math.sqrt(size.height * size.width / self.config.max_cells)
        return FeatureGrid.covering(size, coarsening * max(self.config.stride_px, bounded))

    def _votes(self, view: Photograph, neighbours: Sequence[Photograph], span: DepthRange) -> DepthVotes:
        """Return the depth that matches a view's neighbours best, weighed by how little else does."""
        config = self.config
        if not neighbours:
            unknown = torch.tensor([torch.nan, 0.0])[:, None, None].repeat(1, *view.grid.shape)
            return DepthVotes(view.camera, view.grid, unknown)
        disparity = torch.linspace(1 / span.near, 1 / span.far, config.plane_count, dtype=torch.float64)
        cost = matching_cost(view, neighbours, disparity.float())
        cost = guided_filter(cost, view.color, config.window_radius, config.window_epsilon)
        smooth = semi_global(cost[None], view.color[None], config.jump_penalties, config.edge_scale)[0]
        place, plane = lowest(smooth)
        weight = _sureness(smooth, plane, config.temperature) * match_quality(
            cost.gather(0, plane)[0], config.match_costs
        )
        found = (disparity[0] + place * (disparity[1] - disparity[0])).float()
        both = torch.stack([1 / found, weight])
        unknown = torch.tensor([torch.nan, 0.0])[:, None, None]
        return DepthVotes(view.camera, view.grid, torch.where(view.is_valid, both, unknown))


def _evidence(view: ViewGeometry, asked: int) -> float:
    """Return the share of all views heard that vote for a view's depth, at the twentieth of its cells where most do."""
    sure = float(view.confidence.quantile(0.95))
    return HALF_SURE * sure / (1 - sure) / (1 + asked)


def _require_points(share: float, find_tracks: Callable[[], Tracks]) -> None:
    """Refuse photographs whose depths agree no better than by chance, and in which no point is found again."""
    try:
        find_tracks()
    except NoOverlapError as error:
        raise NoOverlapError(
            f"The photographs tell no depth: where views agree most, {share:.0%} of them do, and no points are found. "
            f"They may show no texture, or not fit their poses. Check the poses, or give depth. ({error})"
        ) from error


def _sureness(
    cost: Float[Tensor, "plane row col"], plane: Int[Tensor, "1 row col"], temperature: float
) -> Float[Tensor, "row col"]:
    """Return the squared probability of the three planes around one."""
    probability = torch.softmax(-cost / temperature, dim=0)
    around = torch.cat([plane - 1, plane, plane + 1]).clamp(0, len(cost) - 1)
    return probability.gather(0, around).sum(0).clamp(max=1).square()
