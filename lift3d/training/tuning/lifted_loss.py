"""What a tuned encoder is asked for: that a view's features be what the surface says there, and no other place.

Features that only agree may do so by growing alike. So directions are those from the mean of all features, since what
all cells share says nothing, and the contrast asks each cell's features to be nearer to their own lifted features than
to those of the view's other cells.

Sources:
    Yue et al., Improving 2D Feature Representations by 3D-Aware Fine-Tuning (FiT3D), ECCV 2024: features rendered from
    a scene as the target of a 2D encoder.
    van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, eq. 4: the contrast.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.operators.timm_tail import SplitEncoder, Tail
from lift3d.training.tuning.settings import TuningSettings
from lift3d.training.tuning.views import TuningView

_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Mean and standard deviation of each channel of the lifted features of all views."""

    mean: Float[Tensor, " channel"]
    deviation: Float[Tensor, " channel"]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "Spread":
        """Read views, and add them up in double precision."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for path in paths:
            values = TuningView.read(path).lifted.double().flatten(1)
            values = values[:, torch.isfinite(values).all(0)]
            count += values.shape[1]
            total, squares = total + values.sum(1), squares + values.square().sum(1)
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        return cls(mean.float(), variance.sqrt().float().clamp(min=_SMALLEST))


@dataclass(frozen=True, slots=True, eq=False)
class LiftedLoss:
    """The loss of some views, by the parts that settings ask for."""

    split: SplitEncoder
    spread: Spread
    settings: TuningSettings

    def __call__(self, tail: Tail, views: Sequence[TuningView]) -> tuple[Tensor, dict[str, float]]:
        """Return the mean loss of views, and of each of its parts.

        ``relative_cosine`` is no part: the cosine distance to the lifted features, not centred, over that between cells
        of the view.
        """
        total, sums = torch.zeros(()), dict[str, float]()
        for view in views:
            parts = self._parts(tail, view)
            weights = {"cosine": 1.0, "contrast": self.settings.contrast, "length": self.settings.length}
            weights["stay"] = self.settings.stay
            for name, weight in weights.items():
                if weight:
                    total = total + weight * parts[name] / len(views)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(views)
        return total, sums

    def _parts(self, tail: Tail, view: TuningView) -> dict[str, Tensor]:
        own = self.split.features(tail, view.tokens.float(), view.size).values.flatten(1).T
        lifted, plain = view.lifted.float().flatten(1).T, view.plain.float().flatten(1).T
        counts = torch.isfinite(lifted).all(1)
        stay = 1 - F.cosine_similarity(own, plain, dim=1).mean()
        own, lifted = own[counts], lifted[counts]
        own_way, lifted_way = (F.normalize(one - self.spread.mean, dim=1) for one in (own, lifted))
        nearness = own_way @ lifted_way.T / self.settings.temperature
        with torch.no_grad():
            error = 1 - F.cosine_similarity(own, lifted, dim=1).mean()
            between = 1 - F.normalize(own, dim=1).mean(0).square().sum()
        return {
            "cosine": 1 - (own_way * lifted_way).sum(1).mean(),
            "relative_cosine": error / between.clamp(min=_SMALLEST),
            "contrast": F.cross_entropy(nearness, torch.arange(len(own))),
            "length": F.smooth_l1_loss(own / self.spread.deviation, lifted / self.spread.deviation),
            "stay": stay,
        }
