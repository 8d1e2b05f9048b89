import torch
from hypothesis import given
from hypothesis import strategies as st

from lift3d.geometry.holes import fill_from_nearest
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import bilinear_corners, nearest_cells, sample

GRIDS = st.tuples(
    st.integers(1, 9),
    st.integers(1, 9),
    st.tuples(st.floats(0.5, 16), st.floats(0.5, 16)),
    st.tuples(st.floats(-8, 8), st.floats(-8, 8)),
)


def random_map(rows, cols, channels=3):
    return torch.randn(channels, rows, cols, generator=torch.Generator().manual_seed(rows * 100 + cols))


@given(GRIDS)
def test_sampling_at_cell_centres_returns_the_cells(grid):
    rows, cols, stride, origin = grid
    values = random_map(rows, cols)
    found = sample(values, cell_centers(rows, cols, stride, origin), stride, origin)
    torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-4)


@given(GRIDS, st.integers(0, 2**31))
def test_sparse_corners_equal_sampling(grid, seed):
    rows, cols, stride, origin = grid
    values = random_map(rows, cols)
    extent = torch.tensor([cols * stride[0], rows * stride[1]])
    uv = torch.rand(20, 2, generator=torch.Generator().manual_seed(seed)) * extent * 1.4 - 0.2 * extent
    uv = uv + torch.tensor(origin)
    index, weight = bilinear_corners(uv, rows, cols, stride, origin)
    sparse = (values.flatten(1)[:, index] * weight).sum(-1)
    torch.testing.assert_close(sparse, sample(values, uv, stride, origin), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(weight.sum(-1), torch.ones(20), rtol=1e-5, atol=1e-5)


@given(GRIDS)
def test_each_centre_lies_in_its_own_cell(grid):
    rows, cols, stride, origin = grid
    found = nearest_cells(cell_centers(rows, cols, stride, origin), rows, cols, stride, origin)
    assert found.flatten().tolist() == list(range(rows * cols))


def test_pixels_outside_or_unknown_lie_in_no_cell():
    uv = torch.tensor([[-0.1, 1.0], [1.0, 4.1], [float("nan"), 1.0], [4.0, 4.0], [0.0, 0.0]])
    assert nearest_cells(uv, 4, 4).tolist() == [-1, -1, -1, 15, 0]


def test_an_unknown_pixel_samples_as_unknown():
    found = sample(random_map(3, 3), torch.tensor([[float("nan"), 1.0], [1.5, 1.5]]))
    assert torch.isnan(found[:, 0]).all()
    assert torch.isfinite(found[:, 1]).all()


def test_holes_take_their_nearest_covered_value_or_zero():
    values = torch.tensor([[[1.0, torch.nan, torch.nan, 7.0]]])
    filled = fill_from_nearest(values, torch.tensor([[True, False, False, True]]))
    assert filled.tolist() == [[[1.0, 1.0, 7.0, 7.0]]]
    assert torch.equal(fill_from_nearest(values, torch.zeros(1, 4, dtype=torch.bool)), torch.zeros(1, 1, 4))
