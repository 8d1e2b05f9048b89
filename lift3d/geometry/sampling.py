"""Reading maps at pixels. The only place that knows grid_sample's coordinates.

Letters: a map lies on a grid of cells; cell (r, c) is centred at ``origin + stride · (c + 0.5, r + 0.5)`` pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int, Shaped
from numpy import ndarray
from torch import Tensor


def normalized_coordinates(
    uv: Float[Tensor, "*batch 2"],
    rows: int,
    cols: int,
    stride: tuple[float, float] = (1.0, 1.0),
    origin: tuple[float, float] = (0.0, 0.0),
) -> Float[Tensor, "*batch 2"]:
    """Return coordinates for ``grid_sample(align_corners=False)``: −1 and 1 are the outer edges of the grid."""
    x = 2 * (uv[..., 0] - origin[0]) / (stride[0] * cols) - 1
    y = 2 * (uv[..., 1] - origin[1]) / (stride[1] * rows) - 1
    return torch.stack([x, y], dim=-1)


def normalizing_matrix(rows: int, cols: int) -> Float64[ndarray, "3 3"]:
    """Return what takes homogeneous pixels of an image to homogeneous ``normalized_coordinates``; on the host."""
    return np.array([[2 / cols, 0, -1], [0, 2 / rows, -1], [0, 0, 1]])


def sample(
    values: Float[Tensor, "channel row col"],
    uv: Float[Tensor, "*batch 2"],
    stride: tuple[float, float] = (1.0, 1.0),
    origin: tuple[float, float] = (0.0, 0.0),
) -> Float[Tensor, " channel *batch"]:
    """Sample a map bilinearly; outside the outermost cell centres the border value holds.

    NaN pixels give NaN. Values must be finite: a NaN cell would spread to its neighbours.
    """
    rows, cols = values.shape[-2:]
    at = normalized_coordinates(uv, rows, cols, stride, origin).reshape(1, 1, -1, 2)
    is_known = torch.isfinite(at).all(-1)
    out = F.grid_sample(
        values[None],
        torch.nan_to_num(at).to(values.dtype),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    out = torch.where(is_known[:, None], out, torch.full_like(out, torch.nan))
    return out.reshape(values.shape[0], *uv.shape[:-1])


def read_planes(
    values: Float[Tensor, "channel map_row map_col"],
    at: Float[Tensor, "plane row col 2"],
    padding_mode: str = "border",
    mode: str = "bilinear",
) -> Float[Tensor, "channel plane row col"]:
    """Read a map at coordinates for ``grid_sample``, many planes of them; ``border`` or ``zeros`` outside.

    The kernel gives each thread images of its batch, so the planes are the batch, of views of one map.
    """
    images = values[None].expand(len(at), -1, -1, -1)
    return F.grid_sample(images, at, mode=mode, padding_mode=padding_mode, align_corners=False).movedim(1, 0)


def taken(values: Shaped[Tensor, "..."], index: Int[Tensor, "*place"]) -> Shaped[Tensor, "..."]:
    """Return ``values[index]`` of indices that are not negative; the host takes a third of the time."""
    return values.index_select(0, index.flatten()).reshape(*index.shape, *values.shape[1:])


def cells_at(at: Float[Tensor, "*batch 2"], rows: int, cols: int) -> Int[Tensor, "*batch"]:
    """Return the row-major index of the cell at coordinates for ``grid_sample``, −1 outside."""
    col, row = ((at[..., 0] + 1) * (cols / 2)).floor(), ((at[..., 1] + 1) * (rows / 2)).floor()
    is_inside = (col >= 0) & (col < cols) & (row >= 0) & (row < rows)
    return torch.where(is_inside, row * cols + col, -1.0).long()


def nearest_cells(
    uv: Float[Tensor, "*batch 2"],
    rows: int,
    cols: int,
    stride: tuple[float, float] = (1.0, 1.0),
    origin: tuple[float, float] = (0.0, 0.0),
) -> Int[Tensor, "*batch"]:
    """Return the row-major index of the cell that contains each pixel, −1 where none does (NaN included)."""
    c = torch.floor((uv[..., 0] - origin[0]) / stride[0])
    r = torch.floor((uv[..., 1] - origin[1]) / stride[1])
    # A pixel exactly on the far edge belongs to the last cell.
    c = torch.where(uv[..., 0] == origin[0] + stride[0] * cols, c - 1, c)
    r = torch.where(uv[..., 1] == origin[1] + stride[1] * rows, r - 1, r)
    is_inside = (c >= 0) & (c < cols) & (r >= 0) & (r < rows)
    index = torch.nan_to_num(r * cols + c, nan=-1.0).long()
    return torch.where(is_inside, index, torch.full_like(index, -1))


def bilinear_corners(
    uv: Float[Tensor, "*batch 2"],
    rows: int,
    cols: int,
    stride: tuple[float, float] = (1.0, 1.0),
    origin: tuple[float, float] = (0.0, 0.0),
) -> tuple[Int[Tensor, "*batch 4"], Float[Tensor, "*batch 4"]]:
    """Return the four cells around each pixel and their bilinear weights: ``sample`` in sparse form.

    Weights sum to 1; outside the outermost centres they fall on the border cells. Pixels must be finite.
    """
    index, weight = corners_apart(uv, rows, cols, stride, origin)
    return torch.stack(index, dim=-1).long(), torch.stack(weight, dim=-1)


def corners_apart(
    uv: Float[Tensor, "*batch 2"],
    rows: int,
    cols: int,
    stride: tuple[float, float] = (1.0, 1.0),
    origin: tuple[float, float] = (0.0, 0.0),
) -> tuple[list[Int[Tensor, "*batch"]], list[Float[Tensor, "*batch"]]]:
    """Return what ``bilinear_corners`` does, a tensor for each of the four corners, in 32 bits: half the traffic."""
    x = ((uv[..., 0] - origin[0]) / stride[0] - 0.5).clamp(0, cols - 1)
    y = ((uv[..., 1] - origin[1]) / stride[1] - 0.5).clamp(0, rows - 1)
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    left, top = x0.int(), y0.int()
    right, bottom = (left + 1).clamp_(max=cols - 1), (top + 1).clamp_(max=rows - 1)
    index = [row * cols + col for row in (top, bottom) for col in (left, right)]
    return index, [down * across for down in (1 - fy, fy) for across in (1 - fx, fx)]
