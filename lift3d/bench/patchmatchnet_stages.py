"""The stages of PatchmatchNet: hypotheses of depth, their cost in the sources, and the depth they agree on.

Stages are numbered as in the paper: 3 is the coarsest, at an eighth of the image, 1 the finest, at half of it.
Letters: z is z-depth.

Source:
    Wang, Galliani, Vogel, Speciale & Pollefeys, PatchmatchNet: Learned Multi-View Patchmatch Stereo, CVPR 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.bench.patchmatchnet_layers import Layers, convolve, pointwise
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.sampling import read_planes

_INITIAL_SAMPLES = 48
_VIEW_WEIGHT_FLOOR = 1e-5


@dataclass(frozen=True, slots=True)
class Stage:
    """What the published model does at one resolution.

    Attributes:
        number: 3, 2 or 1.
        groups: Into how many groups the channels are split for the correlation.
        iterations: Rounds of propagation and evaluation.
        samples: Hypotheses around the depth of the round before.
        interval: Between them, as a share of the range of inverse depth.
        neighbours: Whose depth is tried as well.
        reach: Of the 3×3 window of neighbours, cells.
    """

    number: int
    groups: int
    iterations: int
    samples: int
    interval: float
    neighbours: int
    reach: int


STAGES = (
    Stage(3, groups=8, iterations=2, samples=16, interval=0.025, neighbours=16, reach=2),
    Stage(2, groups=8, iterations=2, samples=8, interval=0.0125, neighbours=8, reach=4),
    Stage(1, groups=4, iterations=1, samples=8, interval=0.005, neighbours=0, reach=6),
)


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """One stage's view of the problem.

    Attributes:
        target: Features of the target.
        sources: Features of the sources.
        sweeps: Where the target's cells lie in them.
        inverse_range: Smallest and largest inverse depth.
    """

    target: Float[Tensor, "channel row col"]
    sources: Sequence[Float[Tensor, "channel _ _"]]
    sweeps: Sequence[Sweep]
    inverse_range: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a stage found.

    Attributes:
        z: z-depth.
        probability: Of the last hypotheses.
        view_weights: How far each source shows each cell.
    """

    z: Float[Tensor, "row col"]
    probability: Float[Tensor, "plane row col"]
    view_weights: Float[Tensor, "source row col"]

    @property
    def confidence(self) -> Float[Tensor, "row col"]:
        """The probability of the four hypotheses around the mean one."""
        count = len(self.probability)
        mean = (self.probability * torch.arange(count)[:, None, None]).sum(0).long().clamp(0, count - 1)
        padded = F.pad(self.probability, (0, 0, 0, 0, 1, 2))
        return torch.stack([padded.gather(0, (mean + step)[None])[0] for step in range(4)]).sum(0).clamp(0, 1)

    def doubled(self) -> "Found":
        """Return the same at twice the size."""
        z, probability, view_weights = (
            F.interpolate(x[None], scale_factor=2.0)[0] for x in (self.z[None], self.probability, self.view_weights)
        )
        return Found(z[0], probability, view_weights)


def match(layers: Layers, stage: Stage, matching: Matching, coarser: Found | None) -> Found:
    """Run one stage.

    Args:
        layers: Of the network.
        stage: Which.
        matching: Features and cameras.
        coarser: What the stage before found, at half the size; None at the coarsest.
    """
    name = f"patchmatch_{stage.number}"
    window = (stage.reach - 1) * _ring(with_centre=True)
    support = _positions(convolve(layers, f"{name}.eval_conv", matching.target, dilation=stage.reach), window)
    likeness = _likeness(layers, stage, matching.target, support)
    found = _round(layers, stage, matching, (support, likeness), None if coarser is None else coarser.doubled())
    for _ in range(stage.iterations - 1):
        found = _round(layers, stage, matching, (support, likeness), found)
    return found


def _round(
    layers: Layers, stage: Stage, matching: Matching, supported: tuple[Tensor, Tensor], found: Found | None
) -> Found:
    """Try hypotheses, and take the mean of those that match."""
    support, likeness = supported
    planes = _hypotheses(layers, stage, matching, None if found is None else found.z)
    similarity, view_weights = _similarity(layers, stage, matching, planes, found)
    cost = pointwise(layers, f"patchmatch_{stage.number}.evaluation.similarity_net", similarity)
    weight = likeness * _nearness(planes, support, stage.interval, matching.inverse_range)
    probability = ((weight * _read(cost, support)).sum(1) / weight.sum(1)).softmax(0)
    z = _mean_of_steps(planes, probability) if stage.number == 1 else (planes * probability).sum(0)
    return Found(z, probability, view_weights)


def _ring(*, with_centre: bool) -> Float[Tensor, "neighbour 2"]:
    """Offsets (x, y) of a 3×3 window, row by row."""
    steps = [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if with_centre or (x, y) != (0, 0)]
    return torch.tensor(steps, dtype=torch.float32)


