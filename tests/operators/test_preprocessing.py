import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lift3d.domain.camera import ImageSize
from lift3d.geometry.rays import cell_centers
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.preprocessing import Placement

SIZES = st.builds(ImageSize, st.integers(1, 90), st.integers(1, 90))


def block_means(pixels: torch.Tensor, stride: int) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(pixels[None], stride)[0]


def coordinates(size: ImageSize) -> torch.Tensor:
    centers = cell_centers(size.height, size.width)
    return torch.cat([centers, torch.zeros(size.height, size.width, 1)], dim=2).permute(2, 0, 1)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, stride=st.integers(2, 16))
def test_cells_tile_the_image_centrally(size: ImageSize, stride: int) -> None:
    lattice = CellLattice(stride, stride / 2)
    placement = Placement.of(size, size, lattice, stride)
    pixels = placement.apply(torch.rand(3, size.height, size.width))
    assert pixels.shape[1] % stride == 0
    assert pixels.shape[2] % stride == 0
    grid = placement.to_image(block_means(pixels, stride), lattice).grid
    for count, origin, length in ((grid.rows, grid.origin_v, size.height), (grid.cols, grid.origin_u, size.width)):
        assert count == -(-length // stride)
        # Overhang of at most half a cell at each end: every cell is centred on the image.
        assert abs(origin - (length - count * stride) / 2) <= 0.5


@settings(max_examples=40, deadline=None)
@given(size=st.builds(ImageSize, st.integers(40, 90), st.integers(40, 90)), stride=st.integers(2, 8))
def test_interior_cells_are_where_the_grid_says(size: ImageSize, stride: int) -> None:
    # Each pixel shows its own coordinates, so a cell's mean is the place it sees.
    lattice = CellLattice(stride, stride / 2)
    placement = Placement.of(size, size, lattice, stride)
    seen = placement.to_image(block_means(placement.apply(coordinates(size)), stride), lattice)
    grid = seen.grid
    expected = cell_centers(grid.rows, grid.cols, (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v))
    inner = (slice(1, -1), slice(1, -1))
    torch.testing.assert_close(seen.values[:2].permute(1, 2, 0)[inner], expected[inner], atol=1e-3, rtol=0)


@given(length=st.integers(1, 9))
def test_padding_mirrors_and_never_invents_colours(length: int) -> None:
    size, lattice = ImageSize(length, length), CellLattice(32, 16.0)
    image = torch.rand(3, length, length)
    padded = Placement.of(size, size, lattice, 32).apply(image)
    assert set(padded[0].flatten().tolist()) == set(image[0].flatten().tolist())


def test_a_network_that_crops_still_covers_the_image() -> None:
    # Cells start 20 pixels inside, as after a stack of unpadded convolutions.
    lattice, size = CellLattice(8, 20.0), ImageSize(64, 64)
    placement = Placement.of(size, size, lattice, 8)
    cells = (placement.padded.height - 40) // 8 + 1
    grid = placement.to_image(torch.zeros(1, cells, cells), lattice).grid
    assert (grid.rows, grid.origin_u) == (8, 0.0)
