"""What the small models share: a network ready to answer, blocks, and cells that must be an image's own."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.errors import ShapeError
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import digest_weights, encoder_device
from lift3d.operators.preprocessing import Placement
from lift3d.operators.protocol import OperatorSpec

_Network = TypeVar("_Network", bound=nn.Module)


class TinyOperator:
    """An operator that runs a small network where it lies; ``spec`` is what to know beside name and weights."""

    def __init__(self, name: OperatorName, network: nn.Module, **spec: Any) -> None:
        self._network: Any = network.eval().requires_grad_(False)
        self._device = next(network.parameters()).device
        self.spec = OperatorSpec(name=str(name), stage_version=1, weights_digest=digest_weights(network), **spec)

    def _cells(
        self,
        image: Float[Tensor, "3 height width"],
        lattice: CellLattice,
        multiple: int,
        run: Callable[[Tensor], Tensor],
    ) -> tuple[FeatureMap]:
        """Return what the network says of each cell of an image that is padded to a multiple of pixels."""
        size = ImageSize(*image.shape[-2:])
        placement = Placement.of(size, size, lattice, multiple)
        with torch.no_grad():
            cells = run(placement.apply(image.to(torch.float32))[None].to(self._device))[0]
        return (placement.to_image(cells.cpu(), lattice),)


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


def frozen(network: _Network) -> _Network:
    """Return a network ready to answer, on the device that this process has."""
    return network.eval().requires_grad_(False).to(encoder_device())


def check_cells(operator: str, feature_map: FeatureMap, padded: ImageSize, stride: int, size: ImageSize) -> None:
    """Refuse, by ShapeError, a cut whose cells are not those of an image of the size that is asked for.

    ``padded`` is what the network saw of such an image, ``stride`` pixels of that per cell.
    """
    got = (feature_map.grid.rows, feature_map.grid.cols)
    wanted = (padded.height // stride, padded.width // stride)
    if got != wanted:
        raise ShapeError(
            f"Operator '{operator}' got {got[0]}×{got[1]} cells for an image of {size.height}×{size.width}; "
            f"expected {wanted[0]}×{wanted[1]}. Give the grid of encode."
        )