def _positions(
    offsets: Float[Tensor, "xy_of_neighbour row col"], window: Float[Tensor, "neighbour 2"]
) -> Float[Tensor, "neighbour row col 2"]:
    """Return where each cell's neighbours lie, as coordinates for ``grid_sample(align_corners=False)``.

    −1 and 1 are the outermost cells' centres though they are read as the outer edges: so the weights were trained.
    """
    rows, cols = offsets.shape[-2:]
    cells = torch.stack(torch.meshgrid(torch.arange(cols), torch.arange(rows), indexing="xy"), dim=-1)
    learned = offsets.reshape(len(window), 2, rows, cols).movedim(1, -1)
    at = cells + window[:, None, None] + learned
    return 2 * at / torch.tensor([cols - 1, rows - 1]) - 1


def _read(
    values: Float[Tensor, "channel row col"], at: Float[Tensor, "neighbour row col 2"]
) -> Float[Tensor, "channel neighbour row col"]:
    neighbours, rows, cols = at.shape[:3]
    flat = F.grid_sample(values[None], at.reshape(1, -1, cols, 2), padding_mode="border", align_corners=False)
    return flat.reshape(len(values), neighbours, rows, cols)


def _hypotheses(
    layers: Layers, stage: Stage, matching: Matching, z: Float[Tensor, "row col"] | None
) -> Float[Tensor, "plane row col"]:
    """Return depths to try: all over the range at first, then around the cell's and its neighbours' own."""
    low, high = matching.inverse_range
    if z is None:
        # The middles of the intervals that the paper draws from at random.
        share = (torch.arange(_INITIAL_SAMPLES) + 0.5) / _INITIAL_SAMPLES
        return (1 / (low + share * (high - low)))[:, None, None].expand(-1, *matching.target.shape[-2:])
    steps = torch.arange(stage.samples) - stage.samples // 2
    planes = 1 / (1 / z + (stage.interval * (high - low) * steps)[:, None, None]).clamp(low, high)
    if not stage.neighbours:
        return planes
    ring = stage.reach * _ring(with_centre=False)
    ring = torch.cat([ring, 2 * ring])[: stage.neighbours]
    offsets = convolve(layers, f"patchmatch_{stage.number}.propa_conv", matching.target, dilation=stage.reach)
    return torch.cat([planes, _read(z[None], _positions(offsets, ring))[0]]).sort(0).values


def _grouped(x: Tensor, groups: int) -> Tensor:
    return x.reshape(groups, -1, *x.shape[1:])


def _likeness(
    layers: Layers, stage: Stage, target: Float[Tensor, "channel row col"], support: Tensor
) -> Float[Tensor, "neighbour row col"]:
    """Return how far neighbours look as if they were of the same surface."""
    theirs, own = _grouped(_read(target, support), stage.groups), _grouped(target, stage.groups)
    correlation = torch.einsum("gcnij,gcij->gnij", theirs, own) / own.shape[1]
    return pointwise(layers, f"patchmatch_{stage.number}.feature_weight_net", correlation).sigmoid()


def _nearness(
    planes: Float[Tensor, "plane row col"], support: Tensor, interval: float, inverse_range: tuple[float, float]
) -> Float[Tensor, "plane neighbour row col"]:
    """Return how near neighbours' hypotheses are to the cell's: 1 to 0 over four intervals."""
    low, high = inverse_range
    share = (1 / planes - low) / (high - low)
    apart = (_read(share, support) - share[:, None]).abs() / interval
    return torch.sigmoid(4 - 2 * apart.clamp(max=4))


def _similarity(
    layers: Layers,
    stage: Stage,
    matching: Matching,
    planes: Float[Tensor, "plane row col"],
    found: Found | None,
) -> tuple[Float[Tensor, "group plane row col"], Float[Tensor, "source row col"]]:
    """Return the correlation with the sources, averaged by view weights, which are told once."""
    own = _grouped(matching.target, stage.groups)
    total, weights = torch.zeros(()), []
    for number, (source, sweep) in enumerate(zip(matching.sources, matching.sweeps, strict=True)):
        at, _ = sweep.at(1 / planes)
        # Planes lie outermost in memory; kept so, nothing large is copied.
        theirs = read_planes(source, at, "zeros").movedim(0, 1)
        theirs = theirs.reshape(len(planes), stage.groups, -1, *theirs.shape[-2:])
        correlation = theirs.mul_(own).mean(2).movedim(0, 1)
        if found is None:
            name = f"patchmatch_{stage.number}.evaluation.pixel_wise_net"
            weight = pointwise(layers, name, correlation).amax(0).sigmoid()
        else:
            weight = found.view_weights[number]
        weights.append(weight)
        total = total + weight * correlation
    every = torch.stack(weights)
    return total / (every.sum(0) + _VIEW_WEIGHT_FLOOR), every


def _mean_of_steps(
    planes: Float[Tensor, "plane row col"], probability: Float[Tensor, "plane row col"]
) -> Float[Tensor, "row col"]:
    """Return the expected z-depth by the position among hypotheses that are even in inverse depth."""
    count = len(planes)
    share = (probability * torch.arange(count)[:, None, None]).sum(0) / (count - 1)
    first, last = 1 / planes[0], 1 / planes[-1]
    return 1 / (first + share * (last - first))
