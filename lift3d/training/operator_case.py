"""A real operator's feature space at one target: what stage II learns from where encoders are given.

A real network brings faults and misled guides of its own, so none is simulated. Its channels are mixed at random in
half of the draws, so that few networks stand for many; the other half is what lifting meets. Maps are kept as lifting
keeps them, in half precision, and no more rows than the taps read: a descriptor per pixel would fill memory.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import Frame
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.rays import cell_centers
from lift3d.operators.protocol import Operator
from lift3d.pipeline.encode import HALF_MAX, encode_view
from lift3d.training.feature_spaces import draw_mixing

_MIXED_SHARE = 0.5
# Cells around what is read: one beside a tap, and one for bilinear reading.
_MARGIN_CELLS = 2


class OperatorSpace:
    """One cut of an operator, its channels mixed or as they are; the same in all views.

    Args:
        rng: Decides the cut and the mixing.
        operator: The operator.
        first: Its maps of one image, which say what there is to draw from.
    """

    def __init__(self, rng: np.random.Generator, operator: Operator, first: Sequence[FeatureMap]) -> None:
        self._operator = operator
        self._cut = int(rng.integers(len(first)))
        raw = first[self._cut].channel_count
        is_mixed = bool(rng.uniform() < _MIXED_SHARE)
        self._mixing = draw_mixing(rng, raw, min(raw, int(rng.choice([32, 48, 64, 96, 128])))) if is_mixed else None

    def encode(self, frame: Frame) -> FeatureMap:
        """Return the space's features of a view."""
        return self.of(encode_view(self._operator, frame))

    def of(self, maps: Sequence[FeatureMap]) -> FeatureMap:
        """Return the space's features of a view that the operator has encoded."""
        one = maps[self._cut]
        if self._mixing is None:
            return FeatureMap(one.values, one.grid)
        mixing, offset = self._mixing
        return FeatureMap(torch.einsum("or,rij->oij", mixing, one.values) + offset[:, None, None], one.grid)


def encoded_views(
    space: OperatorSpace, read_by: Sequence[BlendingWeights], sources: Sequence[Frame], guide: Frame
) -> tuple[tuple[FeatureMap, ...], FeatureMap]:
    """Encode the sources that a tap reads and the guide's picture, and keep the rows that are read.

    A source that no tap reads is not encoded; what stands for it is zeros.

    Args:
        space: The feature space.
        read_by: Taps, all on one tile of the target's grid.
        sources: All sources, in the order of their ``source_ids``; of the guide's size.
        guide: The picture.
    """
    reads = [
        torch.cat([taps.uv[(taps.source == index) & (taps.weight > 0)] for taps in read_by])
        for index in range(len(sources))
    ]
    of_guide = space.encode(guide)
    maps = [space.encode(frame) if len(uv) else None for frame, uv in zip(sources, reads, strict=True)]
    empty = replace(of_guide, values=torch.zeros_like(of_guide.values))
    filled = [empty if one is None else one for one in maps]
    *kept_sources, kept_guide = rows_read([*filled, of_guide], [*reads, centers_of(read_by[0].grid)])
    return tuple(kept_sources), kept_guide


def rows_read(maps: Sequence[FeatureMap], reads: Sequence[Float[Tensor, "_ 2"]]) -> list[FeatureMap]:
    """Return the rows of each map that reading at its points, and one cell beside them, touches; in half precision.

    Args:
        maps: Maps of one size.
        reads: Pixels at which each is read, perhaps none.

    Returns:
        As many rows of each, so that they stay of one size.
    """
    row_count = maps[0].grid.rows
    spans = [_row_span(one.grid, uv) for one, uv in zip(maps, reads, strict=True)]
    height = min(row_count, max(last - first for first, last in spans))
    kept = []
    for one, (first, _) in zip(maps, spans, strict=True):
        start = min(first, row_count - height)
        part = replace(one.grid, rows=height, origin_v=one.grid.origin_v + start * one.grid.stride_v)
        values = one.values[:, start : start + height].clamp(-HALF_MAX, HALF_MAX).half().contiguous()
        kept.append(FeatureMap(values, part))
    return kept


def _row_span(grid: FeatureGrid, uv: Float[Tensor, "_ 2"]) -> tuple[int, int]:
    if not len(uv):
        return 0, 1
    rows = ((uv[:, 1] - grid.origin_v) / grid.stride_v).floor().clamp(0, grid.rows - 1)
    first, last = int(rows.min()) - _MARGIN_CELLS, int(rows.max()) + _MARGIN_CELLS + 1
    return max(0, first), min(grid.rows, last)


def centers_of(grid: FeatureGrid) -> Float[Tensor, "cell 2"]:
    """Return where the cells of a grid are centred."""
    strides, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    return cell_centers(grid.rows, grid.cols, strides, origin).reshape(-1, 2)


def valid_at(is_valid: Bool[Tensor, "height width"], grid: FeatureGrid) -> Bool[Tensor, " cell"]:
    """Return which cells are centred on a pixel that has been measured."""
    at = centers_of(grid).long()
    return is_valid[at[:, 1].clamp(0, is_valid.shape[0] - 1), at[:, 0].clamp(0, is_valid.shape[1] - 1)]
