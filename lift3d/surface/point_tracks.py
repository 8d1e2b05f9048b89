"""Points of the surface, followed through views: where a pixel's ray ends, and which other views see that place.

Letters: a query is a pixel of a view; how far behind a point a view's own surface is there, in tolerances of the
surface, is ``beyond``, as in ``Look``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.projection import is_inside, project, unproject
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells
from lift3d.surface.catalog import geometry_spec
from lift3d.surface.confidence import DEPTH, place_evidence
from lift3d.surface.depth_map import DepthMap
from lift3d.surface.render import LEAST_SUPPORT, render_depth
from lift3d.surface.scene_surface import SceneSurface

# Points times views that are asked at once: some forty bytes each.
_AT_ONCE = 2**20
# A place that views see through by more than this share of what they say may be beside a thing rather than on it. How
# many cells away what is behind is looked for; both chosen on nine computed scenes.
_DOUBTED, _REACHES = 0.3, (1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePixels:
    """Where the rays of a view's pixels end.

    Attributes:
        xyz: World coordinates; NaN where no surface is known.
        confidence: How likely the depth is within 3 % of the true one (``confidence.DEPTH``); 0 where it is unknown.
        is_empty: Whether the view shows that there is nothing.
    """

    xyz: Float[Tensor, "point 3"]
    confidence: Float[Tensor, " point"]
    is_empty: Bool[Tensor, " point"]


def surface_at(surface: SceneSurface, camera: Camera, depth: DepthMap, uv: Float[Tensor, "point 2"]) -> SurfacePixels:
    """Return where the rays of pixels of a view end, and how sure all views together are of it.

    It is the view's own depth, since what the view shows in a pixel is what is asked about; where it has none, what the
    other views show there. Where depth was searched, and others see through it beside an outline, it is what is behind.
    """
    z_depth = _depth_at(surface, camera, depth, uv)
    if geometry_spec(surface.method).is_searched:
        parts = _parts(surface, uv, z_depth)
        z_depth = torch.cat([_behind_outlines(surface, camera, depth, *part) for part in parts])
    is_empty = torch.isinf(z_depth)
    z_depth = torch.where(is_empty, torch.nan, z_depth)
    confidence = torch.cat([_confidence(surface, camera, *part) for part in _parts(surface, uv, z_depth)])
    xyz = transform(camera.c2w, unproject(uv.double(), z_depth.double(), camera.K))
    return SurfacePixels(xyz, torch.where(torch.isnan(z_depth), 0.0, confidence), is_empty)


def seen_by(
    surface: SceneSurface, camera: Camera, depth: DepthMap, xyz: Float[Tensor, "point 3"]
) -> tuple[Bool[Tensor, " point"], Float[Tensor, " point"]]:
    """Return whether a view sees points of the world, and how clearly, in [0, 1], it is so or not.

    A view sees a point on its image unless it knows of something before it by more than the surface's tolerance. That
    is clear from a tolerance away on; a point that the view sees through by two is not clear at all, nor is one where
    no depth is known. Points without coordinates are seen by no one.
    """
    own = transform(camera.w2c, xyz)
    uv, is_in_front = project(own, camera.K)
    is_on_image = is_in_front & is_inside(uv, camera.size.height, camera.size.width)
    place = torch.nonzero(is_on_image)[:, 0]
    z_depth = _depth_at(surface, camera, depth, uv[place].float())
    beyond = (z_depth / own[place, 2] - 1) / surface.tolerance
    is_visible, clear = is_on_image.clone(), torch.isfinite(xyz).all(1).float()
    # What is known to be empty is seen through by infinitely much.
    is_visible[place] = ~(beyond < -1) & ~torch.isinf(z_depth)
    clear[place] = ((beyond + 1).abs().clamp(max=1) * (2 - beyond).clamp(0, 1)).nan_to_num(0.0).float()
    return is_visible, clear


def _depth_at(
    surface: SceneSurface, camera: Camera, depth: DepthMap, uv: Float[Tensor, "point 2"]
) -> Float[Tensor, " point"]:
    """Return the view's depth at pixels, and what other views show where it has none; infinite where nothing is."""
    grid = depth.grid
    cell = nearest_cells(uv, *grid.lattice).clamp(min=0)
    z_depth = torch.where(torch.isinf(depth.z_depth.flatten()[cell]), torch.inf, depth.at(uv.float()))
    is_missing = torch.isnan(z_depth)
    if bool(is_missing.any()):
        wanted = torch.zeros(grid.cell_count, dtype=torch.bool)
        wanted[cell[is_missing]] = True
        # Depth is read between cells.
        wanted = F.max_pool2d(wanted.reshape(1, *grid.shape).float(), 3, 1, 1)[0] > 0
        rendered = render_depth(surface, camera, grid.stride_u, wanted)
        z_depth[is_missing] = rendered.at(uv[is_missing].float())
    return z_depth


def _behind_outlines(
    surface: SceneSurface,
    camera: Camera,
    depth: DepthMap,
    uv: Float[Tensor, "point 2"],
    z_depth: Float[Tensor, " point"],
) -> Float[Tensor, " point"]:
    """Return depth, and the farthest of the cells around where others see through it, and more of them show that.

    Depth is matched by windows: a thing reaches beyond its outline, over what is behind it, by a cell or two.
    """
    place = nearest_cells(uv, *depth.grid.lattice).clamp(min=0)
    known = torch.where(torch.isfinite(depth.z_depth), depth.z_depth, 0.0)[None]
    share, found = _share(surface, camera, uv, z_depth), z_depth.clone()
    doubted = torch.nonzero(share < 1 - _DOUBTED)[:, 0]
    for reach in _REACHES:
        behind = F.max_pool2d(known, 2 * reach + 1, 1, reach).flatten()[place[doubted]]
        shown = _share(surface, camera, uv[doubted], behind)
        is_better = (behind > z_depth[doubted]) & (shown > share[doubted])
        better = doubted[is_better]
        found[better], share[better] = behind[is_better], shown[is_better]
    return found


def _share(
    surface: SceneSurface, camera: Camera, uv: Float[Tensor, "point 2"], z_depth: Float[Tensor, " point"]
) -> Float[Tensor, " point"]:
    """Return the share of views that show points, of those that show them or see through them."""
    look = surface.look(camera, uv, z_depth)
    shown, passed = (look.shown * look.confidence).sum(1), (look.passed * look.confidence).sum(1)
    return shown / (shown + passed + LEAST_SUPPORT)


def _parts(
    surface: SceneSurface, uv: Float[Tensor, "point 2"], z_depth: Float[Tensor, " point"]
) -> Iterator[tuple[Tensor, Tensor]]:
    count = max(1, _AT_ONCE // len(surface.views))
    return zip(torch.split(uv.float(), count), torch.split(z_depth.float(), count), strict=True)


def _confidence(
    surface: SceneSurface, camera: Camera, uv: Float[Tensor, "point 2"], z_depth: Float[Tensor, " point"]
) -> Float[Tensor, " point"]:
    look = surface.look(camera, uv, z_depth)
    surety = look.shown * look.confidence
    support, against = surety.sum(1), (look.passed * look.confidence).sum(1)
    off = surface.tolerance * look.beyond.clamp(-2, 2).nan_to_num(0.0)
    spread = ((surety * off.square()).sum(1) / torch.where(support > 0, support, 1.0)).sqrt()
    witnesses = torch.where(surety > 0, look.shown, 0.0).sum(1)
    return DEPTH.of(0.5, place_evidence(witnesses, support, against, spread))
