"""The lattice of cells that follows from kernels and paddings; tests/contracts shows that networks keep it."""

import pytest
import torch
from torch import nn

from lift3d.operators.cell_lattice import CellLattice, measure_lattice


def lattice_of(*layers: nn.Module, length: int = 64) -> CellLattice:
    network = nn.Sequential(*layers)
    found = measure_lattice(network, network, torch.zeros(1, 3, length, length))[0]
    assert not any(module._forward_hooks for module in network.modules())
    return found


class ConvSame(nn.Conv2d):
    """TensorFlow's padding: the smaller half before."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(pixels, (0, 1, 0, 1)))


class Block(nn.Sequential):
    """Remembers the kernel of what is inside, which must not be counted twice."""

    kernel_size, stride = 7, 2


class Shortcut(nn.Sequential):
    """Two ways that look at different places."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self[0](pixels) + self[1](pixels)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        # A patch is looked at in its middle; padded convolutions of stride 2 look at the first pixel.
        ([nn.Conv2d(3, 1, 16, 16)], CellLattice(16, 8.0)),
        ([nn.Conv2d(3, 3, 3, 2, 1) for _ in range(4)], CellLattice(16, 0.5)),
        ([nn.Conv2d(3, 3, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1)], CellLattice(8, 0.5)),
        ([nn.Conv2d(3, 3, 3, 2), nn.Conv2d(3, 3, 3, 2)], CellLattice(4, 3.5)),
        ([nn.Conv2d(3, 3, 3, 2, 2, dilation=2), nn.AvgPool2d(2)], CellLattice(4, 1.5)),
        # Layers that keep the resolution do not move the lattice; merging blocks without a window keeps their centre.
        ([nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 2, 2), nn.Conv2d(3, 3, 7, 1, 3)], CellLattice(2, 1.0)),
        ([nn.Conv2d(3, 3, 4, 4), nn.PixelUnshuffle(2)], CellLattice(8, 4.0)),
        ([ConvSame(3, 3, 3, 2)], CellLattice(2, 1.5)),
        ([Block(nn.Conv2d(3, 3, 7, 2, 3))], CellLattice(2, 0.5)),
        # Ways that disagree meet midway.
        ([Shortcut(nn.Conv2d(3, 3, 3, 2, 1), nn.AvgPool2d(2))], CellLattice(2, 0.75)),
    ],
)
def test_it_is_what_arithmetic_says(layers: list[nn.Module], expected: CellLattice) -> None:
    assert lattice_of(*layers) == expected
