"""Per point, whichever of two branches is surer of what it says, by scores that both have for the same classes."""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.errors import ConfigError, UnknownNameError

Rule = Literal["max", "lead"]
RULES: tuple[Rule, ...] = get_args(Rule)


def surer(
    fused: Float[Tensor, "point class"], distilled: Float[Tensor, "point class"], rule: Rule = "lead"
) -> Bool[Tensor, " point"]:
    """Return where the distilled branch is the surer one; where both are even, the fused one stands.

    ``max``: by the highest score. ``lead``: by the highest score and how far it leads the second, together: a score
    that is high for two classes tells neither. ConfigError if there are no two classes, UnknownNameError of a rule.

    Source:
        Peng et al., OpenScene, CVPR 2023, §3.3: the 2D-3D ensemble (``max``).
    """
    if rule not in RULES:
        raise UnknownNameError.of("rule of an ensemble", rule, RULES)
    if fused.shape[1] < 2:
        raise ConfigError(
            f"An ensemble chooses by scores of two classes at least, got {fused.shape[1]}. Give more prompts or labels."
        )
    a, b = (_sureness(scores, rule) for scores in (fused, distilled))
    return b > a


def ensemble(
    fused: Float[Tensor, "point class"], distilled: Float[Tensor, "point class"], rule: Rule = "lead"
) -> Float[Tensor, "point class"]:
    """Return the scores of the surer branch (``surer``)."""
    return torch.where(surer(fused, distilled, rule)[:, None], distilled, fused)


def _sureness(scores: Float[Tensor, "point class"], rule: Rule) -> Float[Tensor, " point"]:
    first, second = scores.topk(2, dim=1).values.unbind(1)
    return first if rule == "max" else first + (first - second)
