"""Two small U-Nets from pixels to cells of 4 pixels, whose cells are centred in their blocks.

There is no statistic over the image in them, so a crop gives what the whole image gives, apart from its borders. The
hourglass norms the channels of each cell; the pyramid, for answers at every pixel, sees far and has no norms.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.preprocessing import Placement

# Height and width of the input must be multiples of the coarsest level's pixels.
MULTIPLE_PX = 32
STRIDE_PX = 4
# The height of the pictures that pyramids were trained on: a higher one is seen reduced.
TRAINED_HEIGHT_PX = 120
# Channels of a pyramid's cells of 2, 4, 8, 16 and 32 pixels: as much as one core trains in minutes.
_WIDTHS = (16, 32, 48, 64, 64)


class CellNorm(nn.Module):
    """Root-mean-square norm over the channels of each cell (Zhang & Sennrich, NeurIPS 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, cells: Float[Tensor, "image channel row col"]) -> Float[Tensor, "image channel row col"]:
        """Return cells of unit mean square, times the gain."""
        return cells * torch.rsqrt(cells.square().mean(1, keepdim=True) + 1e-5) * self.gain


class Residual(nn.Module):
    """Two 3×3 convolutions beside a shortcut; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = CellNorm(channels)
        self.enter = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")
        self.leave = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.leave.weight)

    def forward(self, cells: Float[Tensor, "image channel row col"]) -> Float[Tensor, "image channel row col"]:
        """Return the cells, corrected."""
        correction: Tensor = self.leave(functional.relu(self.enter(self.norm(cells))))
        return cells + correction


class Hourglass(nn.Module):
    """Pixels in, cells of 4 pixels out; context through cells of 8, 16 and 32 pixels."""

    def __init__(self, channels_in: int, channels_out: int, widths: tuple[int, int, int, int] = (24, 48, 80, 96)):
        """Take the channels of cells of 2, 4, 8 and 16 pixels; cells of 32 have as many as those of 16."""
        super().__init__()
        half, fine, middle, coarse = widths
        self.stem = nn.Conv2d(channels_in, half, 4, stride=2, padding=1, padding_mode="replicate")
        self.to_fine = nn.Conv2d(half, fine, 2, stride=2)
        self.fine = Residual(fine)
        self.to_middle = nn.Conv2d(fine, middle, 2, stride=2)
        self.middle = Residual(middle)
        self.to_coarse = nn.Conv2d(middle, coarse, 2, stride=2)
        self.coarse = Residual(coarse)
        self.around = nn.Sequential(nn.Conv2d(coarse, coarse, 2, stride=2), Residual(coarse))
        self.from_coarse = nn.Conv2d(coarse, middle, 1)
        self.middle_again = Residual(middle)
        self.from_middle = nn.Conv2d(middle, fine, 1)
        self.fine_again = nn.Sequential(Residual(fine), Residual(fine))
        self.head = nn.Sequential(CellNorm(fine), nn.Conv2d(fine, channels_out, 1))

    def forward(self, pixels: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image out row col"]:
        """Return the cells of 4 pixels; height and width are multiples of 32."""
        fine = self.fine(self.to_fine(functional.relu(self.stem(pixels))))
        middle = self.middle(self.to_middle(fine))
        coarse = self.coarse(self.to_coarse(middle))
        coarse = coarse + _twice(self.around(coarse))
        middle = self.middle_again(middle + _twice(self.from_coarse(coarse)))
        fine = self.fine_again(fine + _twice(self.from_middle(middle)))
        cells: Tensor = self.head(fine)
        return cells


def _twice(cells: Tensor) -> Tensor:
    return functional.interpolate(cells, scale_factor=2, mode="bilinear", align_corners=False)


class _Level(nn.Module):
    """Two convolutions beside a shortcut; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, cells: Float[Tensor, "image channel row col"]) -> Float[Tensor, "image channel row col"]:
        """Return the cells, corrected."""
        change: Tensor = self.second(functional.relu(self.first(functional.relu(cells))))
        return cells + change


def placed(size: ImageSize) -> Placement:
    """Return how an image lies in the input of a pyramid."""
    resized = size.with_height(min(size.height, TRAINED_HEIGHT_PX))
    return Placement.of(size, resized, CellLattice(STRIDE_PX, STRIDE_PX / 2), MULTIPLE_PX)


class PicturePyramid(nn.Module):
    """Pixels in, cells of four pixels out; context through cells of 8, 16 and 32 pixels.

    Source:
        Ronneberger, Fischer & Brox, U-Net, MICCAI 2015, with sums in place of joined channels.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        before = (channels_in, *_WIDTHS[:-1])
        pairs = list(zip(before, _WIDTHS, strict=True))
        self.halve = nn.ModuleList(nn.Conv2d(one, other, 4, stride=2, padding=1) for one, other in pairs)
        self.down = nn.ModuleList(_Level(width) for width in _WIDTHS[1:])
        self.lead_up = nn.ModuleList(nn.Conv2d(_WIDTHS[k], _WIDTHS[k - 1], 1) for k in (4, 3, 2))
        self.up = nn.ModuleList(_Level(_WIDTHS[k - 1]) for k in (4, 3, 2))
        self.last = nn.Conv2d(_WIDTHS[1], channels_out, 1)

    def forward(self, pixels: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image out row col"]:
        """Return the cells; height and width are multiples of MULTIPLE_PX."""
        cells = functional.relu(self.halve[0](pixels))
        levels = []
        for halve, level in zip(self.halve[1:], self.down, strict=True):
            cells = level(halve(cells))
            levels.append(cells)
        cells = levels.pop()
        for lead_up, level in zip(self.lead_up, self.up, strict=True):
            wider = functional.interpolate(lead_up(cells), scale_factor=2.0, mode="bilinear", align_corners=False)
            cells = level(levels.pop() + wider)
        answer: Tensor = self.last(functional.relu(cells))
        return answer
