"""The lattice that is computed from kernels and paddings against the one that gradients show."""

import pytest
import torch
from torch import nn

from lift3d.operators.cell_lattice import CellLattice, measure_lattice
from lift3d.operators.network_weights import seeded


def lattice_of(*layers: nn.Module, length: int = 64) -> CellLattice:
    network = nn.Sequential(*layers)
    return measure_lattice(network, network, torch.zeros(1, 3, length, length))[0]


def gradient_centroid(network: nn.Module, length: int, index: int) -> float:
    """Return the mean place, along a row, of the pixels that one cell depends on."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, length, length, generator=generator).requires_grad_(True)
    network(pixels)[0, :, index, index].square().sum().backward()
    weight = pixels.grad[0].square().sum(dim=(0, 1))
    return float((weight * (torch.arange(length) + 0.5)).sum() / weight.sum())


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(3, 64, 4, 4),),
        (nn.Conv2d(3, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, 2, 1)),
        (nn.Conv2d(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(64, 64, 3, 2, 1)),
        (nn.Conv2d(3, 64, 3, 2), nn.Conv2d(64, 64, 3, 2)),
        (nn.Conv2d(3, 64, 3, 2, 2, dilation=2), nn.AvgPool2d(2)),
    ],
)
def test_it_is_where_gradients_say(layers: tuple[nn.Module, ...]) -> None:
    with seeded(0):
        network = nn.Sequential(*layers)
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    lattice, channel_count = measure_lattice(network, network, torch.zeros(1, 3, 64, 64))
    assert channel_count == 64
    index = 16 // lattice.stride + 2
    expected = lattice.first + lattice.stride * index
    assert gradient_centroid(network, 64, index) == pytest.approx(expected, abs=0.2 * lattice.stride)


class ConvSame(nn.Conv2d):
    """TensorFlow's padding: the smaller half before."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(pixels, (0, 1, 0, 1)))


class Block(nn.Sequential):
    """Remembers the kernel of what is inside, which must not be counted twice."""

    kernel_size, stride = 7, 2


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        # A patch is looked at in its middle; padded convolutions of stride 2 look at the first pixel.
        ([nn.Conv2d(3, 1, 16, 16)], CellLattice(16, 8.0)),
        ([nn.Conv2d(3, 3, 3, 2, 1) for _ in range(4)], CellLattice(16, 0.5)),
        # Layers that keep the resolution do not move the lattice; merging blocks without a window keeps their centre.
        ([nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 2, 2), nn.Conv2d(3, 3, 7, 1, 3)], CellLattice(2, 1.0)),
        ([nn.Conv2d(3, 3, 4, 4), nn.PixelUnshuffle(2)], CellLattice(8, 4.0)),
        ([ConvSame(3, 3, 3, 2)], CellLattice(2, 1.5)),
        ([Block(nn.Conv2d(3, 3, 7, 2, 3))], CellLattice(2, 0.5)),
    ],
)
def test_it_is_what_arithmetic_says(layers: list[nn.Module], expected: CellLattice) -> None:
    assert lattice_of(*layers) == expected


def test_ways_that_disagree_meet_midway() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.side = nn.Conv2d(3, 3, 3, 2, 1), nn.AvgPool2d(2)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.main(pixels) + self.side(pixels)

    assert lattice_of(Shortcut()) == CellLattice(2, 0.75)


def test_hooks_do_not_stay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 4, 4))
    measure_lattice(network, network, torch.zeros(1, 3, 16, 16))
    assert not network[0]._forward_hooks
