"""What the sources say along the target's rays: the volumes that the density network reads, and its samples.

Letters: a plane is one of the swept disparities, a sample one that was kept on its ray; sources stand in the
swept order. Nothing here has a unit of length or a direction in the world, so neither matters to the network.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.box_mean import BoxMean
from lift3d.geometry.sampling import read_planes
from lift3d.lifters.depth_consensus import around_planes, first_surface, walk
from lift3d.lifters.plane_sweep import PlaneSweep, SourceDepthVolumes
from lift3d.lifters.unswept_sources import colors_at

VOLUME_CHANNELS = 9
# The angular preference varies slowly with disparity: it is computed at every eighth plane.
_PREFERENCE_STEP = 8
_LEAST_PROBABILITY = 1e-4
# Sides in guide cells of the windows that a source's deviation is averaged over.
CONTEXT_WIDTHS = (3, 7, 21)
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class RayEvidence:
    """The target's rays as the sources see them; the first channel of ``volume`` is the log of the untrained consensus.

    Per source: ``visibility`` times taper, ``occupancy`` (what it says of a surface at the plane) times its confidence,
    and ``preference`` by angle, 1 for an angle of 0.
    """

    volumes: SourceDepthVolumes
    volume: Float[Tensor, "channel plane row col"]
    visibility: Float[Tensor, "source plane row col"]
    occupancy: Float[Tensor, "source plane row col"]
    preference: Float[Tensor, "source plane row col"]


@torch.no_grad()
def gather_evidence(sweep: PlaneSweep, volumes: SourceDepthVolumes) -> RayEvidence:
    """Read every source along the target's rays; memory is about 28 bytes per source, plane and guide cell."""
    target, planes, uv = volumes.target, volumes.planes, volumes.uv
    shape = (len(volumes.views), len(planes), *uv.shape[:2])
    visibility, occupancy = torch.empty(shape), torch.empty(shape)
    votes, voters = torch.zeros(shape[1:]), torch.zeros(shape[1:])
    preference = torch.stack([_preference(sweep, view.camera, volumes) for view in volumes.views])
    total, total_square, color, square = (torch.zeros(count, *shape[1:]) for count in (1, 1, 3, 1))
    for index, (view, depth) in enumerate(zip(volumes.views, volumes.depths, strict=True)):
        for tile, at, (occupied, sees) in walk(target, uv, depth, planes):
            occupancy[index, tile], visibility[index, tile] = occupied, view.taper * sees
            votes[tile] += view.taper * occupied
            voters[tile] += view.taper * sees
            found = read_planes(view.color, at)
            weight = visibility[index, tile] * preference[index, tile]
            total[:, tile] += weight
            total_square[:, tile] += weight * weight
            color[:, tile] += weight * found
            square[0, tile] += weight * (found * found).sum(0)
    # Moments to mean and spread: where no source sees the plane both are 0.
    divisor = total.clamp(min=_LEAST_WEIGHT)
    mean = color / divisor
    spread = (square / divisor - (mean * mean).sum(0)).clamp(min=0).sqrt()
    occupied, ends = first_surface(votes, voters)
    tapers = sum(view.taper for view in volumes.views)
    average = (mean * ends).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    volume = torch.cat(
        [
            ((ends + _LEAST_PROBABILITY).log() / 4)[None],
            occupied[None],
            (voters / tapers)[None],
            4 * spread,
            (total_square / divisor.square()).clamp(max=1),
            2 * (mean - average),
            torch.cumprod(1 - occupied, dim=0)[None],
        ]
    )
    return RayEvidence(volumes, volume, visibility, occupancy, preference)


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceSamples:
    """The few most probable depths of each ray, and what the blending head reads of each source there (``inputs``).

    Probabilities sum to 1 where any source sees the ray; visibility is times taper, preference 1 for an angle of 0,
    colour the guide's of each source at the sample.
    """

    plane: Int[Tensor, "sample row col"]
    disparity: Float[Tensor, "sample row col"]
    probability: Float[Tensor, "sample row col"]
    visibility: Float[Tensor, "source sample row col"]
    preference: Float[Tensor, "source sample row col"]
    color: Float[Tensor, "source 3 sample row col"]
    inputs: Float[Tensor, "source input sample row col"]


