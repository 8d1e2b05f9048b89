"""Examples and batches of either stage by number: reproducible, so that training resumes anywhere, and picklable."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from lift3d.errors import NoOverlapError
from lift3d.lifters.corrective import Lift3D
from lift3d.operators.protocol import Operator
from lift3d.training import corrector_step, density_step
from lift3d.training.captures import draw_capture_example
from lift3d.training.examples import Example, SceneCache, draw_example
from lift3d.training.feature_spaces import Encoders

_Batch = TypeVar("_Batch", density_step.DensityBatch, corrector_step.CorrectorBatch)

# A drawn target may face away from all sources; the next draw of the same step takes its place.
_DRAWS = 8
_LEAST_SEEN = 0.3


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples of computed scenes, each of which comes once before any comes again, and of captures in their share.

    The seed decides order, targets and sources; ``sources`` is the range of their number.
    """

    scenes: SceneCache
    seed: int
    sources: tuple[int, int]
    captures: tuple[str, ...] = ()
    capture_share: float = 0.0

    def __call__(self, step: int) -> Example:
        """Return the example of a step."""
        rng = np.random.default_rng([self.seed, step, 3])
        low, high = self.sources
        source_count = int(rng.integers(low, high + 1))
        if self.captures and rng.uniform() < self.capture_share:
            return draw_capture_example(rng, self.captures[int(rng.integers(len(self.captures)))], source_count)
        epoch, position = divmod(step, self.scenes.count)
        scene = int(np.random.default_rng([self.seed, epoch, 2]).permutation(self.scenes.count)[position])
        return draw_example(rng, self.scenes.scene(scene), source_count, str(scene))


@dataclass(frozen=True, slots=True)
class DensityBatches:
    """Number to a batch of stage I; the seed of the examples is that of the windows, too."""

    examples: Examples

    def __call__(self, step: int) -> density_step.DensityBatch:
        """Prepare the step's example, or the next one that is any good."""

        def prepare(example: Example, draw: int) -> density_step.DensityBatch:
            return density_step.prepare(example, np.random.default_rng([self.examples.seed, draw, 6]))

        return _first_good(self.examples, step, prepare)


@dataclass(frozen=True, slots=True)
class CorrectorBatches:
    """Number to a batch of stage II; the lifter gives stage I, the seed of the examples is that of the feature spaces.

    A held-out batch has the drawn feature spaces that it has without encoders, and one of the encoders beside them, in
    turn.
    """

    examples: Examples
    lifter: Lift3D
    encoders: Encoders
    is_held_out: bool = False

    def __call__(self, step: int) -> corrector_step.CorrectorBatch:
        """Prepare the step's example, or the next one that is any good."""

        def prepare(example: Example, draw: int) -> corrector_step.CorrectorBatch:
            rng = np.random.default_rng([self.examples.seed, draw, 7])
            return corrector_step.prepare(self.lifter, example, rng, self._operators(step, draw))

        return _first_good(self.examples, step, prepare)

    def _operators(self, step: int, draw: int) -> list[Operator | None]:
        if self.is_held_out:
            own = [self.encoders.numbered(step)] if self.encoders.names else []
            return [*(None for _ in range(corrector_step.CASES)), *own]
        rng = np.random.default_rng([self.examples.seed, draw, 9])
        return [self.encoders.draw(rng) for _ in range(corrector_step.CASES)]


def _first_good(examples: Examples, step: int, prepare: Callable[[Example, int], _Batch]) -> _Batch:
    for attempt in range(_DRAWS):
        # Far beyond the steps of any training, so that no draw serves two of them.
        draw = step + attempt * 10_000_019
        try:
            batch = prepare(examples(draw), draw)
        except NoOverlapError:
            continue
        if batch.seen_share >= _LEAST_SEEN:
            return batch
    raise NoOverlapError(f"{_DRAWS} draws in a row gave no target that its sources see; step {step}.")
