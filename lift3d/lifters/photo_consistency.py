"""How well the neighbours of a source view agree with it at each of its pixels and depths.

Letters: the reference is the view whose depth is asked about, a neighbour is another source of the same target. The
reference's own image is known, so no consensus colour has to be guessed, as it would in the target's frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.geometry.holes import fill_from_nearest
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import read_planes

# Half width in cells of the surroundings that a colour is compared with: a little more than a matching window.
MEAN_RADIUS = 4
# Planes held at once: with 16,000 cells and six channels the samples take 6 MB, about a core's share of cache.
PLANE_TILE = 16
# Weight (in neighbours) of no evidence.
_FAINT = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Descriptors:
    """What a source view is matched by, on its guide grid: colour, channels to compare, and which cells may vote."""

    camera: Camera
    grid: FeatureGrid
    color: Float[Tensor, "3 row col"]
    values: Float[Tensor, "channel row col"]
    is_valid: Bool[Tensor, "row col"]
    taper: float

    @property
    def uv(self) -> Float[Tensor, "row col 2"]:
        """Pixels of the cell centres."""
        return cell_centers(*self.grid.lattice)


def describe(guide: SourceGuide, grid: FeatureGrid, gradient_weight: float, color_weight: float) -> Descriptors:
    """Reduce a source view to its guide grid; a cell is valid if all of its pixels are.

    Cells that are not valid take the colour of the nearest one that is, so that nothing of an invalid pixel, and no
    false edge along a mask, reaches the windows of its neighbours.

    Channels are the colour against its surroundings, the brightness (weighted; all three colours instead gain nothing
    and cost a quarter of the time), and the gradients of luminance (weighted).

    Source:
        Colour and gradient together as in Bleyer et al., PatchMatch Stereo, BMVC 2011, eq. 5; colour less its local
        mean, which another exposure does not shift, as in Hirschmüller & Scharstein, PAMI 2009, §3.1 (mean filter).
    """
    size = grid.shape
    mean_of_cell = F.interpolate(guide.image[None].float(), size=size, mode="area")[0]
    is_valid = F.interpolate(guide.is_valid[None, None].float(), size=size, mode="area")[0, 0] > 1 - 1e-3
    color = fill_from_nearest(mean_of_cell, is_valid)[None]
    width = 2 * MEAN_RADIUS + 1
    mean = F.avg_pool2d(color, width, stride=1, padding=MEAN_RADIUS, count_include_pad=False)
    luminance = F.pad(color.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    slope_u = (luminance[..., 1:-1, 2:] - luminance[..., 1:-1, :-2]) / 2
    slope_v = (luminance[..., 2:, 1:-1] - luminance[..., :-2, 1:-1]) / 2
    slopes = gradient_weight * torch.cat([slope_u, slope_v], dim=1)
    brightness = color_weight * color.sum(1, keepdim=True)
    values = torch.cat([color - mean, brightness, slopes], dim=1)[0]
    return Descriptors(guide.camera, grid, color[0], values, is_valid, guide.taper)


def matching_cost(
    reference: Descriptors,
    neighbours: Sequence[Descriptors],
    disparity: Float[Tensor, " plane"],
    truncation: float,
    softness: float,
) -> Float[Tensor, "plane row col"]:
    """Return how badly the neighbours match the reference at each of its cells and planes.

    The absolute difference to each neighbour is truncated; neighbours are combined by a soft minimum, so that one in
    which the point is hidden does not outvote those that see it. Where no neighbour sees a point the cost is the
    truncation: no evidence for it.

    Source:
        Truncated absolute differences: Hirschmüller & Scharstein, PAMI 2009. Best neighbours only: Kang, Szeliski &
        Chai, Handling occlusions in dense multi-view stereo, CVPR 2001, §3; here −s log Σ exp(−d/s), its smooth form.
    """
    shape = reference.grid.shape
    cost = torch.empty(len(disparity), *shape)
    sweeps = [(one, _sweep(reference, one), bool(one.is_valid.all())) for one in neighbours]
    for start in range(0, len(disparity), PLANE_TILE):
        planes = disparity[start : start + PLANE_TILE, None, None]
        likelihood, total = torch.zeros(len(planes), *shape), torch.zeros(len(planes), *shape)
        for neighbour, sweep, is_whole in sweeps:
            at, _ = sweep.at(planes)
            found = read_planes(neighbour.values, at, "zeros")
            difference = found.sub_(reference.values[:, None]).abs_().sum(0)
            vote = _is_readable(neighbour, at, is_whole).float().mul_(neighbour.taper)
            likelihood.addcmul_(vote, difference.clamp_(max=truncation).div_(-softness).exp_())
            total += vote
        # A vote for the truncation beside the others': what only a fading view sees is as good as unseen.
        is_seen = total > 0
        mean = likelihood.add_(_FAINT * math.exp(-truncation / softness)).div_(total.add_(_FAINT))
        cost[start : start + PLANE_TILE] = torch.where(is_seen, mean.log_().mul_(-softness), truncation)
    return cost if bool(reference.is_valid.all()) else torch.where(reference.is_valid, cost, truncation)


def _is_readable(
    neighbour: Descriptors, at: Float[Tensor, "plane row col 2"], is_whole: bool
) -> Bool[Tensor, "plane row col"]:
    """Whether all four cells that a bilinear reading touches are there and valid, as all are of a whole neighbour."""
    if not is_whole:
        return read_planes(neighbour.is_valid[None].float(), at, "zeros")[0] > 1 - 1e-3
    # Between the outermost cell centres.
    rows, cols = neighbour.is_valid.shape
    return (at[..., 0].abs() <= 1 - 1 / cols) & (at[..., 1].abs() <= 1 - 1 / rows)


def _sweep(reference: Descriptors, neighbour: Descriptors) -> Sweep:
    return Sweep.between(reference.uv, reference.camera, neighbour.camera)
