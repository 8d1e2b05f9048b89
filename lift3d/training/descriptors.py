"""Descriptors made by hand: gradient histograms, comparisons of neighbours, Gabor waves, moments of colour.

Each maps images ``view 3 height width`` to ``view channel row col`` with cells that tile the image from its
top-left corner; what is left over on the right and below has no cell.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid

_Images = Float[Tensor, "view 3 height width"]
_Layers = Float[Tensor, "view channel height width"]


class Descriptor(nn.Module):
    """Layers of full size, averaged over square cells."""

    def __init__(self, rng: np.random.Generator, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.name = str(rng.choice(sorted(_KINDS)))
        self.numbers = nn.Parameter(torch.from_numpy(rng.uniform(0, 1, (16, 4))).float(), requires_grad=False)
        self.channel_count = int(self.forward(torch.zeros(1, 3, 4 * stride, 4 * stride)).shape[1])

    def forward(self, images: _Images) -> Float[Tensor, "view channel row col"]:
        """Return the descriptor of each cell."""
        return _KINDS[self.name](images, self.numbers, self.stride)

    def grid(self, size: ImageSize) -> FeatureGrid:
        """Return where the cells sit."""
        stride = self.stride
        return FeatureGrid(size.height // stride, size.width // stride, float(stride), float(stride))


def _grey(images: _Images) -> Float[Tensor, "view 1 height width"]:
    return images.mean(1, keepdim=True)


def _replicated(layers: _Layers, width: int) -> Float[Tensor, "view channel padded_height padded_width"]:
    return F.pad(layers, (width,) * 4, mode="replicate")


def _gradients(images: _Images, numbers: Tensor, stride: int) -> Tensor:
    """Gradient histograms of 12 orientations with soft bins (Dalal & Triggs 2005), at cells and around them."""
    grey = _replicated(_grey(images), 1)
    along_u = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]) / 2
    along_v = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]) / 2
    size = (along_u.square() + along_v.square() + 1e-8).sqrt()
    angle = torch.atan2(along_v, along_u)
    centers = torch.arange(12, device=images.device) * (2 * math.pi / 12)
    near = torch.cos(angle - centers[None, :, None, None]).clamp(min=0) ** 6
    cells = F.avg_pool2d(size * near, stride)
    around = F.avg_pool2d(_replicated(cells, 1), 3, stride=1)
    total = around.sum(1, keepdim=True) + 0.02
    return torch.cat([cells / total, around / total, F.avg_pool2d(images, stride), total.log()], dim=1)


def _comparisons(images: _Images, numbers: Tensor, stride: int) -> Tensor:
    """Census: how each of 16 neighbours compares with the pixel, soft to hard (Zabih & Woodfill 1994)."""
    reach = max(1, stride // 2)
    grey = _grey(F.avg_pool2d(_replicated(images, 1), 3, stride=1))
    wide = _replicated(grey, reach)
    height, width = grey.shape[-2:]
    hardness = 5 + 60 * float(numbers[0, 0])
    layers = []
    for right, down in ((numbers[:, 1:3] * 2 - 1) * reach).round().int().tolist():
        moved = wide[..., reach + down : reach + down + height, reach + right : reach + right + width]
        layers.append(torch.tanh(hardness * (moved - grey)))
    return F.avg_pool2d(torch.cat([*layers, images * 2 - 1], dim=1), stride)


def _waves(images: _Images, numbers: Tensor, stride: int) -> Tensor:
    """Energy and sign of Gabor waves of several lengths and directions (Daugman 1985)."""
    reach = 5
    at = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32)
    v, u = torch.meshgrid(at, at, indexing="ij")
    kernels = []
    for length, turn, phase, _ in numbers.tolist():
        angle, wavelength = math.pi * turn, 3 + 7 * length
        wave = torch.cos(2 * math.pi * (math.cos(angle) * u + math.sin(angle) * v) / wavelength + 2 * math.pi * phase)
        kernel = wave * torch.exp(-(u * u + v * v) / (2 * (0.4 * wavelength) ** 2))
        kernels.append((kernel - kernel.mean()) / kernel.abs().sum())
    answer = F.conv2d(_replicated(_grey(images), reach), torch.stack(kernels)[:, None])
    signed = torch.cat([answer.clamp(min=0), (-answer).clamp(min=0)], dim=1)
    return torch.cat([10 * F.avg_pool2d(signed, stride), F.avg_pool2d(images, stride)], dim=1)


def _moments(images: _Images, numbers: Tensor, stride: int) -> Tensor:
    """Mean, spread and skew of colour in cells and around them."""
    opponent = torch.stack([images.mean(1), images[:, 0] - images[:, 1], images[:, 2] - images[:, :2].mean(1)], dim=1)
    layers = []
    mean = F.avg_pool2d(opponent, stride)
    square, cube = F.avg_pool2d(opponent**2, stride), F.avg_pool2d(opponent**3, stride)
    spread = (square - mean**2).clamp(min=1e-5).sqrt()
    skew = (cube - 3 * mean * square + 2 * mean**3) / spread**3
    for around in (1, 3, 5):
        stacked = torch.cat([mean, 2 * spread, skew.clamp(-4, 4) / 4], dim=1)
        layers.append(F.avg_pool2d(_replicated(stacked, around // 2), around, stride=1))
    layers.append(mean - layers[-1][:, :3])
    return torch.cat([*layers, torch.sin(mean * 9), torch.cos(mean * 9)], dim=1)


_KINDS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "gradients": _gradients,
    "comparisons": _comparisons,
    "waves": _waves,
    "moments": _moments,
}
