"""Dense features that no label taught: ``tiny:encoder``, a small vision transformer behind a convolutional stem.

Where a cell sits is known from its neighbours alone (a depthwise convolution before each attention), so that any
image size works and there is no table of positions to interpolate.

Source:
    Chu et al., Conditional Positional Encodings for Vision Transformers, ICLR 2023.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.operators.answers import Encoder
from lift3d.operators.names import OperatorName
from lift3d.operators.tiny.picture_cells import TinyOperator
from lift3d.operators.tiny.u_nets import CellNorm, Residual

STRIDE_PX = 8
CHANNEL_COUNT = 96
_HEAD_COUNT, _BLOCK_COUNT = 4, 3


class Block(nn.Module):
    """Position from the neighbours, attention over all cells, and a perceptron per cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.place = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate", groups=channels)
        self.norm = CellNorm(channels)
        self.to_heads = nn.Conv2d(channels, 3 * channels, 1)
        self.from_heads = nn.Conv2d(channels, channels, 1)
        self.perceptron = nn.Sequential(
            CellNorm(channels), nn.Conv2d(channels, 3 * channels, 1), nn.GELU(), nn.Conv2d(3 * channels, channels, 1)
        )

    def forward(self, cells: Float[Tensor, "image channel row col"]) -> Float[Tensor, "image channel row col"]:
        """Return the cells after one block."""
        cells = cells + self.place(cells)
        count, channels, rows, cols = cells.shape
        heads = self.to_heads(self.norm(cells)).reshape(count, 3, _HEAD_COUNT, channels // _HEAD_COUNT, rows * cols)
        # Attention reads cells row by row: columns cost it three to five times as much.
        query, key, value = heads.transpose(-1, -2).contiguous().unbind(1)
        seen = functional.scaled_dot_product_attention(query, key, value)
        cells = cells + self.from_heads(seen.transpose(-1, -2).reshape(count, channels, rows, cols))
        refined: Tensor = cells + self.perceptron(cells)
        return refined


class EncoderNetwork(nn.Module):
    """Pixels in, cells of 8 pixels out; a fourth input says which pixels are hidden (none but in training)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(4, 32, 4, stride=2, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(32, 64, 2, stride=2),
            Residual(64),
            nn.Conv2d(64, CHANNEL_COUNT, 2, stride=2),
            Residual(CHANNEL_COUNT),
        )
        self.blocks = nn.Sequential(*(Block(CHANNEL_COUNT) for _ in range(_BLOCK_COUNT)))
        self.norm = CellNorm(CHANNEL_COUNT)

    def forward(
        self, pixels: Float[Tensor, "image 3 height width"], is_hidden: Float[Tensor, "image 1 height width"]
    ) -> Float[Tensor, "image channel row col"]:
        """Return features; height and width are multiples of 8."""
        shown = torch.cat([(2 * pixels - 1) * (1 - is_hidden), is_hidden], dim=1)
        cells: Tensor = self.norm(self.blocks(self.stem(shown)))
        return cells


class TinyEncoder(TinyOperator, Encoder):
    """Features of cells of 8 pixels."""

    def __init__(self, name: OperatorName, network: EncoderNetwork) -> None:
        super().__init__(name, network, STRIDE_PX, CHANNEL_COUNT, stage_version=2, prediction_kind="embedding")

    def _cells(self, pixels: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image channel row col"]:
        cells: Tensor = self._network(pixels, torch.zeros_like(pixels[:, :1]))
        return cells
