"""Networks that nobody trained: convolutional nets and vision transformers with random weights and exact grids.

What a lifter learns on them it owes to geometry and statistics, not to one network. Each maps images
``view 3 height width`` to features ``view channel row col`` and says where the cells sit.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid


class _Step(nn.Module):
    """A convolution with bias, perhaps instance norm, and a nonlinearity; it knows what it does to a grid."""

    def __init__(self, rng: np.random.Generator, channels: tuple[int, int], stride: int, style: "_Style") -> None:
        super().__init__()
        # A strided kernel of 4 keeps cells aligned with pixels; one of 3 shifts them by half a pixel, as in many nets.
        self.kernel = 3 if stride == 1 or style.is_shifted else 4
        self.stride, self.style = stride, style
        fan_in = channels[0] * self.kernel**2
        weight = rng.normal(0, math.sqrt(2 / fan_in), (channels[1], channels[0], self.kernel, self.kernel))
        self.weight = nn.Parameter(torch.from_numpy(weight).float(), requires_grad=False)
        self.bias = nn.Parameter(torch.from_numpy(rng.normal(0, 0.1, channels[1])).float(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        start = x
        if self.stride == 2 and self.style.is_smoothed:
            # Averaged first, then taken apart: no aliasing (Zhang 2019, Making Convolutional Networks Shift-Invariant).
            x = F.avg_pool2d(x, 2)
            x = F.conv2d(self._padded(x, 1), self.weight[..., :3, :3], self.bias)
        else:
            x = F.conv2d(self._padded(x, 1), self.weight, self.bias, stride=self.stride)
        if self.style.is_normalized:
            x = F.instance_norm(x)
        x = F.gelu(x) if self.style.is_soft else F.relu(x)
        return (x + start) / 2**0.5 if self.style.is_residual and self.stride == 1 else x

    def _padded(self, x: Tensor, width: int) -> Tensor:
        return F.pad(x, (width,) * 4, mode=self.style.padding)

    def grid_after(self, grid: FeatureGrid) -> FeatureGrid:
        """Return the grid of the output: cell r has its centre at input cell ``stride · r − 1 + kernel / 2``."""
        if self.stride == 1:
            return grid
        # Smoothed is as with a kernel of 4: pairs of cells, and a kernel of 3 on their means.
        kernel = 4 if self.style.is_smoothed else self.kernel
        shift = kernel / 2 - 1 - self.stride / 2
        rows, cols = ((count + 2 - kernel) // 2 + 1 for count in (grid.rows, grid.cols))
        origin = (grid.origin_u + shift * grid.stride_u, grid.origin_v + shift * grid.stride_v)
        return FeatureGrid(rows, cols, 2 * grid.stride_u, 2 * grid.stride_v, *origin)


class _Style:
    """What all steps of a network share."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.is_smoothed, self.is_shifted = bool(rng.uniform() < 0.35), bool(rng.uniform() < 0.5)
        self.is_normalized, self.is_soft = bool(rng.uniform() < 0.35), bool(rng.uniform() < 0.4)
        self.is_residual = bool(rng.uniform() < 0.5)
        self.padding = str(rng.choice(["constant", "reflect", "replicate"]))


class RandomConvNet(nn.Module):
    """Strided stages of random convolutions down to a stride of 2, 4, 8 or 16."""

    def __init__(self, rng: np.random.Generator, stride: int, channel_count: int) -> None:
        super().__init__()
        self.style = _Style(rng)
        stages = int(math.log2(stride))
        steps, width = [], 3
        for stage in range(stages):
            out = channel_count if stage == stages - 1 else min(channel_count, 16 * 2**stage)
            steps.append(_Step(rng, (width, out), 2, self.style))
            steps += [_Step(rng, (out, out), 1, self.style) for _ in range(int(rng.integers(0, 5 if stage else 2)))]
            width = out
        self.steps = nn.Sequential(*steps)
        self.channel_count = channel_count

    def forward(self, images: Float[Tensor, "view 3 height width"]) -> Float[Tensor, "view channel row col"]:
        """Return the features of the last step."""
        features: Tensor = self.steps((images - 0.45) / 0.25)
        return features

    def grid(self, size: ImageSize) -> FeatureGrid:
        """Return where the cells sit."""
        grid = FeatureGrid(size.height, size.width, 1.0, 1.0)
        for step in self.steps:
            if isinstance(step, _Step):
                grid = step.grid_after(grid)
        return grid


