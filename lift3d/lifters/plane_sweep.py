"""The strongest lifter without training: soft depth of every source by plane sweep, and their consensus at the target.

The target's image is unknown, so photo-consistency in its own frame has no reference. Every source has one, its own
image: depth is estimated there, and the target's rays ask the sources what they pass through.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import RayProposal, SourceGuide
from lift3d.domain.scene import DepthRange
from lift3d.errors import ConfigError, NoOverlapError
from lift3d.geometry.cost_aggregation import guided_filter, semi_global
from lift3d.geometry.holes import cells_to_border
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.rays import baseline_angle, cell_centers, directions_z1, inverse_depth_planes
from lift3d.lifters.catalog import PLANE_SWEEP
from lift3d.lifters.depth_consensus import SoftDepth, agree, strongest_samples
from lift3d.lifters.photo_consistency import Descriptors, describe, matching_cost
from lift3d.lifters.protocol import Uncorrected
from lift3d.lifters.source_selection import nearest_first
from lift3d.lifters.unswept_sources import Consensus as ColorConsensus
from lift3d.lifters.unswept_sources import UnsweptSource, colors_at, unswept_visibility

# Views smoothed at once: more are hardly faster, and take ten volumes of costs each.
SIDE_BY_SIDE = 4


@dataclass(frozen=True, slots=True, eq=False)
class SourceDepthVolumes:
    """What the sources know of depth, each in its own frame, before the target's rays ask them.

    Attributes:
        guides: All sources.
        grid: The target's guide grid.
        uv: Its pixels.
        planes: Disparities, near first; the same for the target and all sources.
        swept_places: Places, in the list of guides, of the sources whose depth is searched; in the order of their ids.
        views: Those sources.
        depths: Their soft depths.
        unswept_places: Places of the other sources that see anything, in the order of their ids.
        unswept: Those sources.
    """

    target: Camera
    guides: tuple[SourceGuide, ...]
    grid: FeatureGrid
    uv: Float[Tensor, "row col 2"]
    planes: Float[Tensor, " plane"]
    swept_places: tuple[int, ...]
    views: tuple[Descriptors, ...]
    depths: tuple[SoftDepth, ...]
    unswept_places: tuple[int, ...] = ()
    unswept: tuple[UnsweptSource, ...] = ()

    def in_guide_order(
        self, of_swept: Float[Tensor, "source sample row col"], of_unswept: Float[Tensor, "unswept sample row col"]
    ) -> Float[Tensor, "guide sample row col"]:
        """Return what is known of either kind of source in the order of the guides, 0 for those that see nothing."""
        found = of_swept.new_zeros(len(self.guides), *of_swept.shape[1:])
        found[list(self.swept_places)] = of_swept
        found[list(self.unswept_places)] = of_unswept
        return found

    def proposal(
        self,
        z_depth: Float[Tensor, "sample row col"],
        probability: Float[Tensor, "sample row col"],
        view_weight: Float[Tensor, "guide sample row col"],
        visibility: Float[Tensor, "guide sample row col"],
        state: Float[Tensor, "state row col"] | None = None,
    ) -> RayProposal:
        """Return what was found on the target's rays as proposals have it, cell by cell."""
        return RayProposal(
            grid=self.grid,
            target=self.target,
            sources=tuple(guide.camera for guide in self.guides),
            source_ids=tuple(guide.id for guide in self.guides),
            z_depth=z_depth.flatten(1).T.contiguous(),
            probability=probability.flatten(1).T.contiguous(),
            view_weight=view_weight.flatten(2).permute(2, 1, 0).contiguous(),
            visibility=visibility.flatten(2).permute(2, 1, 0).contiguous(),
            state=None if state is None else state.flatten(1).T.contiguous(),
        )


