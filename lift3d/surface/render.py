"""Depth of any camera: it sees the nearest layer of views' cells that other views do not see through.

Letters: a splat is a view's cell, fallen into a cell of the camera; a layer are splats of nearly one depth.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells, taken
from lift3d.surface.depth_map import DepthMap
from lift3d.surface.scene_surface import VIEWS_AT_ONCE, SceneSurface

# Layers tried per ray, nearest first.
MOST_LAYERS = 4
# Views that show a layer must be at least this many times those that see through it.
LEAST_SHARE = 1.0
# A layer needs this much confidence behind it: less than one view that is sure.
LEAST_SUPPORT = 0.3
# Views that are heard of each of so many by so many parts of the image, chosen until no one adds so much of a part.
# Means of views are as exact as their number's root: a whole picture takes as many as are as exact as those of EXACT.
PARTS, SHOWN_BY, LEAST_GAIN, EXACT = 8, 2.0, 0.25, 0.03
# Parts of the image, along either side, and how many of them around what is wanted may have a part in it.
TILES, MARGIN = 64, 4
# How fast views are heard later with the angle to the camera, radians.
NEAR_RAD, NEAR_POWER = 0.02, 4.0
# Cells into which nothing fell are asked for on a grid so many times coarser.
COARSER = 2
# Cells around one into which nothing fell, from which surfaces may go on into it.
REACH = 5


def render_depth(
    surface: SceneSurface, camera: Camera, stride_px: float, wanted: Bool[Tensor, "row col"] | None = None
) -> DepthMap:
    """Return depth of a camera, NaN where no view sees anything; only cells that are ``wanted`` need be right.

    The layer is found on cells as wide as those of the views, so that no gap between splats lets the ray through. Its
    depth is then the mean of its splats on cells of ``stride_px``, and that of the layer where none fell.
    """
    grid = FeatureGrid.covering(camera.size, stride_px)
    enough = SHOWN_BY * (1 if wanted is not None else (surface.tolerance / EXACT) ** 2)
    wanted = torch.ones(grid.shape, dtype=torch.bool) if wanted is None else wanted
    surface = surface.part(_shown_by(surface, camera, wanted, enough))
    if not surface.views:
        return DepthMap(grid, torch.full(grid.shape, torch.nan))
    finest = min(min(view.grid.stride_u, view.grid.stride_v) for view in surface.views)
    splats = _Splats.of(surface, camera, stride_px, wanted)
    coarse = FeatureGrid.covering(camera.size, max(stride_px, finest))
    layer = _layer(surface, camera, splats, coarse, coarser(wanted, coarse))
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    around = layer.at(uv)
    cell = nearest_cells(splats.uv, *grid.lattice)
    is_layer = (cell >= 0) & ((splats.z / around[cell.clamp(min=0)] - 1).abs() < surface.tolerance)
    cell, weight = cell[is_layer], splats.weight[is_layer]
    total = torch.zeros(grid.cell_count).index_add_(0, cell, weight)
    mean = torch.zeros(grid.cell_count).index_add_(0, cell, weight * splats.z[is_layer]) / total
    return DepthMap(grid, torch.where(total > 0, mean, around).reshape(grid.shape))


@dataclass(frozen=True, slots=True, eq=False)
class _Splats:
    """Cells of all views that fall on or around what a camera wants: where, how deep, and how much each counts."""

    uv: Float[Tensor, "splat 2"]
    z: Float[Tensor, " splat"]
    weight: Float[Tensor, " splat"]

    @classmethod
    def of(cls, surface: SceneSurface, camera: Camera, stride_px: float, wanted: Bool[Tensor, "row col"]) -> "_Splats":
        slope, offset = surface.maps_to(camera)
        tiles = FeatureGrid(TILES, TILES, camera.size.width / TILES, camera.size.height / TILES)
        is_near = _dilated(coarser(wanted, tiles), MARGIN).flatten()
        focal2 = torch.tensor([float(view.camera.K[0, 0] * view.camera.K[1, 1]) for view in surface.views])
        share = float(camera.K[0, 0] * camera.K[1, 1]) / focal2
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for block in _alike(surface):
            grid = surface.views[block[0]].grid
            # Cells much narrower than those asked for are more than it takes.
            step = max(1, int(stride_px / grid.stride_u))
            pixel = cell_centers(*grid.lattice)[::step, ::step].reshape(-1, 2).T
            own, sure = (
                torch.stack([getattr(surface.views[one], name)[::step, ::step] for one in block]).flatten(1)
                for name in ("z_depth", "confidence")
            )
            ray = slope[block] @ torch.cat([pixel, torch.ones_like(pixel[:1])])
            x, y, z = torch.addcmul(offset[block, :, None], ray, own[:, None]).unbind(1)
            u, v = x / z, y / z
            is_on_image = (z > 0) & (u >= 0) & (u < camera.size.width) & (v >= 0) & (v < camera.size.height)
            tile = torch.where(is_on_image, (v / tiles.stride_v).floor() * TILES + (u / tiles.stride_u).floor(), 0.0)
            kept = torch.nonzero((is_on_image & taken(is_near, tile.long())).flatten())[:, 0]
            u, v, z, own, sure = (one.flatten()[kept] for one in (u, v, z, own, sure))
            # A cell that is seen from nearer is one of many on the same surface.
            shares = share[block][kept // len(pixel[0])] * (own / z).square()
            found.append((torch.stack([u, v], dim=1), z, sure * shares.clamp(max=1)))
        return cls(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def only(self, kept: Int[Tensor, " kept"]) -> "_Splats":
        return _Splats(*(taken(one, kept) for one in (self.uv, self.z, self.weight)))


def _alike(surface: SceneSurface) -> list[list[int]]:
    """Return blocks of views that follow one another and have one grid, as many as are worth it."""
    blocks: list[list[int]] = []
    for place, view in enumerate(surface.views):
        if blocks and len(blocks[-1]) < VIEWS_AT_ONCE and surface.views[blocks[-1][0]].grid == view.grid:
            blocks[-1].append(place)
        else:
            blocks.append([place])
    return blocks


def _shown_by(surface: SceneSurface, camera: Camera, wanted: Bool[Tensor, "row col"], enough: float) -> list[int]:
    """Return views of which enough show each part of the image in which something is wanted, chosen greedily.

    Those that look most nearly as the camera does come first: what others show beside an outline lies on its far side.
    """
    parts = FeatureGrid(PARTS, PARTS, camera.size.width / PARTS, camera.size.height / PARTS)
    kept = surface.falling_on(camera)
    if not kept:
        return []
    index = slice(None) if len(kept) == len(surface.views) else torch.tensor(kept)
    slope, offset = (of_views[index] for of_views in surface.maps_to(camera))
    places = slope @ surface.sparse[index] + offset[..., None]
    x, y, z = places.unbind(1)
    cell = nearest_cells(torch.stack([x / z, y / z], dim=-1), *parts.lattice)
    is_shown = (z > 0) & (cell >= 0)
    count = torch.zeros(len(kept), parts.cell_count)
    count.scatter_add_(1, cell.clamp(min=0), is_shown.float())
    left = enough * _dilated(coarser(wanted, parts), 1).flatten().float()
    preferred = _nearness(camera, surface.centers_in(camera)[index], places, is_shown)
    # One view after the other is chosen: no work for a device, which is waited for once.
    both = torch.cat(
        [torch.cat([count / count.amax(0).clamp(min=1), preferred[:, None]], 1), F.pad(left, (0, 1))[None]]
    )
    both = both.cpu()
    shown, preferred, left = both[:-1, :-1], both[:-1, -1], both[-1, :-1]
    chosen: list[int] = []
    while True:
        gain = torch.minimum(shown, left).sum(1)
        gain[chosen] = 0
        gain[gain <= LEAST_GAIN] = 0
        if not bool(gain.any()):
            return [kept[place] for place in chosen]
        best = int((preferred * gain).argmax())
        chosen.append(best)
        left = (left - shown[best]).clamp(min=0)


def _nearness(
    camera: Camera,
    centers: Float[Tensor, "view 3"],
    places: Float[Tensor, "view 3 point"],
    is_shown: Bool[Tensor, "view point"],
) -> Float[Tensor, " view"]:
    """Return the preference for views by their median angle to the camera at places that both see, 1 for none."""
    points = torch.linalg.inv(camera.K).to(places) @ places
    to_view = centers[..., None] - points
    cosine = -(to_view * points).sum(1) * (to_view.square().sum(1) * points.square().sum(1)).rsqrt()
    angle = torch.where(is_shown, cosine.clamp(-1, 1).arccos(), torch.nan).nanmedian(1).values
    return (1 + angle.nan_to_num(math.pi) / NEAR_RAD) ** -NEAR_POWER


def _layer(
    surface: SceneSurface, camera: Camera, splats: _Splats, grid: FeatureGrid, wanted: Bool[Tensor, "row col"]
) -> DepthMap:
    """Return the depth of the nearest layer per cell that views show rather than see through, in wanted cells."""
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    cells = nearest_cells(splats.uv, *grid.lattice)
    depth = torch.full((grid.cell_count,), torch.nan)
    behind = torch.zeros(grid.cell_count)
    likely = _Likely(surface, camera, uv)
    # On the image's very edge a place may be rounded into no cell. What lies around may go on into a wanted one.
    near = torch.nonzero((cells >= 0) & _dilated(wanted, REACH // 2).flatten()[cells])[:, 0]
    splats, cells = splats.only(near), cells[near]
    left = splats
    for _ in range(MOST_LAYERS):
        still = torch.nonzero(torch.isnan(depth)[cells] & (left.z > taken(behind, cells)))[:, 0]
        left, cells = left.only(still), cells[still]
        if not len(cells):
            break
        found = nearest_layer(cells, left.z, left.weight, grid.cell_count, surface.tolerance)
        is_asked = torch.nonzero(torch.isfinite(found))[:, 0]
        shown, passed = likely.ask(is_asked, found[is_asked])
        is_seen = (shown >= LEAST_SUPPORT) & (shown >= LEAST_SHARE * passed)
        depth[is_asked[is_seen]] = found[is_asked[is_seen]]
        behind = torch.where(torch.isfinite(found), found * (1 + surface.tolerance), behind)
    is_gap = torch.isnan(depth) & wanted.flatten()
    if bool(is_gap.any()) and min(grid.shape) > COARSER and grid.stride_u < camera.size.width / 8:
        coarse = FeatureGrid.covering(camera.size, grid.stride_u * COARSER)
        # Depth is read between cells.
        around = _dilated(coarser(is_gap.reshape(grid.shape), coarse), 1)
        wide = _layer(surface, camera, splats, coarse, around).at(uv)
        for guess in (wide, *_around(depth.reshape(grid.shape))):
            is_asked = torch.nonzero(is_gap & torch.isfinite(guess))[:, 0]
            likely.ask(is_asked, guess[is_asked])
        depth = torch.where(torch.isnan(depth), likely.z_depth, depth)
    return DepthMap(grid, depth.reshape(grid.shape))


def coarser(flags: Bool[Tensor, "row col"], grid: FeatureGrid) -> Bool[Tensor, "coarse_row coarse_col"]:
    """Return which cells of another grid of the image have any of the flags in them."""
    return F.adaptive_max_pool2d(flags.float()[None], grid.shape)[0] > 0


def _dilated(flags: Bool[Tensor, "row col"], by: int) -> Bool[Tensor, "row col"]:
    return F.max_pool2d(flags.float()[None], 2 * by + 1, 1, by)[0] > 0


class _Likely:
    """Of the depths that were asked for at cells, that which most views show rather than see through."""

    def __init__(self, surface: SceneSurface, camera: Camera, uv: Float[Tensor, "cell 2"]) -> None:
        self._surface, self._camera, self._uv = surface, camera, uv
        self.z_depth = torch.full((len(uv),), torch.nan)
        self._share = torch.full((len(uv),), -1.0)

    def ask(
        self, cells: Int[Tensor, " cell"], z_depth: Float[Tensor, " cell"]
    ) -> tuple[Float[Tensor, " cell"], Float[Tensor, " cell"]]:
        """Return by how much views show depths at cells, and see through them."""
        look = self._surface.look(self._camera, self._uv[cells], z_depth)
        shown, passed = (look.shown * look.confidence).sum(1), (look.passed * look.confidence).sum(1)
        share = shown / (shown + passed + LEAST_SUPPORT)
        better = cells[share > self._share[cells]]
        is_better = share > self._share[cells]
        self.z_depth[better], self._share[better] = z_depth[is_better], share[is_better]
        return shown, passed


def _around(z_depth: Float[Tensor, "row col"]) -> tuple[Float[Tensor, " cell"], Float[Tensor, " cell"]]:
    """Return the farthest and the nearest depth around each cell."""
    far = F.max_pool2d(z_depth.nan_to_num(-torch.inf)[None], REACH, 1, REACH // 2)
    near = -F.max_pool2d(-z_depth.nan_to_num(torch.inf)[None], REACH, 1, REACH // 2)
    return far.flatten(), near.flatten()


def nearest_layer(
    cells: Int[Tensor, " splat"],
    z_depth: Float[Tensor, " splat"],
    weights: Float[Tensor, " splat"],
    count: int,
    tolerance: float,
) -> Float[Tensor, " cell"]:
    """Return, per cell, the mean depth of the nearest splat and of all within the tolerance of it; NaN without one."""
    nearest = torch.full((count,), torch.inf).scatter_reduce(0, cells, z_depth, "amin")
    reach = nearest
    for _ in range(2):
        # First the splats that reach from the nearest one, then those around their mean.
        low = torch.where(reach == nearest, nearest, reach * (1 - tolerance))
        is_near = (z_depth >= taken(low, cells)) & (z_depth <= taken(reach, cells) * (1 + tolerance))
        weight = torch.where(is_near, weights, 0.0) + 1e-9 * is_near
        total = torch.zeros(count).index_add_(0, cells, weight)
        reach = torch.zeros(count).index_add_(0, cells, weight * z_depth) / total
        reach = torch.where(total > 0, reach, torch.inf)
    return torch.where(torch.isinf(reach), torch.nan, reach)