class RandomViT(nn.Module):
    """Patches, position codes of some strength, a few blocks of random attention."""

    def __init__(self, rng: np.random.Generator, patch: int, channel_count: int) -> None:
        super().__init__()
        self.patch, self.channel_count = patch, channel_count
        self.head_count = int(rng.choice([2, 4]))
        self.position_strength = float(rng.choice([0.0, 0.2, 0.5, 1.0]))
        # Random queries and keys attend everywhere alike; a larger scale makes heads choose.
        self.sharpness = float(np.exp(rng.uniform(0, np.log(6))))
        self.embed = _linear(rng, 3 * patch * patch, channel_count, 2.0)
        self.blocks = nn.ModuleList([_Block(rng, channel_count) for _ in range(int(rng.integers(1, 7)))])
        waves = rng.normal(0, 2.0, (channel_count, 2))
        self.waves = nn.Parameter(torch.from_numpy(waves).float(), requires_grad=False)
        phases = rng.uniform(0, 2 * np.pi, channel_count)
        self.phases = nn.Parameter(torch.from_numpy(phases).float(), requires_grad=False)

    def forward(self, images: Float[Tensor, "view 3 height width"]) -> Float[Tensor, "view channel row col"]:
        """Return the tokens of the last block; the image is scaled so that patches tile it."""
        grid = self.grid(ImageSize(images.shape[2], images.shape[3]))
        size = (grid.rows * self.patch, grid.cols * self.patch)
        if size != tuple(images.shape[2:]):
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        patches = F.unfold((images - 0.45) / 0.25, self.patch, stride=self.patch).transpose(1, 2)
        tokens = self.embed(patches) + self.position_strength * self._positions(grid)
        for block in self.blocks:
            tokens = block(tokens, self.head_count, self.sharpness)
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        features: Tensor = tokens.transpose(1, 2).reshape(len(images), -1, grid.rows, grid.cols)
        return features

    def grid(self, size: ImageSize) -> FeatureGrid:
        """Return where the tokens sit: they tile the image."""
        return FeatureGrid.covering(size, float(self.patch))

    def _positions(self, grid: FeatureGrid) -> Float[Tensor, "token channel"]:
        """Smooth waves over the image, one per channel: the same whatever the number of tokens."""
        rows = (torch.arange(grid.rows, device=self.waves.device) + 0.5) / grid.rows
        cols = (torch.arange(grid.cols, device=self.waves.device) + 0.5) / grid.cols
        places = torch.stack(torch.meshgrid(rows, cols, indexing="ij"), dim=-1).reshape(-1, 2)
        return torch.sin(2 * torch.pi * places @ self.waves.T + self.phases)


class _Block(nn.Module):
    """Attention and a hidden layer, both added to what comes in (Dosovitskiy et al. 2021)."""

    def __init__(self, rng: np.random.Generator, width: int) -> None:
        super().__init__()
        self.qkv, self.out = _linear(rng, width, 3 * width), _linear(rng, width, width)
        self.up, self.down = _linear(rng, width, 2 * width, 2.0), _linear(rng, 2 * width, width)

    def forward(self, tokens: Tensor, head_count: int, sharpness: float) -> Tensor:
        views, count, width = tokens.shape
        qkv = self.qkv(F.layer_norm(tokens, (width,))).reshape(views, count, 3, head_count, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(sharpness * q, k, v)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(views, count, width))
        added: Tensor = tokens + self.down(F.gelu(self.up(F.layer_norm(tokens, (width,)))))
        return added


def _linear(rng: np.random.Generator, inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    """A linear layer whose output has about the variance of its input times ``gain``."""
    layer = nn.Linear(inputs, outputs)
    layer.weight = nn.Parameter(
        torch.from_numpy(rng.normal(0, math.sqrt(gain / inputs), (outputs, inputs))).float(), requires_grad=False
    )
    layer.bias = nn.Parameter(torch.from_numpy(rng.normal(0, 0.05, outputs)).float(), requires_grad=False)
    return layer
