"""What views say of points: whether they show them, how well, and whether they see through them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# A view says nothing of a point that lies behind its own surface by more than so many tolerances.
SEEN_WITHIN = 2.0
# Where at least this share of the views that know of a point see nothing there, there is nothing.
_CUT_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the views say of some points.

    Attributes:
        beyond: How far behind the point a view's own surface is there, in tolerances; NaN where it has none.
        confidence: Of the view's depth there.
        quality: Of the view there, 0 where it does not show the point.
        inside: Whether the point is on its image.
        emptied: Whether it sees through the point to nothing; None if no view does anywhere.
    """

    beyond: Float[Tensor, "point view"]
    confidence: Float[Tensor, "point view"]
    quality: Float[Tensor, "point view"]
    inside: Bool[Tensor, "point view"]
    emptied: Bool[Tensor, "point view"] | None = None

    @property
    def shown(self) -> Float[Tensor, "point view"]:
        """How far a view shows the point, from 1 (on the surface that it sees there) to 0."""
        return (SEEN_WITHIN - self.beyond.abs()).clamp(0, 1).nan_to_num(0.0)

    @property
    def passed(self) -> Float[Tensor, "point view"]:
        """How far it sees through the point to what lies behind it, from 1 to 0."""
        return (self.beyond - 1).clamp(0, 1).nan_to_num(0.0)

    @property
    def is_open(self) -> Bool[Tensor, "point view"]:
        """Whether a view may show the point: it is on its image, nothing lies before it, and not nothing at all."""
        is_open = self.inside & ~(self.beyond < -1)
        return is_open if self.emptied is None else is_open & ~self.emptied

    def only(self, is_allowed: Bool[Tensor, " view"]) -> "Look":
        """Return the same as if the other views showed nothing."""
        beyond = torch.where(is_allowed, self.beyond, torch.nan)
        emptied = None if self.emptied is None else self.emptied & is_allowed
        inside = self.inside & is_allowed
        return replace(self, beyond=beyond, quality=self.quality * is_allowed, inside=inside, emptied=emptied)


def is_cut(look: Look) -> Bool[Tensor, " point"]:
    """Whether there is nothing at a point: as many views see through it to nothing as show it."""
    if look.emptied is None:
        return torch.zeros(len(look.confidence), dtype=torch.bool)
    against = look.emptied.sum(1)
    return (against > 0) & (against >= _CUT_SHARE * (against + (look.shown > 0).sum(1)))
