"""Faults of pretrained networks, put onto clean features: what a corrector has to see through.

Strengths are in units of the features' own spread (one root mean square per channel, over all views).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lift3d.domain.features import FeatureMap

# Cells over which a padding fault fades, and how coarse a positional field is.
_BORDER_CELLS = 1.2
_FIELD_CELLS = 4


@dataclass(frozen=True, slots=True)
class FaultStrengths:
    """How strong each fault is; 0 leaves it out.

    Spreads of what is added to a channel in one view, of its log gain, and of a smooth field that all views share; how
    far border cells are drawn to one vector; and the share of cells replaced by a vector of ``outlier_loudness``.
    """

    channel_bias: float = 0.0
    view_gain: float = 0.0
    positional_field: float = 0.0
    padding: float = 0.0
    outlier_share: float = 0.0
    outlier_loudness: float = 6.0


def draw_faults(rng: np.random.Generator) -> FaultStrengths:
    """Draw strengths: each fault is there in about a third of the draws, none at all in a quarter."""
    if rng.uniform() < 0.25:
        return FaultStrengths()
    is_there = rng.uniform(size=5) < 0.4
    return FaultStrengths(
        channel_bias=float(is_there[0] * rng.uniform(0.05, 0.5)),
        view_gain=float(is_there[1] * rng.uniform(0.03, 0.3)),
        positional_field=float(is_there[2] * rng.uniform(0.1, 1.0)),
        padding=float(is_there[3] * rng.uniform(0.2, 1.0)),
        outlier_share=float(is_there[4] * rng.uniform(0.002, 0.02)),
        outlier_loudness=float(rng.uniform(3, 10)),
    )


def with_faults(maps: Sequence[FeatureMap], strengths: FaultStrengths, rng: np.random.Generator) -> list[FeatureMap]:
    """Return the views' features with faults; the maps that come in stay as they are.

    All are of one space and grid; the target's is best among them, for a network would do the same to it. Global
    tokens have no place in the image; they are left alone.
    """
    values = torch.stack([one.values for one in maps])
    views, channels, rows, cols = values.shape
    spread = values.std(dim=(0, 2, 3), correction=0)[:, None, None].clamp(min=1e-6)

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(values)

    # Draws are made for every fault, so that changing one strength leaves the others' shapes as they are.
    gain, bias = normal(views, channels, 1, 1), normal(views, channels, 1, 1)
    # Few patterns shared by all channels, as the position codes of a network are of low rank.
    patterns = F.interpolate(normal(1, 6, _FIELD_CELLS, _FIELD_CELLS), (rows, cols), mode="bicubic")
    field = torch.einsum("cp,pij->cij", normal(channels, 6) / 6**0.5, patterns[0])
    frame, loud = normal(channels, 1, 1), normal(channels, 1, 1)
    is_outlier = torch.from_numpy(rng.uniform(size=(views, 1, rows, cols))).to(values) < strengths.outlier_share

    values = values * torch.exp(strengths.view_gain * gain) + strengths.channel_bias * spread * bias
    values = values + strengths.positional_field * spread * field
    # Full on the outermost cells, fading inwards.
    r, c = torch.arange(rows), torch.arange(cols)
    inwards = torch.minimum(torch.minimum(r, rows - 1 - r)[:, None], torch.minimum(c, cols - 1 - c)[None])
    pull = strengths.padding * torch.exp(-inwards / _BORDER_CELLS).to(values)
    middle = values.mean(dim=(0, 2, 3))[:, None, None]
    values = values + pull * (middle + spread * frame - values)
    values = torch.where(is_outlier, middle + strengths.outlier_loudness * spread * loud, values)
    return [replace(one, values=view) for one, view in zip(maps, values, strict=True)]
