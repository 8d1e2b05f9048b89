"""How sure an answer on the surface is: do views show the place, do their depths agree, and do their answers?

Letters: witnesses are the views that show a place, support is the sum of their confidences, opposition that of views
that see through it, spread how far apart the witnesses' depths lie, relative. Agreement is the length of the mean of
unit features, or the greatest mean probability. All are turned into probabilities by constants that
``lift3d bench calibration`` fits on computed scenes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Depths that lie so far apart, relative, tell e times less of where the surface is.
_SPREAD = 0.03
# So much support, a third of a sure view, is half of what no number of views exceeds.
_FEW = 0.3
# No evidence is surer than this, nor less sure than its opposite.
_EXTREME = 1e-3


@dataclass(frozen=True, slots=True)
class Calibration:
    """Log odds of being right: ``offset + agreement · logit(agreement) + place · logit(evidence of the place)``.

    Source:
        Logistic calibration: Platt, Probabilistic outputs for support vector machines, 1999.
    """

    offset: float
    agreement: float
    place: float

    def of(self, agreement: Float[Tensor, "*cell"] | float, place: Float[Tensor, "*cell"]) -> Float[Tensor, "*cell"]:
        """Return confidence."""
        agreed = torch.logit(torch.as_tensor(agreement, dtype=torch.float32), eps=_EXTREME)
        log_odds = self.offset + self.agreement * agreed + self.place * torch.logit(place, eps=_EXTREME)
        return torch.sigmoid(log_odds)


# That depth is within 3 % of the true one; that a label is right; the cosine to the true view's own features.
DEPTH = Calibration(2.17, 0.0, 1.11)
LABELS = Calibration(0.47, 1.28, 0.10)
FEATURES = Calibration(0.24, 1.16, 0.12)


def place_evidence(
    witnesses: Float[Tensor, "*cell"],
    support: Float[Tensor, "*cell"],
    opposition: Float[Tensor, "*cell"],
    spread: Float[Tensor, "*cell"],
) -> Float[Tensor, "*cell"]:
    """Return the evidence in [0, 1] that the surface is where it is said to be; 0 where no view shows it.

    Mean confidence, share of support and closeness: views err alike, so that many of them make a place little surer.
    """
    share = support / (support + opposition + _FEW)
    return support / torch.where(witnesses > 0, witnesses, 1.0) * share * torch.exp(-spread / _SPREAD)
