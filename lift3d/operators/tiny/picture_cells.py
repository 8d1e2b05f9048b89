"""What the small models share: a network ready to answer, blocks, and cells that must be an image's own."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.errors import ShapeError
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import digest_weights
from lift3d.operators.preprocessing import Placement
from lift3d.operators.protocol import OperatorSpec


class TinyOperator:
    """An operator that runs a small network.

    Cells of ``stride`` pixels tile its input, whose sides are multiples of ``multiple``, of the stride by default.
    """

    def __init__(
        self, name: OperatorName, network: nn.Module, stride: int, channel_count: int, multiple: int = 0, **spec: Any
    ) -> None:
        self._network: Any = network.eval().requires_grad_(False)
        self._lattice, self._multiple = CellLattice(stride, stride / 2), multiple or stride
        self.spec = OperatorSpec(
            name=str(name),
            weights_digest=digest_weights(network),
            channel_count=channel_count,
            stride_px=float(stride),
            **{"stage_version": 1, **spec},
        )

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on."""
        self._network.to(device)

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return what the network says of each cell."""
        return self.encode_batch(image[None])[0]

    def encode_batch(self, images: Float[Tensor, "image 3 height width"]) -> list[tuple[FeatureMap, ...]]:
        """Return what the network says of each image's cells."""
        placement = self._placed(ImageSize(*images.shape[-2:]))
        with torch.no_grad():
            cells = self._cells(placement.apply(images.to(torch.float32)))
        return [(placement.to_image(one, self._lattice),) for one in cells]

    def _placed(self, size: ImageSize) -> Placement:
        return Placement.of(size, size, self._lattice, self._multiple)

    def _cells(self, pixels: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image channel row col"]:
        cells: Tensor = self._network(pixels)
        return cells

    def _check_grid(self, features: FeatureMap, rows: int, cols: int) -> None:
        """Refuse, by ShapeError, a cut whose cells are not those of an image of the size that is asked for."""
        if features.grid.shape != (rows, cols):
            raise ShapeError(
                f"Operator '{self.spec.name}' got {features.grid.rows}×{features.grid.cols} cells; an image of the "
                f"size that is asked for has {rows}×{cols}. Give the grid of encode."
            )


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int, padding_mode: Literal["zeros", "replicate"] = "zeros") -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding_mode)
        self.second = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding_mode)

    def forward(self, values: Tensor) -> Tensor:
        """Return the features with the block's change added."""
        change: Tensor = self.second(functional.relu(self.first(values)))
        return values + change
