"""Triangles and other primitives drawn onto the cells of a grid.

Letters: a lattice is (rows, cols, stride, origin) of a grid, as in ``sampling``; a corner is (u·z, v·z, z) of a vertex.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.geometry.rays import cell_centers

Lattice = tuple[int, int, tuple[float, float], tuple[float, float]]
# Pairs of a primitive and a cell that are held together: some 100 MB with what is computed of them.
_PAIRS_AT_ONCE = 2**20
# A ray through the edge between two triangles must hit one of them, whatever rounding does.
_EDGE = 1e-9


def cells_in_boxes(
    low: Float[Tensor, "primitive 2"], high: Float[Tensor, "primitive 2"], lattice: Lattice
) -> Iterator[tuple[Int[Tensor, " pair"], Int[Tensor, " pair"]]]:
    """Yield primitives, ascending, and the row-major cells whose centres lie between two pixels (u, v) of each."""
    rows, cols, stride, origin = lattice
    step, start, most = (torch.tensor(one, dtype=low.dtype) for one in (stride, origin, (cols - 1, rows - 1)))
    first = ((low - start) / step - 0.5).ceil().clamp(min=0)
    extent = (torch.minimum(((high - start) / step - 0.5).floor(), most) - first + 1).nan_to_num(0.0).clamp(min=0)
    kept = torch.nonzero(extent.prod(1) > 0)[:, 0]
    (left, top), (width, height) = first[kept].long().T, extent[kept].long().T
    ends = (width * height).cumsum(0)
    begin = done = 0
    while begin < len(kept):
        end = max(begin + 1, int(torch.searchsorted(ends, done + _PAIRS_AT_ONCE, right=True)))
        at = torch.repeat_interleave(torch.arange(begin, end), (width * height)[begin:end])
        within = torch.arange(len(at)) - (ends - width * height)[at] + done
        yield kept[at], (top[at] + within // width[at]) * cols + left[at] + within % width[at]
        begin, done = end, int(ends[end - 1])


def mesh_depth(
    xyz_cam: Float[Tensor, "vertex 3"],
    triangles: Int[Tensor, "triangle 3"],
    K: Float[Tensor, "3 3"],
    size: tuple[int, int],
    lattice: Lattice,
    near: float,
) -> Float[Tensor, "row col"]:
    """Return the z-depth of the nearest triangle on the ray of each cell's centre; NaN where there is none.

    Both sides of a triangle are seen. Vertices are camera coordinates, double precision like K; the size is height and
    width of the image; what is nearer than the z-depth ``near``, which is positive, is cut off.

    Source:
        Edge functions, and 1 / z that is linear on the image: Pineda, A parallel algorithm for polygon rasterization,
        SIGGRAPH 1988.
    """
    height, width = size
    corners = xyz_cam @ K.T.to(xyz_cam.device)
    x, y, z = corners.unbind(-1)
    outside = torch.stack([x < 0, x > width * z, y < 0, y > height * z, ~(z >= near)], dim=-1)
    seen = triangles[~outside[triangles].all(1).any(-1)]
    clipped = _clipped(corners[seen], near)
    uv, disparity = clipped[..., :2] / clipped[..., 2:], 1 / clipped[..., 2]
    centers = cell_centers(*lattice).double().reshape(-1, 2)
    found = torch.zeros(len(centers), dtype=torch.float64)
    for at, cell in cells_in_boxes(uv.amin(1), uv.amax(1), lattice):
        a, b, c = (uv[at] - centers[cell, None]).unbind(1)
        share = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], dim=-1)
        area = share.sum(-1, keepdim=True)
        share = share / torch.where(area == 0, torch.inf, area)
        is_hit = (share >= -_EDGE).all(-1) & (area[:, 0] != 0)
        found.scatter_reduce_(0, cell[is_hit], (share * disparity[at]).sum(-1)[is_hit], "amax")
    return torch.where(found > 0, 1 / found, torch.nan).float().reshape(lattice[:2])


def _clipped(corners: Float[Tensor, "triangle 3 3"], near: float) -> Float[Tensor, "part 3 3"]:
    """Cut off what of triangles is nearer than a depth: what is left of one are at most two."""
    is_in = corners[..., 2] >= near
    parts = [corners[is_in.all(1)]]
    for count in (1, 2):
        chosen, inside = (one[is_in.sum(1) == count] for one in (corners, is_in))
        # The corner that is alone on its side comes first.
        lone = (inside if count == 1 else ~inside).long().argmax(1)
        order = (lone[:, None] + torch.arange(3)) % 3
        a, b, c = chosen.gather(1, order[..., None].expand(-1, -1, 3)).unbind(1)
        ab, ac = (a + (one - a) * ((near - a[:, 2:]) / (one[:, 2:] - a[:, 2:])) for one in (b, c))
        parts += [torch.stack(one, dim=1) for one in ([(a, ab, ac)] if count == 1 else [(ab, b, c), (ab, c, ac)])]
    return torch.cat(parts)


def _cross(a: Float[Tensor, "pair 2"], b: Float[Tensor, "pair 2"]) -> Float[Tensor, " pair"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
