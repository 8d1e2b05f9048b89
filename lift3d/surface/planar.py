"""A surface whose parts without texture are planes, wherever photographs agree with planes better than with it.

Planes are proposed among points that are known roughly, each is moved to where the photographs agree with it best,
every cell takes the plane that they agree with most, and planes that explain little go: twice.

Source:
    Alternation of proposals, labels and fits: Isack & Boykov, Energy-based geometric multi-model fitting, IJCV 2012;
    planes for untextured parts: Furukawa et al., Manhattan-world stereo, CVPR 2009, here in any direction and without
    an optimiser of labels, since costs are averaged along the image.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.geometry.cost_aggregation import guided_filter
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import transform
from lift3d.surface.catalog import PLANAR
from lift3d.surface.depth_spans import depth_span, frustum_probes
from lift3d.surface.free_space import WHOLE
from lift3d.surface.held import held
from lift3d.surface.neighbours import AngleChoice, angles_to, choose_views
from lift3d.surface.plane_alignment import TRUNCATION, Photo, Places, aligned
from lift3d.surface.planes import Plane, largest_plane
from lift3d.surface.protocol import GeometryMethod, GeometrySpec
from lift3d.surface.sweep import SweepGeometry
from lift3d.surface.texture import averaged, texturedness

# Light falls off along a wall: wide angles tell more of it than those of stereo.
_COMPARED = AngleChoice(5.0, 12.0, 30.0, 8)
# Confidence times texture from which on a cell keeps its depth.
_SURE = 0.3
# Planes that are proposed at once, at most, share of the points without a plane that one must hold, points looked at,
# and how far a point may be from its plane, relative to its depth.
_PROPOSED, _LEAST_HELD, _POINTS, _REACH = 6, 0.01, 20_000, 0.05
# Cells of a view, and of all, that a plane is aligned by.
_CELLS, _FEWEST_CELLS = 100, 200
# Views by which planes are found, at most.
ASKED_VIEWS = 64
# Cost of log depth that differs from what is known roughly, before planes are aligned and after, up to a difference;
# what it costs to be on no plane.
_ROUGHLY, _AFTER, _APART, _NO_PLANE = 0.02, 0.005, 0.25, 0.0005
# The least mean gain of a plane that stays, and the share of the cost of what is known that it may have in the end.
_LEAST_GAIN, _BETTER = 0.0005, 0.7
# Windows, in cells, that costs are averaged in, and the variance of luminance of a flat one.
_RADIUS, _EPSILON = 6, 1e-4
_SUREST = 0.9


class PlanarGeometry:
    """What a method finds, stereo by default, with planes in place of what has no texture."""

    def __init__(self, spec: GeometrySpec = PLANAR, inner: GeometryMethod | None = None) -> None:
        self.spec = spec
        self._inner = inner or SweepGeometry()

    @torch.no_grad()
    def estimate(
        self, views: Sequence[SourceGuide], depth_range: DepthRange, find_tracks: Callable[[], Tracks]
    ) -> SceneGeometry:
        """Return depth and confidence of every view, and a note on planes; errors are those of the inner method.

        Memory beyond the inner method's is 24 bytes a cell of all views and, of 64 views at most, 4 a plane.
        """
        rough = self._inner.estimate(views, depth_range, find_tracks)
        places = {view.id: place for place, view in enumerate(views)}
        order = sorted(places)
        scene = _Scene.of([views[places[name]] for name in order], [rough.views[name] for name in order], depth_range)
        planes = scene.planes()
        if not planes:
            return SceneGeometry(self.spec.name, rough.views, rough.notes)
        cell_count = sum(one.grid.cell_count for one in rough.views.values())
        held_by = Counter[bool]()
        found = held(zip(order, scene.on_planes(planes, held_by), strict=True), cell_count)
        share = held_by[True] / max(held_by.total(), 1)
        count = "a plane" if len(planes) == 1 else f"{len(planes)} planes"
        note = f"{share:.0%} of what has no texture lies on {count} that the photographs agree with."
        return SceneGeometry(self.spec.name, {name: found[name] for name in rough.views}, (*rough.notes, note))


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """All views, what is known of each roughly, and which cells planes may explain; views by which planes are found."""

    photos: Sequence[Photo]
    rough: Sequence[ViewGeometry]
    is_plain: Sequence[Bool[Tensor, "row col"]]
    asked: Sequence[int]

    @classmethod
    def of(cls, views: Sequence[SourceGuide], rough: Sequence[ViewGeometry], depth_range: DepthRange) -> "_Scene":
        cameras = [one.camera for one in rough]
        photos, is_plain = [], []
        for view, one in zip(views, rough, strict=True):
            is_valid = averaged(view.is_valid[None].float(), one.grid)[0] > WHOLE
            is_sure = torch.isfinite(one.z_depth) & (one.confidence * texturedness(view.image, one.grid) > _SURE)
            span = depth_span(one.z_depth, one.confidence, depth_range)
            with torch.device("cpu"):
                angles = angles_to(one.camera.center, frustum_probes(one.camera, span), cameras)
            partners = choose_views(angles, _COMPARED)
            color = torch.where(is_valid, averaged(view.image, one.grid), torch.nan)
            photos.append(Photo(one.camera, one.grid, color, one.z_depth, is_valid & is_sure, partners))
            is_plain.append(is_valid & ~is_sure & ~torch.isinf(one.z_depth) if partners else torch.zeros_like(is_valid))
        # A view without partners, or without plain cells, tells nothing of planes.
        asked = [own for own, plain in enumerate(is_plain) if bool(plain.any())]
        return cls(photos, rough, is_plain, asked[:: max(1, -(-len(asked) // ASKED_VIEWS))])

    def planes(self) -> list[Plane]:
        """Return the planes that explain cells of the views that are asked."""
        if not self.asked:
            return []
        generator = torch.Generator("cpu").manual_seed(0)
        is_plain = [self.is_plain[own] for own in self.asked]
        labels = [torch.full(one.shape, -1) for one in is_plain]
        planes: list[Plane] = []
        costs: list[Float[Tensor, "plane_and_none row col"]] = []
        for apart in (_ROUGHLY, _AFTER):
            fresh = self._proposed(labels, generator)
            if not fresh:
                break
            tried = [*planes, *fresh]
            costs = [self._costs(own, tried, apart) for own in self.asked]
            labels = _chosen(costs, range(len(tried)), is_plain)
            moved = self._aligned(tried, labels, len(planes))
            if not moved:
                return []
            costs = [self._costs(own, moved, _AFTER) for own in self.asked]
            kept = _worthwhile(costs, len(moved), is_plain)
            planes, labels = [moved[number] for number in kept], _chosen(costs, kept, is_plain)
            costs = [one[[*kept, -1]] for one in costs]
        return [plane for number, plane in enumerate(planes) if _is_better(number, costs, labels)]

    def on_planes(self, planes: Sequence[Plane], held_by: Counter[bool]) -> Iterator[ViewGeometry]:
        """Yield the views with planes where they explain more, and count the plain cells on planes and on none."""
        for own, (photo, rough, is_plain) in enumerate(zip(self.photos, self.rough, self.is_plain, strict=True)):
            if not bool(is_plain.any()):
                yield rough
                continue
            costs = self._costs(own, planes, _AFTER)
            (label,) = _chosen([costs], range(len(planes)), [is_plain])
            is_on = label >= 0
            held_by.update({True: int(is_on.sum()), False: int((is_plain & ~is_on).sum())})
            uv = cell_centers(*photo.grid.lattice).to(photo.color)
            disparity = torch.stack([plane.disparity(photo.camera, uv) for plane in planes])
            z_depth = 1 / disparity.gather(0, label.clamp(min=0)[None])[0]
            cost = costs.gather(0, label.clamp(min=0)[None])[0]
            sureness = (1 - cost / TRUNCATION).clamp(1 - _SUREST, _SUREST)
            yield ViewGeometry(
                photo.camera,
                photo.grid,
                torch.where(is_on, z_depth, rough.z_depth),
                torch.where(is_on, sureness, rough.confidence),
            )

    def _proposed(self, labels: Sequence[Int[Tensor, "row col"]], generator: torch.Generator) -> list[Plane]:
        """Return the largest planes among cells that are on none yet, one after the other."""
        xyz, weight, reach, total = [], [], [], 0.0
        for own, label in zip(self.asked, labels, strict=True):
            rough = self.rough[own]
            is_known = self.is_plain[own] & torch.isfinite(rough.z_depth) & (rough.confidence > 0)
            total += float(rough.confidence[is_known].sum())
            is_open = is_known & (label < 0)
            z = rough.z_depth[is_open].double().cpu()
            uv = cell_centers(*rough.grid.lattice).to(is_open.device)[is_open].double().cpu()
            rays = directions_z1(uv, rough.camera.K)
            xyz.append(transform(rough.camera.c2w, rays * z[:, None]))
            weight.append(rough.confidence[is_open].double().cpu())
            reach.append(_REACH * z)
        every = sum(map(len, xyz))
        step = max(1, -(-every // _POINTS))
        points, weights, reaches = (torch.cat(one)[::step] for one in (xyz, weight, reach))
        planes: list[Plane] = []
        while len(planes) < _PROPOSED:
            plane = largest_plane(points, weights, reaches, generator)
            if plane is None:
                break
            off = (points @ torch.from_numpy(plane.normal) - plane.offset).abs()
            if step * float(weights[off < reaches].sum()) < _LEAST_HELD * total:
                break
            planes.append(plane)
            # A band around it would only be found again.
            is_left = off > 1.5 * reaches
            points, weights, reaches = points[is_left], weights[is_left], reaches[is_left]
        return planes

    def _costs(self, own: int, planes: Sequence[Plane], apart: float) -> Float[Tensor, "plane_and_none row col"]:
        """Return the cost of each plane in the cells of a view, and last that of what is known roughly."""
        photo, z_depth = self.photos[own], self.rough[own].z_depth
        uv = cell_centers(*photo.grid.lattice).to(photo.color)
        disparity = torch.stack([plane.disparity(photo.camera, uv) for plane in planes])
        known = torch.where(torch.isfinite(z_depth), 1 / z_depth, 0.0)
        costs = Places.of(self.photos, own).cost(torch.cat([disparity, known[None]]))
        off = (disparity.clamp(min=1e-12) * z_depth).log().abs().nan_to_num(0.0).clamp(max=_APART)
        costs = torch.cat([costs[:-1] + apart * off, costs[-1:] + _NO_PLANE])
        mean = guided_filter(costs, photo.color.nan_to_num(0.0), _RADIUS, _EPSILON)
        is_met = torch.cat([disparity, torch.ones_like(known)[None]]) > 0
        return torch.where(is_met, mean, torch.inf)

    def _aligned(self, planes: Sequence[Plane], labels: Sequence[Int[Tensor, "row col"]], known: int) -> list[Plane]:
        """Return planes that have enough cells, each where the photographs agree with it best; the first are known."""
        chosen: list[list[Places]] = [[] for _ in planes]
        for own, label in zip(self.asked, labels, strict=True):
            places = Places.of(self.photos, own)
            for number, its in enumerate(chosen):
                # With a cell more, since an outline tells most.
                is_on = F.max_pool2d((label == number)[None].float(), 3, 1, 1)[0] > 0
                cells = torch.nonzero(is_on.flatten())[:, 0]
                if len(cells):
                    its.append(places.at(cells[:: -(-len(cells) // _CELLS)]))
        return [
            aligned(plane, its, is_new=number >= known)
            for number, (plane, its) in enumerate(zip(planes, chosen, strict=True))
            if sum(one.uv.shape[1] for one in its) >= _FEWEST_CELLS
        ]


def _chosen(
    costs: Sequence[Float[Tensor, "plane_and_none row col"]],
    planes: Sequence[int],
    is_plain: Sequence[Bool[Tensor, "row col"]],
) -> list[Int[Tensor, "row col"]]:
    """Return which of some planes costs least in each cell, by its place among them; −1 for none."""
    found = []
    for one, may_be in zip(costs, is_plain, strict=True):
        least = one[[*planes, -1]].min(0).indices
        found.append(torch.where(may_be & (least < len(planes)), least, -1))
    return found


def _is_better(
    number: int,
    costs: Sequence[Float[Tensor, "plane_and_none row col"]],
    labels: Sequence[Int[Tensor, "row col"]],
) -> bool:
    """Return whether photographs agree much better with a plane, in its own cells, than with what is known."""
    own, known = (
        torch.cat([one[place][label == number] for one, label in zip(costs, labels, strict=True)]).mean()
        for place in (number, -1)
    )
    return bool(own < _BETTER * known)


def _worthwhile(
    costs: Sequence[Float[Tensor, "plane_and_none row col"]], count: int, is_plain: Sequence[Bool[Tensor, "row col"]]
) -> list[int]:
    """Return the planes without which their cells would cost more: those that gain least go, one after the other."""
    # Of plain cells alone.
    flat = torch.cat([one[:, may_be] for one, may_be in zip(costs, is_plain, strict=True)], dim=1)
    kept = list(range(count))
    while kept:
        ranked = flat[[*kept, -1]].sort(0)
        gain, best = ranked.values[1] - ranked.values[0], ranked.indices[0]
        sums = torch.zeros(len(kept) + 1).to(gain).index_add_(0, best, gain)[:-1]
        sizes = torch.bincount(best, minlength=len(kept) + 1)[:-1]
        gains = torch.where(sizes >= _FEWEST_CELLS, sums / sizes.clamp(min=1), 0.0)
        worst = int(gains.argmin())
        if float(gains[worst]) >= _LEAST_GAIN:
            break
        del kept[worst]
    return kept
