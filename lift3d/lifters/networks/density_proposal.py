"""Stage I's network: where along its ray each cell of the target ends, and which sources to read there.

Convolutions run over planes and cells alike, so neither the number of planes nor the size of the image is fixed;
sources enter through sums, so neither is their number nor their order. The last layers start at zero: an untrained
network is the consensus without training, and training can only be measured against it.
"""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lift3d.lifters.ray_evidence import SAMPLE_INPUTS, VOLUME_CHANNELS

# The power that the consensus is raised to before anything is learned (PlaneSweepConfig.sharpening).
_SHARPENING = 1.5
_LOG_UNIT = 4.0


# Channels at the resolution of the guide grid and at each halving.
WIDTHS = (12, 24, 40, 48)


class PlaneConvolution(nn.Module):
    """A 3×3 convolution within planes, then one of length 3 across them: a third of the cost of 3×3×3.

    Planes are the batch of both: two-dimensional convolutions of many small images are what CPUs do best.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.within = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)
        self.across = nn.Linear(3 * channels_out, channels_out)

    def forward(self, volume: Float[Tensor, "plane channel row col"]) -> Tensor:
        """Return a volume with every ``stride``-th plane, row and column."""
        planes = F.relu(self.within(volume))
        flat, step = planes.flatten(2), self.stride
        # One product per neighbour and place, summed where it lies: no copy of three planes beside one another.
        nearer, own, farther = self.across.weight.chunk(3, dim=1)
        found = torch.matmul(own, flat[::step]) + self.across.bias[:, None]
        for weight, rows, at in (
            (nearer, slice(1, None), flat[step - 1 :: step][: len(found) - 1]),
            (farther, slice(None, len(flat) // step if step > 1 else -1), flat[1::step]),
        ):
            found[rows].baddbmm_(weight.expand(len(at), -1, -1), at)
        return F.relu(found).reshape(len(found), -1, *planes.shape[2:])


class DensityProposal(nn.Module):
    """A U-Net over the volume of evidence, and a small head that weighs sources at samples."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = PlaneConvolution(VOLUME_CHANNELS, WIDTHS[0])
        steps = list(itertools.pairwise(WIDTHS))
        self.down = nn.ModuleList(PlaneConvolution(a, b, stride=2) for a, b in steps)
        self.deep = nn.ModuleList(PlaneConvolution(b, b) for _, b in steps)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in steps)
        self.fuse = nn.ModuleList(PlaneConvolution(a, a) for a, _ in steps)
        self.logit = nn.Linear(WIDTHS[0], 1)
        self.own = nn.Linear(SAMPLE_INPUTS + WIDTHS[0], 24)
        self.mix = nn.Linear(48, 16)
        self.score = nn.Linear(16, 1)
        with torch.no_grad():
            for last in (self.logit, self.score):
                for parameter in last.parameters():
                    parameter.zero_()

    def density(
        self, volume: Float[Tensor, "channel plane row col"]
    ) -> tuple[Float[Tensor, "plane row col"], Float[Tensor, "plane state row col"]]:
        """Return the probability that a ray ends at each plane, and what the network knows of the place."""
        levels = [self.stem(volume.movedim(1, 0))]
        for down, deep in zip(self.down, self.deep, strict=True):
            halved = down(levels[-1])
            levels.append(halved + deep(halved))
        found = levels.pop()
        for up, fuse, level in zip(reversed(self.up), reversed(self.fuse), reversed(levels), strict=True):
            wider = F.interpolate(up(found), size=level.shape[2:], mode="bilinear", align_corners=False)
            joint = level + wider.repeat_interleave(2, dim=0)[: len(level)]
            found = joint + fuse(joint)
        # A product: the convolution of this one channel takes as long as the widest ones.
        correction = torch.matmul(self.logit.weight, found.flatten(2)) + self.logit.bias[:, None]
        logit = _SHARPENING * _LOG_UNIT * volume[0] + correction.reshape(volume[0].shape)
        probability = torch.softmax(logit, dim=0)
        return probability, found

    def scores(
        self,
        inputs: Float[Tensor, "source input sample row col"],
        state: Float[Tensor, "state sample row col"],
        share: Float[Tensor, "source sample row col"],
    ) -> Float[Tensor, "source sample row col"]:
        """Return the log of how much more each source counts than without training."""
        # What all sources share goes through its part of a layer once; columns are samples of cells.
        shape = share.shape
        each, place, share = inputs.flatten(2), state.flatten(1), share.flatten(1)
        count = inputs.shape[1]
        of_input, of_state = self.own.weight[:, :count], self.own.weight[:, count:]
        own = F.relu(torch.matmul(of_input, each) + (of_state @ place + self.own.bias[:, None]))
        context = (share[:, None] * own).sum(0)
        of_own, of_context = self.mix.weight.chunk(2, dim=1)
        hidden = F.relu(torch.matmul(of_own, own) + (of_context @ context + self.mix.bias[:, None]))
        score = (torch.matmul(self.score.weight, hidden) + self.score.bias).reshape(shape)
        return 4 * torch.tanh(score / 4)
