"""What colorization and super-resolution are judged against: no colour at all, and bicubic enlargement."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

import lift3d
from lift3d.operators.protocol import Operator


class Grey(nn.Module):
    """The luminance of a picture (ITU-R BT.601)."""

    def forward(self, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
        """Return it in all three channels."""
        share = torch.tensor([0.299, 0.587, 0.114]).to(pixels)
        return (pixels * share[:, None, None]).sum(1, keepdim=True).expand(-1, 3, -1, -1)


class Bicubic(nn.Module):
    """A picture of twice the size."""

    def forward(self, pixels: Float[Tensor, "1 3 row col"]) -> Float[Tensor, "1 3 height width"]:
        """Return it."""
        return functional.interpolate(pixels, scale_factor=2, mode="bicubic", align_corners=False)


def grey() -> Operator:
    """Make the baseline of colorization."""
    return lift3d.operator(Grey(), ("output",), name="grey", prediction="image", restores=True)


def bicubic() -> Operator:
    """Make the baseline of super-resolution by two."""
    return lift3d.operator(Bicubic(), ("output",), name="bicubic", prediction="image", restores=True, enlarges=2)
