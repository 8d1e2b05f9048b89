"""Sharpness relative to the 2D answer: what averaging over views has blurred away, or noise has added."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.scores import Score
from lift3d.metrics.counting import CHANNEL_BLOCK, cells_of
from lift3d.metrics.figures import undefined, view_metric
from lift3d.metrics.protocol import ViewEvidence

# Luma weights of Rec. ITU-R BT.709.
LUMA = (0.2126, 0.7152, 0.0722)


@view_metric("neither")
def sharpness(evidence: ViewEvidence) -> Score:
    """Mean gradient magnitude of the lifted answer over that of the plain one; below 1 is blurred.

    Images are compared by luma over pixels, everything else by the features of the first cut over cells.
    """
    if evidence.plain.prediction.kind == "image":
        weights = torch.tensor(LUMA, dtype=torch.float64)[:, None, None]
        lifted = (weights * evidence.lifted.prediction.values.double()).sum(0, keepdim=True)
        plain = (weights * evidence.plain.prediction.values.double()).sum(0, keepdim=True)
        is_counted = evidence.counts
    else:
        lifted, plain = evidence.filled[0].values, evidence.plain.lifted[0].features.values
        is_counted = cells_of(evidence, evidence.filled[0].grid)
    magnitude, reference = gradient_magnitudes(lifted, is_counted), gradient_magnitudes(plain, is_counted)
    if reference.numel() == 0:
        return undefined("no-pixels", "nothing that counts has neighbours that count")
    if float(reference.sum()) == 0:
        return undefined("flat", "the plain answer has no gradient")
    return Score(float(magnitude.mean() / reference.mean()), float(reference.numel()))


def gradient_magnitudes(
    values: Float[Tensor, "channel row col"], is_counted: Bool[Tensor, "row col"]
) -> Float[Tensor, " place"]:
    """Return ‖∇‖ over channels by forward differences, where a place and both its neighbours count."""
    is_whole = is_counted[:-1, :-1] & is_counted[1:, :-1] & is_counted[:-1, 1:]
    squared = torch.zeros(is_whole.shape, dtype=torch.float64)
    for block in torch.split(values, CHANNEL_BLOCK):
        here = block[:, :-1, :-1]
        squared += (block[:, 1:, :-1] - here).double().square().sum(0)
        squared += (block[:, :-1, 1:] - here).double().square().sum(0)
    return squared[is_whole].sqrt()
