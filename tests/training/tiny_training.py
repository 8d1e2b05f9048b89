"""A training of a few steps on the smallest scenes that there are."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from lift3d.cli import app as cli
from lift3d.operators.protocol import OperatorSpec
from lift3d.training.examples import SceneCache
from lift3d.training.settings import TrainingSettings
from lift3d.training.train import Listener
from tests.support.operators import IdentityOperator

# The scenes of this seed and of the next, which are those held out, have the fewest pixels.
SMALL_SEED = 347
# An operator that needs no weights, as a user would give it.
CHECKER = {"operators": ("checker:8?stride=4",), "plugins": ("tests.support.operators:CheckerOperator",)}


def tiny(folder, **changes):
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


def small_cache(folder):
    cache = SceneCache(folder, SMALL_SEED, count=2)
    for index in range(2):
        cache.scene(index)
    return cache


def same_example(one, other):
    frames, others = ([example.target, *example.sources] for example in (one, other))
    return len(frames) == len(others) and all(
        a.image.shape == b.image.shape
        and torch.equal(a.image, b.image)
        and torch.equal(a.camera.w2c, b.camera.w2c)
        and (a.z_depth is b.z_depth is None or torch.equal(a.z_depth.nan_to_num(-1), b.z_depth.nan_to_num(-1)))
        for a, b in zip(frames, others, strict=True)
    )


def same_weights(one, other):
    ours, theirs = load_file(one), load_file(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def exit_code():
    """Run the command line on ``sys.argv`` and return what it ends with."""
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


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
