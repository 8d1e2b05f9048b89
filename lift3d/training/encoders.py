"""Feature spaces of real 2D models: those that a training is given, beside the computed ones.

Only names travel between processes; each process builds the operators of its own. A real network brings faults and
misled guides of its own, so none is simulated. Its channels are mixed at random in half of the draws, so that few
networks stand for many; the other half is what lifting meets. Maps are kept as lifting keeps them, in half precision,
and no more rows than the taps read: a descriptor per pixel would fill memory.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import Frame
from lift3d.domain.weights import BlendingWeights
from lift3d.errors import ConfigError
from lift3d.geometry.rays import cell_centers
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import COMPARABLE, Operator
from lift3d.pipeline.encode import HALF_MAX, encode_view
from lift3d.training.feature_spaces import draw_mixing
from lift3d.training.settings import operator_label

# Colours are lifted as the picture is: nothing corrects them.
_CORRECTED = tuple(quantity for quantity in COMPARABLE if quantity != "color")
_MIXED_SHARE = 0.5
# Cells around what is read: one beside a tap, and one for bilinear reading.
_MARGIN_CELLS = 2


@dataclass(frozen=True, slots=True)
class GivenEncoder:
    """What a card says of an operator; ``weights`` is their digest."""

    name: str
    licence: str
    weights: str


@dataclass(frozen=True, slots=True)
class Encoders:
    """Operators to learn from, by name, and their share of the feature spaces; plug-ins may bring further ones."""

    names: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    share: float = 0.0

    def check(self) -> tuple[GivenEncoder, ...]:
        """Build all of them and return what a card says of each.

        Raises:
            ConfigError: If there is no such operator, one cannot be built, or one is never guided.
        """
        specs = [operator.spec for operator in _built(self.names, self.plugins)]
        for spec in specs:
            if spec.quantity not in _CORRECTED:
                raise ConfigError(
                    f"Operator '{spec.name}' gives {spec.quantity}, which cannot be compared between a view and a "
                    f"lifted picture, so stage II is never asked to correct it. Train on operators of "
                    f"{' or '.join(_CORRECTED)} quantities."
                )
        if len({spec.name for spec in specs}) < len(specs):
            raise ConfigError(f"Operators {', '.join(self.names)} name the same one twice; name each once.")
        return tuple(GivenEncoder(operator_label(one.name), one.licence, one.weights_digest) for one in specs)

    def draw(self, rng: np.random.Generator) -> Operator | None:
        """Draw one of them, or None for a computed feature space."""
        if not self.names or rng.uniform() >= self.share:
            return None
        return self.numbered(int(rng.integers(len(self.names))))

    def numbered(self, number: int) -> Operator:
        """Return one of them; numbers go round."""
        return _built(self.names, self.plugins)[number % len(self.names)]


@functools.lru_cache(maxsize=2)
def _built(names: tuple[str, ...], plugins: tuple[str, ...]) -> tuple[Operator, ...]:
    return tuple(build_operator(name, plugins) for name in names)


class OperatorSpace:
    """One cut of an operator, its channels mixed or as they are; the same in all views."""

    def __init__(self, rng: np.random.Generator, operator: Operator, first: Sequence[FeatureMap]) -> None:
        """Draw the cut and the mixing; the operator's maps of a first image say what there is to draw from."""
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

    Taps are all on one tile of the target's grid; sources are in the order of their ``source_ids`` and of the guide's
    size. A source that no tap reads is not encoded; what stands for it is zeros.
    """
    reads = [
        torch.cat([taps.uv[(taps.source == index) & (taps.weight > 0)] for taps in read_by])
        for index in range(len(sources))
    ]
    of_guide = space.encode(guide)
    empty = replace(of_guide, values=torch.zeros_like(of_guide.values))
    maps = [space.encode(frame) if len(uv) else empty for frame, uv in zip(sources, reads, strict=True)]
    *kept_sources, kept_guide = rows_read([*maps, of_guide], [*reads, centers_of(read_by[0].grid)])
    return tuple(kept_sources), kept_guide


def rows_read(maps: Sequence[FeatureMap], reads: Sequence[Float[Tensor, "_ 2"]]) -> list[FeatureMap]:
    """Return the rows of each map that reading at its pixels, and one cell beside them, touches; in half precision.

    All maps are of one size and stay so.
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