SAMPLE_INPUTS = 15


def strongest(evidence: RayEvidence, probability: Float[Tensor, "plane row col"], count: int) -> EvidenceSamples:
    """Keep the most probable planes, each moved between its neighbours; differentiable in the probability."""
    disparity = evidence.volumes.planes
    kept, index = probability.topk(count, dim=0)
    # 1. Depth between planes.
    moment, mass = around_planes(probability, index, disparity, _LEAST_WEIGHT)
    refined = moment / mass
    kept = kept / kept.sum(0).clamp(min=_LEAST_WEIGHT)
    # 2. Sources there.
    by_source = index[None].expand(len(evidence.visibility), -1, -1, -1)
    visibility, occupancy, preference = (
        volume.gather(1, by_source) for volume in (evidence.visibility, evidence.occupancy, evidence.preference)
    )
    color, log_scale = _colors_at(evidence, refined)
    # 3. How each source stands among the others.
    weight = visibility * preference
    share = weight / weight.sum(0).clamp(min=_LEAST_WEIGHT)
    deviation = color - (share[:, None] * color).sum(0)
    distance = deviation.square().sum(1).add(_LEAST_WEIGHT).sqrt()
    spread = (share * distance).sum(0)
    shared = torch.stack([(kept + _LEAST_PROBABILITY).log() / 4, 8 * spread, share.square().sum(0)])
    rows, cols = distance.shape[-2:]
    own = [
        (visibility + 1e-3).log() / 4,
        preference.log() / 4,
        occupancy,
        share,
        8 * deviation.mean(1),
        8 * distance,
        log_scale,
        *(8 * BoxMean(rows, cols, width // 2)(distance) for width in CONTEXT_WIDTHS),
        *(8 * _mean_of_source(one, share) for one in (distance, deviation.mean(1))),
    ]
    inputs = torch.cat([torch.stack(own, 1), shared[None].expand(len(color), -1, -1, -1, -1)], dim=1)
    return EvidenceSamples(index, refined, kept, visibility, preference, color, inputs)


def _mean_of_source(
    values: Float[Tensor, "source sample row col"], share: Float[Tensor, "source sample row col"]
) -> Float[Tensor, "source sample row col"]:
    """Return the mean over the whole view: a wrong pose or exposure shows everywhere."""
    mean = (values * share).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp(min=_LEAST_WEIGHT)
    return mean[:, None, None, None].expand_as(values)


def _colors_at(
    evidence: RayEvidence, disparity: Float[Tensor, "sample row col"]
) -> tuple[Float[Tensor, "source 3 sample row col"], Float[Tensor, "source sample row col"]]:
    """Return each source's guide colour, and log(pixels of the source per pixel of the target), at points of rays."""
    target, uv = evidence.volumes.target, evidence.volumes.uv
    colors, scales = [], []
    for view in evidence.volumes.views:
        color, relative_z, _ = colors_at(target, uv, disparity, view)
        focal_ratio = (view.camera.K[0, 0] / target.K[0, 0]).log().float()
        colors.append(color)
        scales.append((focal_ratio - relative_z.clamp(min=1e-3).log()).clamp(-3, 3))
    return torch.stack(colors), torch.stack(scales)


def _preference(sweep: PlaneSweep, source: Camera, volumes: SourceDepthVolumes) -> Float[Tensor, "plane row col"]:
    count = len(volumes.planes)
    at = torch.linspace(0, count - 1, max(2, count // _PREFERENCE_STEP + 1)).round().long()
    shape = (len(at), *volumes.uv.shape[:2])
    z_depth = (1 / volumes.planes[at])[:, None, None].expand(shape)
    coarse = sweep.preference(volumes.target, source, volumes.uv, z_depth)
    fine = F.interpolate(coarse.flatten(1).T[None], size=count, mode="linear", align_corners=True)[0]
    return fine.T.reshape(count, *shape[1:])
