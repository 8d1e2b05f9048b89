"""From an image to a network's input and back from its output to cells of the image.

The image is resized if asked, then padded by mirroring, never by zeros: zero is a colour. The padding is
placed so that the cells sit as centrally on the image as whole pixels allow; cells centred outside the image
are cropped away.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.errors import ContractError
from lift3d.operators.answers import resized
from lift3d.operators.cell_lattice import CellLattice


@dataclass(frozen=True, slots=True)
class Normalization:
    """What a network expects of its input: ``(image − mean) / std`` per channel, image in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, image: Float[Tensor, "*image 3 height width"]) -> Float[Tensor, "*image 3 height width"]:
        """Return the normalised image, or images."""
        mean = torch.tensor(self.mean, dtype=image.dtype)[:, None, None]
        return (image - mean) / torch.tensor(self.std, dtype=image.dtype)[:, None, None]


@dataclass(frozen=True, slots=True)
class Placement:
    """How an image lies in a network's input: resized, then padded, by ``top`` and ``left`` before it."""

    image: ImageSize
    resized: ImageSize
    top: int
    left: int
    padded: ImageSize

    @classmethod
    def of(cls, image: ImageSize, resized: ImageSize, lattice: CellLattice, multiple: int) -> "Placement":
        """Place an image so that cells tile it centrally; the input's sides are multiples of ``multiple``."""
        top, height = _pad_axis(resized.height, lattice, multiple)
        left, width = _pad_axis(resized.width, lattice, multiple)
        return cls(image, resized, top, left, ImageSize(height, width))

    @classmethod
    def stretched(cls, image: ImageSize, network: ImageSize) -> "Placement":
        """Stretch the image to the only size a network takes."""
        return cls(image, network, 0, 0, network)

    def apply(self, image: Float[Tensor, "*image 3 height width"]) -> Float[Tensor, "*image 3 height_in width_in"]:
        """Return the network's input, not normalised, of an image or images of one size."""
        rows = _mirrored(self.resized.height, self.top, self.padded.height)
        cols = _mirrored(self.resized.width, self.left, self.padded.width)
        return resized(image, self.resized)[..., rows, :][..., cols]

    def cropped(self, answer: Float[Tensor, "channel height_in width_in"]) -> Float[Tensor, "channel height width"]:
        """Return the image's own part of an answer with a cell per pixel of an input that is not resized."""
        return answer[:, self.top :, self.left :][:, : self.image.height, : self.image.width].contiguous()

    def to_image(
        self,
        values: Float[Tensor, "channel row_in col_in"],
        lattice: CellLattice,
        global_tokens: Float[Tensor, "token channel"] | None = None,
    ) -> FeatureMap:
        """Return the cells that are centred on the image; ContractError if they do not span the input."""
        rows_in, cols_in = values.shape[-2:]
        if not (lattice.spans(rows_in, self.padded.height) and lattice.spans(cols_in, self.padded.width)):
            raise ContractError(
                f"A network gives {rows_in}×{cols_in} cells for an input of {self.padded}, expected one every "
                f"{lattice.stride} pixels: it resizes inside."
            )
        top, rows = _kept(values.shape[-2], lattice, self.top, self.resized.height)
        left, cols = _kept(values.shape[-1], lattice, self.left, self.resized.width)
        scale_u = self.image.width / self.resized.width
        scale_v = self.image.height / self.resized.height
        corner = lattice.first - lattice.stride / 2
        grid = FeatureGrid(
            rows=rows,
            cols=cols,
            stride_u=lattice.stride * scale_u,
            stride_v=lattice.stride * scale_v,
            origin_u=(corner + lattice.stride * left - self.left) * scale_u,
            origin_v=(corner + lattice.stride * top - self.top) * scale_v,
        )
        kept = values[:, top : top + rows, left : left + cols]
        return FeatureMap(kept.to(torch.float32).contiguous(), grid, global_tokens)


def _pad_axis(length: int, lattice: CellLattice, multiple: int) -> tuple[int, int]:
    """Return the padding before an axis and its padded length."""
    stride = lattice.stride
    count = math.ceil(length / stride)
    wanted_first = (length - (count - 1) * stride) / 2
    shift = round(lattice.first - wanted_first)
    # A network that crops at every convolution starts far inside; it needs as much more at the end.
    cropped = max(0, math.floor(lattice.first - stride / 2))
    before = shift if shift >= 0 else round(shift % stride)
    return before, math.ceil((before + length + cropped) / multiple) * multiple


def _mirrored(length: int, before: int, padded: int) -> Tensor:
    """Return which pixel stands at each place of a padded axis: the image and its mirror images in turn."""
    index = (torch.arange(padded) - before) % (2 * length)
    return torch.minimum(index, 2 * length - 1 - index)


def _kept(count: int, lattice: CellLattice, before: int, length: int) -> tuple[int, int]:
    """Return the first cell whose centre is on the image, and how many are; at least the nearest one."""
    centers = [lattice.first + lattice.stride * index - before for index in range(count)]
    inside = [index for index, center in enumerate(centers) if 0 <= center <= length]
    if not inside:
        inside = [min(range(count), key=lambda index: abs(centers[index] - length / 2))]
    return inside[0], len(inside)
