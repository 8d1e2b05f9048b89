"""A shard of one scene's work, so that several workers prepare what one of them then finishes. Light: no torch."""

from dataclasses import dataclass
from typing import Literal

Stage = Literal["encode", "fit", "lift"]


@dataclass(frozen=True, slots=True)
class Shard:
    """Every N-th part of the views to encode, what is fitted on them, or every N-th part of the targets to lift.

    Stages: encode; fit once all features are committed, which is one shard; lift once all states are.
    """

    stage: Stage
    index: int
    count: int

    def takes(self, number: int) -> bool:
        """Whether the view or part of this number belongs to the shard."""
        return number % self.count == self.index
