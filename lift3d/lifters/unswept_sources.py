"""Sources beyond those whose depth is searched: what they show at samples that others have found.

The nearest sources find where surfaces are; more would hardly find it better, and each costs a sweep. But agreement
between distant targets comes of reading the same many views. An unswept source is read where it shows the colour that
the swept sources agree on: what hides the surface from it mostly has another.

Letters: a sample is a depth on a ray of the target; the consensus is its colour by the swept sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.sampling import read_planes
from lift3d.lifters.photo_consistency import Descriptors

# Added to the uncertainty of the consensus colour: noise that any two pictures differ by.
_LEAST_DEVIATION = 0.06
# In units of that uncertainty: beyond it a reading does not count at all.
_MOST_DEVIATION = 2.5
# No more than a stop of another exposure is taken off.
_MOST_EXPOSURE = 0.2
# Of the searched sources' weight: with less the colour that they agree on is little known, and so is who shows it.
_SURE = 0.1
_TINY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class UnsweptSource:
    """A source whose depth is not searched; confidence is 0 where invalid, rising to 1 away from the border."""

    view: Descriptors
    confidence: Float[Tensor, "row col"]


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """Mean colour of samples by the swept sources, how far these are from it, and how well it is known, in [0, 1]."""

    color: Float[Tensor, "3 sample row col"]
    spread: Float[Tensor, "sample row col"]
    strength: Float[Tensor, "sample row col"]

    @classmethod
    def of(
        cls, colors: Float[Tensor, "source 3 sample row col"], weight: Float[Tensor, "source sample row col"]
    ) -> "Consensus":
        """Average the sources' colours."""
        total = weight.sum(0)
        share = weight / torch.where(total > 0, total, 1.0)
        mean = (share[:, None] * colors).sum(0)
        return cls(mean, (share * _distance(colors, mean)).sum(0), (total / _SURE).clamp(max=1))


def colors_at(
    target: Camera, uv: Float[Tensor, "row col 2"], disparity: Float[Tensor, "sample row col"], view: Descriptors
) -> tuple[Float[Tensor, "3 sample row col"], Float[Tensor, "sample row col"], Float[Tensor, "sample row col 2"]]:
    """Return a source's guide colour at points of rays of the target, and where they lie in it.

    That is depths as multiples of those in the target, and coordinates for ``grid_sample``.
    """
    camera = view.camera
    at, relative_z = Sweep.between(uv, target, camera).at(disparity)
    return read_planes(view.color, at), relative_z, at


def unswept_visibility(
    target: Camera,
    uv: Float[Tensor, "row col 2"],
    disparity: Float[Tensor, "sample row col"],
    probability: Float[Tensor, "sample row col"],
    consensus: Consensus,
    unswept: Sequence[UnsweptSource],
) -> Float[Tensor, "source sample row col"]:
    """Return how far each unswept source shows the samples, in [0, 1] times its taper; 0 outside its image."""
    found = torch.zeros(len(unswept), *disparity.shape)
    for index, one in enumerate(unswept):
        color, _, at = colors_at(target, uv, disparity, one.view)
        counts = read_planes(one.confidence[None], at, "zeros")[0] * consensus.strength
        # Another exposure shifts the whole view; it is no reason to distrust it.
        weight = probability * counts
        shift = (weight * (color - consensus.color)).sum((1, 2, 3)) / weight.sum().clamp(min=_TINY)
        shift = shift.clamp(-_MOST_EXPOSURE, _MOST_EXPOSURE)[:, None, None, None]
        deviation = _distance((color - shift)[None], consensus.color)[0] / (consensus.spread + _LEAST_DEVIATION)
        agrees = torch.where(deviation < _MOST_DEVIATION, torch.exp(-deviation.square()), 0.0)
        found[index] = one.view.taper * counts * agrees
    return found


def _distance(
    colors: Float[Tensor, "source 3 sample row col"], mean: Float[Tensor, "3 sample row col"]
) -> Float[Tensor, "source sample row col"]:
    return (colors - mean).square().mean(1).sqrt()
