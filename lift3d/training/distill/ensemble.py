"""Per point, whichever of two branches is surer of what it says, by scores that both have for the same classes.

Source:
    Peng et al., OpenScene, CVPR 2023, §3.3: the 2D-3D ensemble.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.errors import ConfigError


def surer(fused: Float[Tensor, "point class"], distilled: Float[Tensor, "point class"]) -> Bool[Tensor, " point"]:
    """Return where the highest score of the distilled branch is higher; where both are even, the fused one stands.

    ConfigError if there are no two classes: one alone is not told from anything.
    """
    if fused.shape[1] < 2:
        raise ConfigError(
            f"An ensemble chooses by scores of two classes at least, got {fused.shape[1]}. Give more prompts or labels."
        )
    is_surer: Tensor = distilled.amax(1) > fused.amax(1)
    return is_surer


def ensemble(
    fused: Float[Tensor, "point class"], distilled: Float[Tensor, "point class"]
) -> Float[Tensor, "point class"]:
    """Return the scores of the branch that is ``surer``."""
    return torch.where(surer(fused, distilled)[:, None], distilled, fused)
