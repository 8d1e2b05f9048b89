"""A torch module in a file, as the operator ``split:`` takes it."""

import torch
from torch import nn


def net() -> nn.Module:
    """Two convolutions at stride 4, always the same."""
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, 8, 3, 2, 1))
    for parameter in layers.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return layers
