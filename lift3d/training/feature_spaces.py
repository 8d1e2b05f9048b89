"""Feature spaces that stage II learns from: an operator, given or drawn, and a mixing of its channels.

Drawn are networks that nobody trained, and hand-made descriptors: what a lifter learns on them it owes to geometry and
statistics, not to one network. Of those that are given only names travel between processes.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.weights import BlendingWeights
from lift3d.errors import ConfigError
from lift3d.geometry.rays import cell_centers
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import COMPARABLE, Operator
from lift3d.pipeline.rounding import HALF_MAX
from lift3d.training.settings import operator_label

# Colours are lifted as the picture is: nothing corrects them.
_CORRECTED = tuple(quantity for quantity in COMPARABLE if quantity != "color")
# What is drawn, and of how many first stages of a network one is read: strides of 1 to 16 pixels.
DRAWN = {
    "rgb": 0,
    "hog?cell=4": 0,
    "hog?cell=8": 0,
    "timm:test_resnet?weights=random": 4,
    "timm:test_byobnet?weights=random": 4,
    "timm:test_efficientnet?weights=random": 4,
    "timm:test_nfnet?weights=random": 4,
    "timm:test_convnext?weights=random": 3,
    "timm:mobilenetv3_small_050?weights=random": 4,
    "timm:test_vit?weights=random": 6,
    "timm:test_vit?weights=random&height=256": 6,
    "timm:test_vit?weights=random&height=384": 6,
}
_CHANNELS, _LEAST_CHANNELS = (32, 48, 64, 96, 128), 32
# Cells around what is read: one beside a tap, and one for bilinear reading.
_MARGIN_CELLS = 2


def draw_operator(rng: np.random.Generator) -> Operator:
    """Draw an operator that needs no weights; equal generators give equal ones."""
    name = str(rng.choice(list(DRAWN)))
    stages = DRAWN[name]
    return build_operator(f"{name}&layer={rng.integers(stages)}&seed={rng.integers(2**31)}" if stages else name)


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
        """Build all, return what a card says of each; ConfigError if one is unknown, unbuildable or never guided."""
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
        """Draw one of them, or None for one that needs no weights."""
        if not self.names or rng.uniform() >= self.share:
            return None
        return self.numbered(int(rng.integers(len(self.names))))

    def numbered(self, number: int) -> Operator:
        """Return one of them; numbers go round."""
        return _built(self.names, self.plugins)[number % len(self.names)]


@functools.lru_cache(maxsize=2)
def _built(names: tuple[str, ...], plugins: tuple[str, ...]) -> tuple[Operator, ...]:
    return tuple(build_operator(name, plugins) for name in names)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """One cut of an operator, its channels mixed or (None) as they are; the same in all views."""

    cut: int
    mixing: tuple[Float[Tensor, "channel raw"], Float[Tensor, " channel"]] | None

    @classmethod
    def draw(cls, rng: np.random.Generator, first: Sequence[FeatureMap], mixed_share: float) -> "FeatureSpace":
        """Draw the cut and the mixing; the operator's maps of a first image say what there is to draw from."""
        cut = int(rng.integers(len(first)))
        raw = first[cut].channel_count
        is_mixed = bool(rng.uniform() < mixed_share)
        return cls(cut, _draw_mixing(rng, raw, min(raw, int(rng.choice(_CHANNELS)))) if is_mixed else None)

    def of(self, maps: Sequence[FeatureMap]) -> FeatureMap:
        """Return the space's features of a view that the operator has encoded."""
        one = maps[self.cut]
        if self.mixing is None:
            return FeatureMap(one.values, one.grid)
        mixing, offset = self.mixing
        return FeatureMap(torch.einsum("or,rij->oij", mixing, one.values) + offset[:, None, None], one.grid)


def _draw_mixing(rng: np.random.Generator, raw: int, channel_count: int) -> tuple[Tensor, Tensor]:
    """Nothing, an orthogonal map or one of low rank; then channels of unequal scale, and an offset."""
    kind = rng.uniform()
    if raw >= _LEAST_CHANNELS and kind < 0.35:
        mixing = np.eye(raw)
    else:
        rank = min(raw, channel_count)
        if kind > 0.75:
            rank = max(4, int(rank * rng.uniform(0.2, 0.8)))
        left = np.linalg.qr(rng.normal(size=(channel_count, rank)))[0]
        right = np.linalg.qr(rng.normal(size=(raw, rank)))[0]
        mixing = left @ right.T
    spread = float(rng.choice([0.0, 0.3, 1.0]))
    mixing = mixing * np.exp(rng.normal(0, spread, len(mixing)))[:, None]
    offset = rng.normal(0, 1, len(mixing)) * float(rng.choice([0.0, 0.0, 0.5]))
    return torch.from_numpy(mixing).float(), torch.from_numpy(offset).float()


def rows_read(maps: Sequence[FeatureMap], read_by: Sequence[BlendingWeights]) -> list[FeatureMap]:
    """Return the rows of the sources' maps that taps read and of the guide's, which is last, at their cells.

    And one cell beside them; in half precision, as lifting keeps them: whole descriptors per pixel would fill memory.
    All maps are of one size and stay so.
    """
    sources = range(len(maps) - 1)
    reads = [torch.cat([taps.uv[(taps.source == one) & (taps.weight > 0)] for taps in read_by]) for one in sources]
    spans = [_row_span(one.grid, uv) for one, uv in zip(maps, [*reads, _centers(read_by[0].grid)], strict=True)]
    row_count = maps[0].grid.rows
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


def _centers(grid: FeatureGrid) -> Float[Tensor, "cell 2"]:
    return cell_centers(*grid.lattice).reshape(-1, 2)


def valid_at(is_valid: Bool[Tensor, "height width"], grid: FeatureGrid) -> Bool[Tensor, " cell"]:
    """Return which cells are centred on a pixel that has been measured."""
    at = _centers(grid).long()
    return is_valid[at[:, 1].clamp(0, is_valid.shape[0] - 1), at[:, 0].clamp(0, is_valid.shape[1] - 1)]
