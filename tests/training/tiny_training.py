"""A training of a few steps on the smallest scenes that there are."""

import shutil

from lift3d.operators.protocol import OperatorSpec
from lift3d.training.settings import TrainingSettings
from lift3d.training.train import CORRECTOR, DENSITY, Listener, train
from tests.support.operators import IdentityOperator

# The scenes of this seed and of the next, which are those held out, have the fewest pixels.
SMALL_SEED = 347
# An operator that needs no weights, as a user would give it.
CHECKER = "checker:8?stride=4"
CHECKER_PLUGIN = "tests.support.operators:CheckerOperator"


def tiny(folder, **changes):
    """Return settings of a training below a folder."""
    given = {
        "out": folder / "tiny.safetensors",
        "folder": folder / "run",
        "seed": SMALL_SEED,
        "scenes": 2,
        "validation_scenes": 1,
        "density_steps": 3,
        "corrector_steps": 3,
        "workers": 0,
    }
    return TrainingSettings(**{**given, **changes})


def with_scenes_of(folder, other):
    """Return another folder with the same scenes rendered and nothing trained."""
    for name in ("scenes", "validation"):
        shutil.copytree(folder / "run" / name, other / "run" / name)
    return other


class NearnessOperator(IdentityOperator):
    """Gives depth, which no lifted picture guides."""

    spec = OperatorSpec(name="nearness", stage_version=1, prediction_kind="scalar", quantity="depth")


class Heard(list):
    """What a training told: (stage, step) of every step; validations apart; interrupts it where it is told to."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.validations, self._stop_at = [], stop_at

    @property
    def listener(self):
        return Listener(self._step, lambda stage, figures: self.validations.append((stage, dict(figures))))

    def _step(self, stage, done, total):
        self.append((stage, done, total))
        if (stage, done) == self._stop_at:
            raise KeyboardInterrupt


__all__ = ["CHECKER", "CHECKER_PLUGIN", "CORRECTOR", "DENSITY", "Heard", "tiny", "train", "with_scenes_of"]
