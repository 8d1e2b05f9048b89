"""What ``lift3d train`` and ``finetune`` show: a bar per stage, a line per validation, and where everything lies."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lift3d.cli.commands.options import print_places
from lift3d.messages import message_console
from lift3d.training.train import Listener

Drive = Callable[[Any, Listener], Path]

_VALIDATION = "validation_"


@runtime_checkable
class Trained(Protocol):
    """Settings of any training."""

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        ...


def train_and_present(settings: Trained, drive: Drive) -> None:
    """Train, show progress on standard error, and print on standard output where everything lies."""
    console = message_console()
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("scenes", total=None)

        def on_step(stage: str, done: int, total: int) -> None:
            progress.update(bar, description=stage, completed=done, total=total)

        def on_validation(stage: str, figures: Mapping[str, float]) -> None:
            console.print(validation_line(stage, figures), highlight=False, soft_wrap=True)

        checkpoint = drive(settings, Listener(on_step, on_validation))
    print_places(
        {
            "checkpoint": checkpoint,
            "card": checkpoint.with_suffix(".md"),
            "folder": settings.folder,
        }
    )


def validation_line(stage: str, figures: Mapping[str, float]) -> str:
    """Return one line on a validation."""
    held_out = ", ".join(
        f"{name.removeprefix(_VALIDATION)} {value:.4f}"
        for name, value in figures.items()
        if name.startswith(_VALIDATION)
    )
    return f"{stage}, step {figures['step']:.0f}: {held_out}"
