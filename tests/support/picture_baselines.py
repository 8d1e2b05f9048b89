"""What colorization and super-resolution are judged against: no colour at all, and bicubic enlargement."""

import torch
from torch import nn

import lift3d
from lift3d.operators.protocol import Operator


def grey() -> Operator:
    """Make the baseline of colorization: the luminance of a picture (ITU-R BT.601) in all three channels."""
    luminance = nn.Conv2d(3, 3, 1, bias=False)
    luminance.weight.data = torch.tensor([0.299, 0.587, 0.114]).expand(3, 3)[..., None, None].clone()
    return lift3d.operator(luminance, ("output",), name="grey", prediction="image", restores=True)


def bicubic() -> Operator:
    enlarged = nn.Upsample(scale_factor=2, mode="bicubic")
    return lift3d.operator(enlarged, ("output",), name="bicubic", prediction="image", restores=True, enlarges=2)
