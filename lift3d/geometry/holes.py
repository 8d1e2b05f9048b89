"""Closing holes: the one place where missing values get a stand-in, because networks cannot eat NaN."""

import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor


def fill_from_nearest(
    values: Float[Tensor, "channel row col"], is_covered: Bool[Tensor, "row col"]
) -> Float[Tensor, "channel row col"]:
    """Give every uncovered cell the value of its nearest covered cell (Euclidean; all 0 if nothing is covered)."""
    if bool(is_covered.all()):
        return values
    if not bool(is_covered.any()):
        return torch.zeros_like(values)
    nearest = ndimage.distance_transform_edt(~is_covered.numpy(force=True), return_distances=False, return_indices=True)
    row, col = torch.as_tensor(nearest).to(values.device).long()
    return values[:, row, col]
