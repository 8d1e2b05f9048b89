"""Learned votes: how much what a view says of a surface point counts, told by scalars alone, whatever the 2D model.

A rule is log-linear: the weight that ``anchored`` gives a witness times ``exp(Σ coefficient · scalar)``. Without the
scalar ``facing`` no scalar knows who looks, so that what a point shows stays the same for every camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.surface.anchors import AnchoredTarget
from lift3d.surface.scene_surface import SceneSurface

# What a rule may look at, of a witness at a point:
# off: how far its depth is from the point's, in tolerances, at most 2;
# edge: log of the farthest over the nearest depth around where it sees the point, at most a half;
# border: how near that is to its image's border, from 1 (on it) to 0 (an eighth of the image's height away);
# finer: log of its pixels per unit of surface, less the mean of the witnesses', within 3;
# aside: angle between its ray and the mean ray of the witnesses, radians;
# few: aside, over the number of witnesses;
# facing: angle between its ray and that of the camera that looks, radians.
SCALARS = ("off", "edge", "border", "finer", "aside", "few", "facing")
# As of what depends on who looks.
FACING = "facing"
# Half of the window in which depth edges are looked for, and the border's width, as shares of the image's height.
EDGE_SHARE, BORDER_SHARE = 1 / 16, 1 / 8
_MOST_OFF, _MOST_EDGE, _MOST_FINER = 2.0, 0.5, 3.0
_LEAST = 1e-12

Scalars = Float[Tensor, "cell witness scalar"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Coefficients by scalar; those that are not named are 0."""

    coefficients: Mapping[str, float]

    def log_weight(self, scalars: Scalars) -> Float[Tensor, "cell witness"]:
        """Return what is added to the logarithm of each witness's weight."""
        return scalars @ scalars.new_tensor([self.coefficients.get(name, 0.0) for name in SCALARS])

    def voted(self, target: AnchoredTarget, scalars: Scalars) -> AnchoredTarget:
        """Return the same target with witnesses that count by the rule."""
        weight = target.weight * self.log_weight(scalars).exp()
        total = weight.sum(1, keepdim=True)
        return replace(target, weight=weight / torch.where(total > 0, total, 1.0), _places={})


class Witnesses:
    """What there is to know of the witnesses of a surface's points."""

    def __init__(self, surface: SceneSurface) -> None:
        self._surface = surface
        self._edges = [_depth_edges(view.z_depth, view.grid.rows) for view in surface.views]

    def scalars(self, target: AnchoredTarget) -> Scalars:
        """Return SCALARS of a target's witnesses, 0 of what is none."""
        surface, witness = self._surface, target.witness.long()
        is_one = target.weight > 0
        uv = cell_centers(*target.grid.lattice).reshape(-1, 2)
        look = surface.look(target.camera, uv, target.z_depth)
        off = look.beyond.gather(1, witness).abs().nan_to_num(_MOST_OFF).clamp(max=_MOST_OFF)
        edge, border = (one.gather(1, witness) for one in self._in_images(target, uv))
        fineness = look.quality.gather(1, witness).clamp(min=_LEAST).log()
        count = is_one.sum(1, keepdim=True).clamp(min=1)
        finer = (fineness - (fineness * is_one).sum(1, keepdim=True) / count).clamp(-_MOST_FINER, _MOST_FINER)
        points = unproject(uv, target.z_depth, target.camera.K.float())
        rays = F.normalize(surface.centers_in(target.camera)[witness] - points[:, None], dim=-1)
        mean = F.normalize((rays * is_one[..., None]).sum(1), dim=-1)
        aside, facing = (_angle(rays, to) for to in (mean, F.normalize(-points, dim=-1)))
        found = torch.stack([off, edge, border, finer, aside, aside / count, facing], dim=-1)
        return torch.where(is_one[..., None], found, 0.0).nan_to_num(0.0)

    def _in_images(
        self, target: AnchoredTarget, uv: Float[Tensor, "cell 2"]
    ) -> tuple[Float[Tensor, "cell view"], Float[Tensor, "cell view"]]:
        """Return how strong a depth edge is around where each view sees the cells, and how near the border that is."""
        slope, offset = self._surface.maps_of(target.camera)
        pixel = torch.cat([uv, torch.ones_like(uv[:, :1])], dim=1)
        edges, borders = [], []
        for view, edge, by, to in zip(self._surface.views, self._edges, slope, offset, strict=True):
            xyz = (pixel @ by.T) * target.z_depth[:, None] + to
            at = xyz[:, :2] / xyz[:, 2:].clamp(min=_LEAST)
            rows, cols = view.grid.shape
            row = ((at[:, 1] - view.grid.origin_v) / view.grid.stride_v).nan_to_num(0.0).clamp(0, rows - 1).long()
            col = ((at[:, 0] - view.grid.origin_u) / view.grid.stride_u).nan_to_num(0.0).clamp(0, cols - 1).long()
            edges.append(edge[row, col])
            size = view.camera.size
            away = torch.minimum(at, at.new_tensor([size.width, size.height]) - at).amin(1)
            borders.append(1 - (away / (BORDER_SHARE * size.height)).clamp(0, 1))
        return torch.stack(edges, dim=1), torch.stack(borders, dim=1)


def _depth_edges(z_depth: Float[Tensor, "row col"], rows: int) -> Float[Tensor, "row col"]:
    reach = max(1, round(EDGE_SHARE * rows))
    is_known = torch.isfinite(z_depth)
    near = torch.where(is_known, z_depth, torch.inf)[None, None]
    far = torch.where(is_known, z_depth, 0.0)[None, None]
    nearest, farthest = (F.max_pool2d(one, 2 * reach + 1, 1, reach)[0, 0] for one in (-near, far))
    edges: Tensor = (farthest / -nearest).clamp(min=1).log().nan_to_num(0.0).clamp(max=_MOST_EDGE)
    return edges


def _angle(rays: Float[Tensor, "cell witness 3"], to: Float[Tensor, "cell 3"]) -> Float[Tensor, "cell witness"]:
    cosine: Tensor = (rays * to[:, None]).sum(-1).clamp(-1, 1)
    return cosine.arccos()


# Found by `lift3d bench learning --fit` on computed scenes, with features of DINOv2 and of MobileNetV2 at two strides:
# a rule that trusts views whose depth there is the point's and not beside an edge; one that prefers views that see it
# finely; and one that may know who looks.
PLACED = Rule({"off": -1.0, "edge": -1.1})
FINE = Rule({"off": -0.6, "finer": 0.64})
FACED = Rule({"finer": 0.39, "facing": -5.3})
