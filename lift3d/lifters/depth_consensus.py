"""From the uncertain depth of each source to what the target's rays end at, and who sees it.

Letters: occupancy is the probability that the first surface of a source's ray lies at a plane, visibility that
nothing lies before it; both are volumes over the source's guide cells and the planes of disparity.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.sampling import read_planes

# Planes of the target read at once, to stay in cache.
PLANE_TILE = 16
# Votes (in sources) below which a cell of the target counts as barely seen: its occupancy is damped, so that a
# stray corner of one source does not act as a wall.
_FEW_VOTES = 0.01
# Sharpened probability below which a plane cannot change a pixel of eight bits.
_LEAST_MASS = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class SoftDepth:
    """What a source knows of depth: occupancy and visibility, each times the confidence of the cell."""

    camera: Camera
    volumes: Float[Tensor, "2 plane row col"]

    @classmethod
    def from_cost(
        cls,
        camera: Camera,
        cost: Float[Tensor, "plane row col"],
        temperature: float,
        confidence: Float[Tensor, "row col"],
    ) -> "SoftDepth":
        """Read costs as negative log probabilities at the given temperature."""
        occupancy = torch.softmax(cost / -temperature, dim=0)
        visibility = (1 - (occupancy.cumsum(0) - occupancy)).clamp(0, 1)
        return cls(camera, torch.stack([occupancy, visibility]) * confidence)


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """Where the sources agree that the target's rays end, and which source sees each plane, in [0, 1].

    Probabilities of a ray sum to 1, or to 0 where no source sees anything.
    """

    probability: Float[Tensor, "plane row col"]
    visibility: Float[Tensor, "source plane row col"]


def agree(
    target: Camera,
    uv: Float[Tensor, "row col 2"],
    depths: Sequence[SoftDepth],
    weights: Sequence[float],
    disparity: Float[Tensor, " plane"],
) -> Consensus:
    """Let the sources vote along the target's rays and walk the rays from the camera to the first surface.

    Planes of disparity stand near first and are the same for all; ``weights`` say how much each source counts.

    Source:
        Penner & Zhang, Soft 3D reconstruction for view synthesis, SIGGRAPH Asia 2017, eq. 3 to 6 (votes, consensus,
        soft visibility).
    """
    shape = (len(disparity), *uv.shape[:2])
    votes, voters = torch.zeros(shape), torch.zeros(shape)
    visibility = torch.empty(len(depths), *shape)
    for index, (depth, weight) in enumerate(zip(depths, weights, strict=True)):
        for tile, _, (occupied_here, sees) in walk(target, uv, depth, disparity):
            visibility[index, tile] = sees
            votes[tile] += weight * occupied_here
            voters[tile] += weight * sees
    return Consensus(first_surface(votes, voters)[1], visibility)


def first_surface(
    votes: Float[Tensor, "plane row col"], voters: Float[Tensor, "plane row col"]
) -> tuple[Float[Tensor, "plane row col"], Float[Tensor, "plane row col"]]:
    """Return the share of votes for each plane, and the probability that a ray ends there; sums to 1, or to 0."""
    occupied = (votes / (voters + _FEW_VOTES)).clamp(0, 1)
    ends = occupied.clone()
    ends[1:] *= torch.cumprod(1 - occupied, dim=0)[:-1]
    total = ends.sum(0)
    return occupied, ends / torch.where(total > 0, total, 1.0)


def strongest_samples(
    consensus: Consensus, disparity: Float[Tensor, " plane"], sample_count: int, sharpening: float
) -> tuple[Float[Tensor, "sample row col"], Float[Tensor, "sample row col"], Float[Tensor, "source sample row col"]]:
    """Keep the likeliest planes of each ray to the power ``sharpening``: z-depths, probabilities, who sees them."""
    sharp = consensus.probability**sharpening
    kept, index = sharp.topk(sample_count, dim=0)
    moment, mass = around_planes(sharp, index, disparity)
    # Planes of no weight at all are not samples: their centre of mass would be rounding noise.
    is_live = kept > _LEAST_MASS
    kept = torch.where(is_live, kept, 0.0)
    refined = torch.where(is_live, moment / torch.where(is_live, mass, 1.0), disparity[index])
    total = kept.sum(0)
    by_source = index[None].expand(len(consensus.visibility), -1, -1, -1)
    return 1 / refined, kept / torch.where(total > 0, total, 1.0), consensus.visibility.gather(1, by_source)


def around_planes(
    probability: Float[Tensor, "plane row col"],
    index: Int[Tensor, "sample row col"],
    disparity: Float[Tensor, " plane"],
    least: float = 0.0,
) -> tuple[Float[Tensor, "sample row col"], Float[Tensor, "sample row col"]]:
    """Return moment and mass of planes and their two neighbours, each of at least a mass: their centre is the quotient.

    Planes beside a peak move towards it, so that a peak between two planes is found and not doubled.
    """
    around = [(index + step).clamp(0, len(disparity) - 1) for step in (-1, 0, 1)]
    mass = [probability.gather(0, at) + least for at in around]
    none = torch.zeros_like(mass[0])
    return sum((m * disparity[at] for m, at in zip(mass, around, strict=True)), none), sum(mass, none)


def walk(
    target: Camera, uv: Float[Tensor, "row col 2"], depth: SoftDepth, disparity: Float[Tensor, " plane"]
) -> Iterator[tuple[slice, Float[Tensor, "tile row col 2"], Float[Tensor, "2 tile row col"]]]:
    """Follow the target's rays through a source; yield a tile of planes at a time.

    Which planes, coordinates in the source's image for ``grid_sample``, and the source's volumes (occupancy and
    visibility) there; 0 outside the source's image and planes.
    """
    sweep = Sweep.between(uv, target, depth.camera)
    count, first, last = len(disparity), float(disparity[0]), float(disparity[-1])
    flat = depth.volumes.flatten(1, 2)
    for start in range(0, count, PLANE_TILE):
        planes = disparity[start : start + PLANE_TILE, None, None]
        at, relative_z = sweep.at(planes)
        # Plane of the point in the source, counted from 0; half a plane beyond the first and the last is still there.
        index = (planes / relative_z).sub_(first).mul_((count - 1) / (last - first))
        is_inside = (at[..., 0].abs() <= 1) & (at[..., 1].abs() <= 1) & ((index - (count - 1) / 2).abs() <= count / 2)
        found = _trilinear(flat, at, index.clamp_(0, count - 1), count)
        yield slice(start, start + len(planes)), at, found.mul_(is_inside)


def _trilinear(
    flat: Float[Tensor, "channel stacked_row source_col"],
    at: Float[Tensor, "tile row col 2"],
    index: Float[Tensor, "tile row col"],
    count: int,
) -> Float[Tensor, "channel tile row col"]:
    """Read volumes whose planes lie under one another in one tall image, within two planes each.

    Two readings in an image are several times faster than one in a volume, which has no vectorised kernel.
    """
    rows = flat.shape[1] // count
    nearer = index.floor()
    share = index - nearer
    # Beyond the outermost cells the border value holds: rows of the next plane must not be touched.
    row = ((at[..., 1] + 1) * (rows / 2) - 0.5).clamp_(0, rows - 1)
    where = torch.empty(2, 2, *index.shape)
    where[0] = at[..., 0]
    for place, plane in enumerate((nearer, (nearer + 1).clamp_(max=count - 1))):
        where[1, place] = plane.mul(rows).add_(row).add_(0.5).mul_(2 / (count * rows)).sub_(1)
    near, far = read_planes(flat, where.flatten(1, 2).movedim(0, -1)).chunk(2, dim=1)
    return torch.lerp(near, far, share)
