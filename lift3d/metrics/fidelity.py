"""Fidelity: how close the lifted answer is to the operator's own on the true target image.

Features are compared on the first cut, over the cells that count, holes as the decoder saw them.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.scores import Score
from lift3d.errors import ShapeError
from lift3d.metrics.counting import CHANNEL_BLOCK, cells_of, embedding_grid
from lift3d.metrics.figures import undefined, view_metric
from lift3d.metrics.image_quality import psnr_of
from lift3d.metrics.protocol import ViewEvidence


@view_metric("higher")
def feature_cosine(evidence: ViewEvidence) -> Score:
    """Mean cosine between lifted and plain features over cells, leaving out cells of plain norm 0."""
    lifted, plain = evidence.filled[0], evidence.plain.lifted[0].features
    if lifted.values.shape != plain.values.shape:
        raise ShapeError(
            f"View '{evidence.lifted.target}': lifted features are {tuple(lifted.values.shape)}, the plain "
            f"ones {tuple(plain.values.shape)}. Lift on the grid the operator gives for this size.",
            view=evidence.lifted.target,
        )
    return _mean_cosine(lifted.values, plain.values, cells_of(evidence, plain.grid))


@view_metric("higher", kinds=("labels",))
def label_agreement_2d(evidence: ViewEvidence) -> Score:
    """Share of pixels whose label is that of the plain 2D answer; unknown is a label of its own."""
    is_equal = evidence.lifted.prediction.values == evidence.plain.prediction.values
    return _mean(is_equal[evidence.counts].double())


@view_metric("higher", kinds=("image",))
def psnr_2d(evidence: ViewEvidence) -> Score:
    """PSNR in dB of the predicted image against the plain 2D answer; peak 1, at most 100 dB."""
    return psnr_of(evidence.lifted.prediction.values, evidence.plain.prediction.values, evidence.counts)


@view_metric("lower", kinds=("scalar", "masks"))
def scalar_error_2d(evidence: ViewEvidence) -> Score:
    """Mean absolute difference to the plain 2D answer, in the operator's own unit."""
    difference = (evidence.lifted.prediction.values.double() - evidence.plain.prediction.values.double()).abs()
    return _mean(difference.reshape(-1, *evidence.counts.shape).mean(0)[evidence.counts])


@view_metric("higher", kinds=("embedding",))
def embedding_cosine_2d(evidence: ViewEvidence) -> Score:
    """Mean cosine between the predicted embeddings and those of the plain 2D answer over cells."""
    lifted, plain = evidence.lifted.prediction, evidence.plain.prediction
    is_counted = cells_of(evidence, embedding_grid(evidence))
    return _mean_cosine(lifted.values, plain.values, is_counted)


def _per_cell(
    combine: Callable[[Tensor, Tensor], Tensor],
    a: Float[Tensor, "channel row col"],
    b: Float[Tensor, "channel row col"],
) -> Float[Tensor, "row col"]:
    """Sum a combination of two maps over channels in float64, a block of channels at a time."""
    total = torch.zeros(a.shape[1:], dtype=torch.float64)
    for block_a, block_b in zip(torch.split(a, CHANNEL_BLOCK), torch.split(b, CHANNEL_BLOCK), strict=True):
        total += combine(block_a.double(), block_b.double()).sum(0)
    return total


def _mean_cosine(
    lifted: Float[Tensor, "channel row col"], plain: Float[Tensor, "channel row col"], counts: Bool[Tensor, "row col"]
) -> Score:
    squared_plain = _per_cell(torch.mul, plain, plain)
    # A lifted cell of norm 0 points nowhere: its cosine is 0, not undefined, or emptiness would pay.
    squared_lifted = _per_cell(torch.mul, lifted, lifted)
    scale = (squared_plain * squared_lifted).sqrt()
    cosine = torch.where(squared_lifted == 0, 0.0, _per_cell(torch.mul, lifted, plain) / scale)
    return _mean(cosine[counts & (squared_plain != 0)])


def _mean(values: Float[Tensor, " item"]) -> Score:
    if values.numel() == 0:
        return undefined("no-pixels", "no pixel or cell of the view counts")
    return Score(float(values.mean()), float(values.numel()))
