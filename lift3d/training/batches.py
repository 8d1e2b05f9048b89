"""Batches of either stage by number: reproducible, picklable, and never of a target that its sources do not see."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lift3d.errors import NoOverlapError
from lift3d.lifters.corrective import Lift3D
from lift3d.operators.protocol import Operator
from lift3d.training import corrector_step, density_step
from lift3d.training.captures import MixedStream
from lift3d.training.encoders import Encoders
from lift3d.training.examples import Example

_Batch = TypeVar("_Batch", density_step.DensityBatch, corrector_step.CorrectorBatch)

# A drawn target may face away from all sources; the next draw of the same step takes its place.
_DRAWS = 8
_LEAST_SEEN = 0.3


@dataclass(frozen=True, slots=True)
class DensityBatches:
    """Number to a batch of stage I.

    Attributes:
        stream: Examples; its seed is that of the windows, too.
    """

    stream: MixedStream

    def __call__(self, step: int) -> density_step.DensityBatch:
        """Prepare the step's example, or the next one that is any good."""

        def prepare(example: Example, draw: int) -> density_step.DensityBatch:
            return density_step.prepare(example, np.random.default_rng([self.stream.seed, draw, 6]))

        return _first_good(self.stream, step, prepare)


@dataclass(frozen=True, slots=True)
class CorrectorBatches:
    """Number to a batch of stage II.

    Attributes:
        stream: Examples; its seed is that of the feature spaces, too.
        lifter: Gives stage I.
        encoders: Operators whose features are learned from.
        is_held_out: Whether batches are for validation: then each has the computed feature spaces that it has without
            encoders, and one of the encoders beside them, in turn.
    """

    stream: MixedStream
    lifter: Lift3D
    encoders: Encoders
    is_held_out: bool = False

    def __call__(self, step: int) -> corrector_step.CorrectorBatch:
        """Prepare the step's example, or the next one that is any good."""

        def prepare(example: Example, draw: int) -> corrector_step.CorrectorBatch:
            rng = np.random.default_rng([self.stream.seed, draw, 7])
            return corrector_step.prepare(self.lifter, example, rng, self._operators(step, draw))

        return _first_good(self.stream, step, prepare)

    def _operators(self, step: int, draw: int) -> list[Operator | None]:
        if self.is_held_out:
            own = [self.encoders.numbered(step)] if self.encoders.names else []
            return [*(None for _ in range(corrector_step.CASES)), *own]
        rng = np.random.default_rng([self.stream.seed, draw, 9])
        return [self.encoders.draw(rng) for _ in range(corrector_step.CASES)]


class HeldOut(Mapping[str, Any]):
    """Batches that are never trained on, prepared when first asked for and kept.

    Args:
        prepare: Number of a batch to the batch.
        count: How many.
    """

    def __init__(self, prepare: Callable[[int], Any], count: int) -> None:
        self._prepare, self._count = prepare, count
        self._kept: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._kept:
            self._kept[name] = self._prepare(int(name))
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return (str(number) for number in range(self._count))

    def __len__(self) -> int:
        return self._count


def _first_good(stream: MixedStream, step: int, prepare: Callable[[Example, int], _Batch]) -> _Batch:
    for attempt in range(_DRAWS):
        # Far beyond the steps of any training, so that no draw serves two of them.
        draw = step + attempt * 10_000_019
        try:
            batch = prepare(stream.example(draw), draw)
        except NoOverlapError:
            continue
        if batch.seen_share >= _LEAST_SEEN:
            return batch
    raise NoOverlapError(f"{_DRAWS} draws in a row gave no target that its sources see; step {step}.")
