"""A training process that is killed in stage II, once. Importable by Ray workers."""

import os
import signal
from pathlib import Path

from ray.train import get_context

from lift3d.training.loop import Team
from lift3d.training.settings import TrainingSettings
from lift3d.training.train import CORRECTOR, Listener, train

KILLED = "killed-once"


def train_killed_once(config: dict[str, TrainingSettings]) -> None:
    """Train as a Ray worker does; the last process dies at its first step of stage II, the first time."""
    settings, context = config["settings"], get_context()
    team = Team(context.get_world_rank(), context.get_world_size())
    mark = Path(settings.folder) / KILLED

    def kill(stage: str, done: int, total: int) -> None:
        if stage == CORRECTOR and team.rank == team.size - 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    train(settings, Listener(on_step=kill), team)
