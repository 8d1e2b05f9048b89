"""Closing holes: the one place where missing values get a stand-in, because networks cannot eat NaN.

The nearest of some cells is found by SciPy on the host, which is quickest there, else where the cells lie; both take
the same one of several that are equally near. SciPy is imported with the first hole: a scene is planned without it.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Pairs of a cell and a column that are held together elsewhere: 128 MB.
_PAIRS_AT_ONCE = 2**24
# Squared, still a whole number of 32 bits; no image is as high.
_NO_ROW = 2**15


def fill_from_nearest(
    values: Float[Tensor, "channel row col"], is_covered: Bool[Tensor, "row col"]
) -> Float[Tensor, "channel row col"]:
    """Give every uncovered cell the value of its nearest covered cell (Euclidean; all 0 if nothing is covered)."""
    if bool(is_covered.all()):
        return values
    row, col = _nearest(is_covered)
    if is_covered.is_cpu:
        return values[:, row, col] if bool(is_covered.any()) else torch.zeros_like(values)
    return torch.where(is_covered.any(), values[:, row, col], 0)


def cells_to_border(is_inside: Bool[Tensor, "row col"]) -> Float[Tensor, "row col"]:
    """Return the distance of every cell from the nearest that is not inside, as all beyond the map's edge are."""
    padded = torch.nn.functional.pad(is_inside, (1, 1, 1, 1))
    if is_inside.is_cpu:
        from scipy import ndimage

        return torch.from_numpy(ndimage.distance_transform_edt(padded.numpy())[1:-1, 1:-1]).float()
    row, col = _nearest(~padded)
    down, across = (torch.arange(length) for length in padded.shape)
    return ((row - down[:, None]).square() + (col - across).square())[1:-1, 1:-1].double().sqrt().float()


def _nearest(is_covered: Bool[Tensor, "row col"]) -> tuple[Int[Tensor, "row col"], Int[Tensor, "row col"]]:
    """Return row and column of the covered cell that is nearest to each cell; any if there is none.

    Source:
        By one axis after the other: Meijster, Roerdink & Hesselink, A general algorithm for computing distance
        transforms in linear time, ISMM 2000; here each row compares all columns, as many cells are asked at once.
    """
    if is_covered.is_cpu:
        from scipy import ndimage

        found = ndimage.distance_transform_edt(~is_covered.numpy(), return_distances=False, return_indices=True)
        return torch.from_numpy(found[0]).long(), torch.from_numpy(found[1]).long()
    (rows, cols), device = is_covered.shape, is_covered.device
    down, across = (torch.arange(length, device=device, dtype=torch.int32) for length in is_covered.shape)
    above = torch.where(is_covered, down[:, None], -_NO_ROW).cummax(0).values
    below = torch.where(is_covered, down[:, None], _NO_ROW).flip(0).cummin(0).values.flip(0)
    in_col = torch.where(down[:, None] - above <= below - down[:, None], above, below)
    apart = (across[:, None] - across).square()
    height = max(1, _PAIRS_AT_ONCE // cols**2)
    steps = (in_col - down[:, None]).clamp(-_NO_ROW, _NO_ROW).square()
    col = torch.cat([(some[:, None] + apart).argmin(2) for some in torch.split(steps, height)])
    return in_col.gather(1, col).clamp(0, rows - 1).long(), col