@dataclass(frozen=True, slots=True)
class PlaneSweepConfig:
    """Constants of the sweep.

    Found by a coarse search (factors of 1.5 to 2) for the PSNR of twelve held-out views of four real captures at height
    192; most are flat, within 0.1 dB over such a factor. Gains and losses that are named were measured on such views.

    Attributes:
        plane_count: Planes of disparity; 96 gain 0.02 dB and cost half as much time again.
        guide_stride_px: Finest guide grid; 1.5 gains nothing and costs twice the time.
        max_cells: Largest guide grid; larger images get a wider stride, so that time and memory stay bounded.
        swept_count: Sources whose depth is searched, nearest first; any others are read where they agree with these.
            Own choice: what is measured here is measured with 8 sources.
        neighbour_count: Views that a source is matched with.
        gradient_weight: Weight of gradients against colours; without gradients 0.4 dB are lost.
        color_weight: Weight of plain brightness against colours less their local mean; without it 0.5 dB are lost.
        truncation: Summed absolute difference over the channels at which two cells simply do not match;
            half of it loses 0.5 dB, twice of it 0.1 to 0.2 dB.
        softness: Scale of the soft minimum over neighbours, in units of the cost.
        window_radius: Half width of the aggregation window in cells; without aggregation 0.4 dB are lost.
        window_epsilon: Variance of luminance of a flat window (about 3 % contrast).
        jump_penalties: Price of a step of one plane and of a jump, in units of the cost.
        edge_scale: Contrast at which a jump has lost 1/e of its extra price.
        temperature: Cost that makes a plane e times less probable.
        border_px: Over how many pixels a source fades in from its border, so that no seam shows.
        sharpening: Power of the distribution along the ray; compensates for votes that blur it.
        sample_count: Samples kept per ray.
        angle_floor: Angle in radians between target and source below which nearer is not better.
        angle_power: Sources count by (angle + floor) to this power: two or three nearest carry most of the weight.
    """

    plane_count: int = 64
    guide_stride_px: float = 2.0
    max_cells: int = 20_000
    swept_count: int = 8
    neighbour_count: int = 5
    gradient_weight: float = 2.0
    color_weight: float = 0.3
    truncation: float = 0.3
    softness: float = 0.01
    window_radius: int = 2
    window_epsilon: float = 1e-3
    jump_penalties: tuple[float, float] = (0.01, 0.12)
    edge_scale: float = 0.1
    temperature: float = 0.014
    border_px: float = 2.0
    sharpening: float = 1.5
    sample_count: int = 4
    angle_floor: float = 0.01
    angle_power: float = 2.0

    def __post_init__(self) -> None:
        if self.swept_count < 1:
            raise ConfigError(f"A plane sweep needs at least one source, got swept_count={self.swept_count}.")
        if self.plane_count < 3 or not 1 <= self.sample_count <= self.plane_count:
            raise ConfigError(
                f"A plane sweep needs at least 3 planes and between 1 and plane_count samples, got plane_count="
                f"{self.plane_count} and sample_count={self.sample_count}."
            )


