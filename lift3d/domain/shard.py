"""A shard of one scene's work, so that several workers prepare what one of them then finishes. Light: no torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Shard:
    """Every N-th view to encode, or every N-th part of the targets to lift.

    Attributes:
        stage: encode, or lift once all features are committed.
        index: Which shard, from 0.
        count: Out of how many.
    """

    stage: Literal["encode", "lift"]
    index: int
    count: int

    def takes(self, number: int) -> bool:
        """Whether the view or part of this number belongs to the shard."""
        return number % self.count == self.index
