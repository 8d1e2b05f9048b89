"""Sources beyond those whose depth is searched: what they show at samples that others have found.

The nearest sources find where surfaces are; more of them would hardly find it better, and each costs a sweep. But
agreement between distant targets comes of reading the same many views. An onlooker is read where it shows the colour
that the swept sources agree on: what hides the surface from it mostly has another.

Letters: a sample is a depth on a ray of the target; the consensus is its colour by the swept sources.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.plane_sweep import Sweep
from lift3d.lifters.photo_consistency import Descriptors

# Deviation from the consensus, in units of its own uncertainty, at which a reading counts e times less.
_LEAST_DEVIATION = 0.06
# Beyond this it does not count at all.
_MOST_DEVIATION = 2.5
# No more than a stop of another exposure is taken off.
_MOST_EXPOSURE = 0.2
_TINY = 1e-6


def colors_at(
    target: Camera, uv: Float[Tensor, "row col 2"], disparity: Float[Tensor, "sample row col"], view: Descriptors
) -> tuple[Float[Tensor, "3 sample row col"], Float[Tensor, "sample row col"], Bool[Tensor, "sample row col"]]:
    """Return a source's guide colour at points of rays of the target, and where they lie.

    Returns:
        Colours, depths in the source as multiples of those in the target, and which points are on its image.
    """
    camera = view.camera
    size = (camera.size.height, camera.size.width)
    at, relative_z = Sweep.between(uv, (target.K, target.w2c), (camera.K, camera.w2c), size).at(disparity)
    found = F.grid_sample(
        view.color[None], at.reshape(1, -1, *at.shape[2:]), padding_mode="border", align_corners=False
    )
    return found.reshape(3, *disparity.shape), relative_z, (at.abs() <= 1).all(-1)


def consensus_color(
    colors: Float[Tensor, "source 3 sample row col"], weight: Float[Tensor, "source sample row col"]
) -> tuple[Float[Tensor, "3 sample row col"], Float[Tensor, "sample row col"]]:
    """Return the mean colour of samples by weight and how far the sources are from it."""
    share = weight / weight.sum(0).clamp(min=_TINY)
    mean = (share[:, None] * colors).sum(0)
    return mean, (share * _distance(colors, mean)).sum(0)


def presence(
    target: Camera,
    uv: Float[Tensor, "row col 2"],
    disparity: Float[Tensor, "sample row col"],
    probability: Float[Tensor, "sample row col"],
    consensus: tuple[Float[Tensor, "3 sample row col"], Float[Tensor, "sample row col"]],
    onlookers: Sequence[Descriptors],
) -> Float[Tensor, "source sample row col"]:
    """Return how far each onlooker shows the samples, in [0, 1] times its taper; 0 outside its image.

    Args:
        target: The target camera.
        uv: Its guide pixels.
        disparity: 1 / z_depth of the samples.
        probability: Of the samples.
        consensus: Their colours, and how uncertain these are.
        onlookers: Sources whose depth was not searched.
    """
    mean, spread = consensus
    found = torch.zeros(len(onlookers), *disparity.shape)
    for index, view in enumerate(onlookers):
        color, _, is_inside = colors_at(target, uv, disparity, view)
        weight = probability * is_inside
        # Another exposure shifts the whole view; it is no reason to distrust it.
        shift = (weight * (color - mean)).sum((1, 2, 3)) / weight.sum().clamp(min=_TINY)
        shift = shift.clamp(-_MOST_EXPOSURE, _MOST_EXPOSURE)[:, None, None, None]
        deviation = _distance((color - shift)[None], mean)[0] / (spread + _LEAST_DEVIATION)
        seen = is_inside & (deviation < _MOST_DEVIATION)
        found[index] = view.taper * seen * torch.exp(-deviation.square())
    return found


def _distance(
    colors: Float[Tensor, "source 3 sample row col"], mean: Float[Tensor, "3 sample row col"]
) -> Float[Tensor, "source sample row col"]:
    return (colors - mean).square().mean(1).sqrt()
