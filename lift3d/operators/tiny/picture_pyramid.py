"""A lean U-Net from pixels to cells of four pixels, for answers at every pixel: it sees far and has no norms.

Every cell is centred in its block: a kernel that halves is as wide as its stride with half of it on either side.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.preprocessing import Placement

# Height and width of the input must be multiples of the coarsest level's pixels.
MULTIPLE_PX = 32
STRIDE_PX = 4
LATTICE = CellLattice(STRIDE_PX, STRIDE_PX / 2)
# The height of the pictures that the networks were trained on: a higher one is seen reduced.
TRAINED_HEIGHT_PX = 120
# Channels of cells of 2, 4, 8, 16 and 32 pixels: as much as one core trains in minutes.
_WIDTHS = (16, 32, 48, 64, 64)


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
    return Placement.of(size, resized, LATTICE, MULTIPLE_PX)


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
