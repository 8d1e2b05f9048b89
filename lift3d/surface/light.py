"""Weights for light itself, which does depend on who looks: the few views answer that look most as a target does.

Few, since each is misplaced and exposed in its own way, and a mean of many is a blur; the same few for the whole
target, since a change of views is a seam. Depth is asked of near views, too: where those far away contradict them, what
the near ones show is what a target beside them sees. Letters: a layer is one of three depths of a cell.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells
from lift3d.surface.anchors import AnchoredTarget, weights_of
from lift3d.surface.depth_map import EDGE
from lift3d.surface.look import is_cut
from lift3d.surface.render import render_depth
from lift3d.surface.scene_surface import SceneSurface

# Views that answer; found on held-out photographs of four captures: 3 to 6 are within 0.7 dB, 8 lose 1 dB.
NEAREST = 3
# Views that are asked where none of those sees anything in a window of so many cells, and that depth is asked of.
CONSULTED, WINDOW = 12, 3
DEPTH_FROM = 8
# Cells around one whose nearest and farthest depth are its other layers where they differ: edges are known to no cell.
EDGE_WINDOW = 3
# How fast views lose weight with the angle to the target's ray, radians.
ANGLE_FLOOR, ANGLE_POWER = 0.01, 2.0
# Views are ranked by a steeper share of each cell's light.
RANK_FLOOR, RANK_POWER = 0.02, 4.0
# Witnesses, of a layer that none shows and none sees through.
_FAINT = 0.05


def light_weights(target: AnchoredTarget, grid: FeatureGrid) -> BlendingWeights:
    """Return weights over the nearest views at the cells of a grid, each read at three depths of an uncertain edge."""
    order = _nearest_first(target)
    near = target.surface.part(order[:CONSULTED])
    rank = torch.tensor([order.index(target.view_ids.index(name)) for name in near.ids])
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    own = target.surface.view_of(target.camera)
    z_depth = target.depth.at(uv)
    if own is None:
        rendered = render_depth(target.surface.part(order[:DEPTH_FROM]), target.camera, grid.stride_u).at(uv)
        z_depth = torch.where(torch.isnan(rendered), z_depth, rendered)
    layers = _layers(z_depth.reshape(grid.shape)).flatten(1)
    weight = torch.zeros(len(uv), len(layers), len(near.views))
    sees_any = torch.zeros(grid.cell_count)
    is_asked = torch.ones(grid.cell_count, dtype=torch.bool)
    if own is not None and own.id in near.ids:
        # What a view that may answer itself sees is its own light.
        is_asked = ~(own.quality.reshape(-1)[nearest_cells(uv, *own.grid.lattice)] > 0)
        weight[~is_asked, 0, near.ids.index(own.id)] = 1
        sees_any[~is_asked] = 1
    at_edge = torch.nonzero(is_asked & (layers[2] / layers[1] - 1 > EDGE))[:, 0]
    for number, cells in enumerate((torch.nonzero(is_asked)[:, 0], at_edge, at_edge)):
        layer = layers[number, cells]
        look = near.look(target.camera, uv[cells], layer)
        sees = look.shown * look.confidence * ~is_cut(look)[:, None]
        sees_any[cells] = (sees[:, rank < NEAREST] > 0).any(1).float()
        around = F.max_pool2d(sees_any.reshape(1, *grid.shape), WINDOW, stride=1, padding=WINDOW // 2).flatten()
        sees = sees * _may_answer(sees > 0, rank, around[cells] == 0)
        # No view sees a cell without depth, of which nearness knows nothing.
        nearness = _nearness(target.camera, near, uv[cells], layer, ANGLE_FLOOR, ANGLE_POWER)
        sees_as = torch.where(sees > 0, sees * nearness, 0.0)
        seen, passed = sees.sum(1), (look.passed * look.confidence).sum(1)
        share = torch.where(seen > 0, (seen + _FAINT) / (seen + passed + _FAINT), 0.0)
        weight[cells, number] = sees_as / sees_as.sum(1, keepdim=True).clamp(min=1e-9) * share[:, None]
    is_gap = weight.flatten(1).sum(1) == 0
    if bool(is_gap.any()):
        open_to = near.look(target.camera, uv[is_gap], layers[0, is_gap]).is_open & (rank < NEAREST)
        nearness = _nearness(target.camera, near, uv[is_gap], layers[0, is_gap], RANK_FLOOR, RANK_POWER)
        weight[is_gap, 0] = torch.where(open_to, nearness, 0.0)
    kept, tap = weight.flatten(1).topk(min(len(layers) * NEAREST, weight[0].numel()), dim=1)
    places = torch.tensor([target.view_ids.index(name) for name in near.ids])
    tap_depth = layers.T.gather(1, tap // len(places))
    return weights_of(target, grid, z_depth, places[tap % len(places)], kept, torch.arange(len(uv)), tap_depth)


def _nearest_first(target: AnchoredTarget) -> list[int]:
    """Return the views that witness anything of a target, those that look most nearly as it does first."""
    # Views are ranked by every other cell and row: it takes no more.
    rows, cols = target.grid.shape
    cells = torch.arange(rows * cols).reshape(rows, cols)[::2, ::2].flatten()
    uv = cell_centers(*target.grid.lattice).reshape(-1, 2)[cells]
    is_witness = (target.weight[cells] > 0) & target.is_shown[cells, None]
    is_shown = torch.zeros(len(cells), len(target.view_ids)).scatter_(
        1, target.witness[cells].long(), is_witness.float()
    )
    # Among zeros for those that witness nothing, who are many in a large scene.
    seen = torch.nonzero(is_shown.any(0))[:, 0]
    share, z_depth = torch.zeros_like(is_shown), target.z_depth[cells]
    nearness = _nearness(target.camera, target.surface, uv, z_depth, RANK_FLOOR, RANK_POWER, seen)
    share[:, seen] = (is_shown[:, seen] * nearness).nan_to_num(0.0)
    total = (share / share.sum(1, keepdim=True).clamp(min=1e-9)).sum(0)
    order = total.argsort(descending=True, stable=True)
    places: list[int] = order[total[order] > 0].tolist()
    return places


def _layers(z_depth: Float[Tensor, "row col"]) -> Float[Tensor, "3 row col"]:
    """Return depth, and the nearest and the farthest of the cells around."""
    is_known, pad = torch.isfinite(z_depth), EDGE_WINDOW // 2
    near = torch.where(is_known, z_depth, torch.inf)[None, None]
    far = torch.where(is_known, z_depth, -torch.inf)[None, None]
    nearest = -F.max_pool2d(-near, EDGE_WINDOW, stride=1, padding=pad)[0, 0]
    farthest = F.max_pool2d(far, EDGE_WINDOW, stride=1, padding=pad)[0, 0]
    return torch.where(is_known, torch.stack([z_depth, nearest, farthest]), torch.nan)


def _may_answer(
    sees: Bool[Tensor, "cell view"], rank: Int[Tensor, " view"], is_far: Bool[Tensor, " cell"]
) -> Bool[Tensor, "cell view"]:
    """Whether a view answers: the nearest, and the next ones amid cells of which no nearest view sees anything."""
    by_rank = rank.argsort()
    before = torch.empty_like(sees, dtype=torch.long)
    before[:, by_rank] = sees[:, by_rank].cumsum(1)
    return torch.where(is_far[:, None], before <= NEAREST, rank < NEAREST)


def _nearness(
    camera: Camera,
    surface: SceneSurface,
    uv: Float[Tensor, "cell 2"],
    z_depth: Float[Tensor, " cell"],
    floor: float,
    power: float,
    among: Int[Tensor, " view"] | None = None,
) -> Float[Tensor, "cell view"]:
    """Return the preference for views, or some of them, that look at a point as the camera does, 1 for the same ray.

    Source:
        Buehler et al., Unstructured lumigraph rendering, SIGGRAPH 2001, §4.2 (penalty of angular deviation).
    """
    points = unproject(uv, z_depth, camera.K.float())
    centers = surface.centers_in(camera)
    along, distance2 = points @ centers.T, points.square().sum(1, keepdim=True)
    if among is not None:
        # Rounded as for all views.
        along, centers = along[:, among], centers[among]
    to_view2 = (distance2 - 2 * along + centers.square().sum(1)).clamp(min=1e-12)
    angle = ((distance2 - along) * (distance2 * to_view2).rsqrt()).clamp(-1, 1).arccos()
    nearness: Tensor = (floor / (angle + floor)) ** power
    return nearness