class PlaneSweep(Uncorrected):
    """Depth of each source by plane sweep against its neighbours, then a soft consensus along the target's rays.

    Deterministic; the order of sources does not matter in any bit. A source without a neighbour that sees the same
    place is undecided about its depth and the others, or its own smoothness, decide.

    Source:
        Collins, CVPR 1996 (plane sweep); Penner & Zhang, SIGGRAPH Asia 2017 (soft consensus and visibility).
    """

    def __init__(self, config: PlaneSweepConfig | None = None) -> None:
        self.config = config or PlaneSweepConfig()

    spec = PLANE_SWEEP

    @torch.no_grad()
    def propose(self, target: Camera, guides: Sequence[SourceGuide], depth_range: DepthRange) -> RayProposal:
        """Return the few most probable depths per ray, and how much each source is preferred at each of them.

        Memory beyond the result is about ``12 · plane_count`` bytes per source and guide cell, and as much as four
        sources' once more for each of three more arrays while costs are smoothed. NoOverlapError if no source sees
        anything of the target's frustum.
        """
        volumes = self.depth_volumes(target, guides, depth_range)
        # 1. What the sources agree on along the target's rays.
        tapers = [view.taper for view in volumes.views]
        consensus = agree(target, volumes.uv, volumes.depths, tapers, volumes.planes)
        z_depth, probability, visibility = strongest_samples(
            consensus, volumes.planes, self.config.sample_count, self.config.sharpening
        )
        # 2. Which sources to read there: unoccluded and near in angle.
        disparity = 1 / z_depth
        of_swept = torch.tensor(tapers)[:, None, None, None] * visibility
        colors = torch.stack([colors_at(target, volumes.uv, disparity, view)[0] for view in volumes.views])
        agreed = ColorConsensus.of(colors, of_swept)
        of_unswept = unswept_visibility(target, volumes.uv, disparity, probability, agreed, volumes.unswept)
        visible = volumes.in_guide_order(of_swept, of_unswept)
        view_weight = visible.clone()
        for place in (*volumes.swept_places, *volumes.unswept_places):
            view_weight[place] *= self.preference(target, guides[place].camera, volumes.uv, z_depth)
        return volumes.proposal(z_depth, probability, view_weight, visible)

    @torch.no_grad()
    def depth_volumes(
        self, target: Camera, guides: Sequence[SourceGuide], depth_range: DepthRange
    ) -> SourceDepthVolumes:
        """Return what each source knows of its own depth; NoOverlapError if none sees anything of the target."""
        grid = self._grid(target.size)
        uv = cell_centers(*grid.lattice)
        planes = 1 / inverse_depth_planes(depth_range.near, depth_range.far, self.config.plane_count)
        # Sources that see nothing do not take part; the others stand in the order of their ids.
        seeing = [index for index, guide in enumerate(guides) if _sees(target, uv, guide, planes)]
        seeing.sort(key=lambda index: guides[index].id)
        if not seeing:
            raise NoOverlapError(f"None of {len(guides)} source views sees anything of the target's frustum.")
        nearest = nearest_first(target, [guides[index].camera for index in seeing], depth_range)
        swept = {seeing[place] for place in nearest[: self.config.swept_count]}
        near, far = (tuple(i for i in seeing if (i in swept) is wanted) for wanted in (True, False))
        views, others = (tuple(self._describe(guides[index]) for index in of) for of in (near, far))
        unswept = tuple(UnsweptSource(view, self._confidence(view)) for view in others)
        depths = self._soft_depths(views, planes, depth_range)
        return SourceDepthVolumes(target, tuple(guides), grid, uv, planes, near, views, depths, far, unswept)

    def _grid(self, size: ImageSize) -> FeatureGrid:
        bounded = math.sqrt(size.height * size.width / self.config.max_cells)
        return FeatureGrid.covering(size, max(self.config.guide_stride_px, bounded))

    def _describe(self, guide: SourceGuide) -> Descriptors:
        return describe(guide, self._grid(guide.camera.size), self.config.gradient_weight, self.config.color_weight)

    def _soft_depths(
        self, views: Sequence[Descriptors], planes: Float[Tensor, " plane"], depth_range: DepthRange
    ) -> tuple[SoftDepth, ...]:
        """Return each source's distribution of depth; those of one size are smoothed side by side."""
        config = self.config
        costs = [self._cost(view, views, planes, depth_range) for view in views]
        for shape in dict.fromkeys(cost.shape for cost in costs):
            alike = [place for place, cost in enumerate(costs) if cost.shape == shape]
            for start in range(0, len(alike), SIDE_BY_SIDE):
                group = alike[start : start + SIDE_BY_SIDE]
                smooth = semi_global(
                    torch.stack([costs[place] for place in group]),
                    torch.stack([views[place].color for place in group]),
                    config.jump_penalties,
                    config.edge_scale,
                )
                for place, one in zip(group, smooth, strict=True):
                    costs[place] = one
        return tuple(
            SoftDepth.from_cost(view.camera, cost, config.temperature, self._confidence(view))
            for view, cost in zip(views, costs, strict=True)
        )

    def _cost(
        self, view: Descriptors, views: Sequence[Descriptors], planes: Float[Tensor, " plane"], depth_range: DepthRange
    ) -> Float[Tensor, "plane row col"]:
        """Return how badly one source matches its neighbours, averaged over windows."""
        config = self.config
        others = [other for other in views if other is not view]
        nearest = nearest_first(view.camera, [other.camera for other in others], depth_range)
        neighbours = [others[place] for place in nearest[: config.neighbour_count]]
        cost = matching_cost(view, neighbours, planes, config.truncation, config.softness)
        return guided_filter(cost, view.color, config.window_radius, config.window_epsilon)

    def _confidence(self, view: Descriptors) -> Float[Tensor, "row col"]:
        """Return how much each cell of a source counts: 0 where invalid, rising to 1 away from the border."""
        fade_cells = max(self.config.border_px / view.grid.stride_u, 0.5)
        # A cell that touches the border has its centre half a cell inside.
        return ((cells_to_border(view.is_valid) - 0.5) / fade_cells).clamp(0, 1)

    def preference(
        self,
        target: Camera,
        source: Camera,
        uv: Float[Tensor, "row col 2"],
        z_depth: Float[Tensor, "sample row col"],
    ) -> Float[Tensor, "sample row col"]:
        """Return the angular preference for a source at points of the target's rays, 1 for an angle of 0.

        Source:
            Buehler et al., Unstructured lumigraph rendering, SIGGRAPH 2001, §4.2 (penalty of angular deviation).
        """
        points = z_depth[..., None] * directions_z1(uv, target.K)
        source_center = (target.w2c @ source.c2w)[:3, 3]
        angle = baseline_angle(points.reshape(-1, 3), torch.zeros(3), source_center).reshape(z_depth.shape)
        floor = self.config.angle_floor
        preference: Tensor = (floor / (angle + floor)) ** self.config.angle_power
        return preference


def _sees(target: Camera, uv: Float[Tensor, "row col 2"], guide: SourceGuide, planes: Float[Tensor, " plane"]) -> bool:
    """Whether any guide cell of the target, on any plane, falls on the source's image."""
    sweep = Sweep.between(uv, target, guide.camera)
    # Rays move steadily through an image: every fourth plane finds any overlap that is worth having.
    at, _ = sweep.at(planes[::4, None, None])
    return bool((at.abs() <= 1).all(-1).any()) and bool(guide.is_valid.any())
