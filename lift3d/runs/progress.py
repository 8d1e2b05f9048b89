"""How far a run is, on the terminal: a bar over scenes, one for each scene at work, with the time that is left."""

import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from lift3d.config import scene_name
from lift3d.domain.keys import shown
from lift3d.messages import message_console

# As many lines as one takes in at a glance; a cluster has hundreds of scenes at work.
_MOST_AT_WORK = 4
_BAR_WIDTH = 16
_TELL_EVERY_S = 30.0

Item = TypeVar("Item")


class RunProgress:
    """Bars on standard error while a run goes on; where that is neither a terminal nor a notebook, a line at times."""

    def __init__(self, console: Console, scene_count: int) -> None:
        # Names of scenes are no markup, and the longest of them leaves room for the stage.
        name = Column(ratio=3, no_wrap=True, overflow="ellipsis")
        stage = Column(ratio=2, no_wrap=True, overflow="ellipsis")
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=name),
            TextColumn("{task.fields[stage]}", style="dim", markup=False, table_column=stage),
            BarColumn(_BAR_WIDTH),
            _Count(),
            _TimeLeft(table_column=Column(justify="right", min_width=12)),
            console=console,
            transient=True,
            expand=True,
            disable=not (console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)),
        )
        self._scenes = self._progress.add_task("scenes", total=scene_count, stage="")
        self._start: TaskID | None = self._progress.add_task("starting", total=None, stage="")
        self._at_work: dict[str, TaskID] = {}
        self._told_at = time.monotonic()

    def __enter__(self) -> "RunProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def finish_scene(self, location: str) -> None:
        """Count a scene and take its bar away."""
        self._progress.advance(self._scenes)
        # In this process one scene is at work at a time and its stages do not say which.
        for scene in ("", scene_name(location)):
            if scene in self._at_work:
                self._progress.remove_task(self._at_work.pop(scene))
        if self._progress.tasks[0].finished:
            # Prefect and Ray take seconds to end.
            self._progress.add_task("finishing", total=None, stage="")
        self._show_first()

    def report(self, name: str, done: int, total: int) -> None:
        """Show a stage: ``SCENE: STAGE``, or the stage alone."""
        if self._start is not None:
            self._progress.remove_task(self._start)
            self._start = None
        scene, _, stage = name.rpartition(": ")
        if scene not in self._at_work:
            self._at_work[scene] = self._progress.add_task(scene or "this scene", total=total, stage="")
            self._show_first()
        task = self._at_work[scene]
        if self._progress.tasks[self._progress.task_ids.index(task)].fields["stage"] != stage:
            # The time that is left is that of the stage.
            self._progress.reset(task, total=total, stage=stage)
        self._progress.update(task, completed=done, total=total)
        if self._progress.disable and time.monotonic() - self._told_at > _TELL_EVERY_S:
            # Logs, of CI or of a batch system, are read while a scene takes its time.
            self._told_at = time.monotonic()
            told = f"{name}: {done} of {total}"
            self._progress.console.print(shown(told), highlight=False, markup=False, emoji=False, soft_wrap=True)

    def _show_first(self) -> None:
        for place, task in enumerate(self._at_work.values()):
            self._progress.update(task, visible=place < _MOST_AT_WORK)


class _Count(MofNCompleteColumn):
    """Nothing where nobody knows of how many."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total is not None else Text("")


class _TimeLeft(ProgressColumn):
    """Time left at the mean pace since the start; rich's own looks at the last half minute, scenes take longer."""

    def render(self, task: Task) -> Text:
        if not task.completed or task.total is None or task.elapsed is None:
            return Text("")
        left = task.elapsed / task.completed * (task.total - task.completed)
        return Text(f"{duration(left)} left" if left >= 1 else "", style="progress.remaining")


def track(items: Iterable[Item], what: str) -> Iterator[Item]:
    """Yield items and show on standard error how far that is, if it is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = message_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, description=what)


def duration(seconds: float) -> str:
    """Return a time as people read it: ``0:42``, ``7:05``, ``3:07:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
