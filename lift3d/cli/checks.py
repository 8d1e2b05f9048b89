"""What commands say of captures before the work, and how far its stages are."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lift3d.domain.scene import Scene
from lift3d.messages import message_console
from lift3d.pipeline.inputs import Report
from lift3d.runs.plan import Plan
from lift3d.scenes.catalog import read_scene

if TYPE_CHECKING:
    from lift3d.ingest.diagnosis.finding import Finding

# What a plan looks at: seconds, where a run has a thousand scenes, or one of ten thousand views.
_CHECKED_SCENES, _CHECKED_VIEWS = 4, 2000
_STAGES = {
    "reading": "reading",
    "copying": "copying photographs",
    "frames": "reading the video",
    "features": "searching features",
    "matches": "matching pairs",
    "views": "registering views",
    # Where few are registered, a second look takes several times as long.
    "features-again": "too few views: searching finer features",
    "matches-again": "matching pairs again",
    "views-again": "registering views again",
    "masks": "merging masks of views",
    "checks": "looking for what will hurt",
}


def checked(scene: Scene) -> "tuple[Finding, ...]":
    """Return what will hurt in a posed scene, with progress on standard error."""
    # OpenCV and COLMAP: a plan is made without them.
    from lift3d.ingest.diagnosis.diagnose import diagnose

    with stages() as report:
        return diagnose(scene, partial(report, "checks"))


def checked_of_plan(planned: Plan) -> "dict[str, tuple[Finding, ...]]":
    """Return what will hurt in the first scenes that a run has still to do, by location; those of many views wait.

    ``lift3d ingest`` looks at any scene.
    """
    todo = [one for one in planned.scenes if one.size is not None and not one.is_done]
    few = [one.location for one in todo[:_CHECKED_SCENES] if one.size and one.size.view_count <= _CHECKED_VIEWS]
    return {location: checked(read_scene(location)) for location in few}


@contextmanager
def stages() -> Iterator[Report]:
    """Show on standard error how far each stage is; a terminal sees bars, a file one line for each stage."""
    console = message_console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as progress:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(_STAGES[stage], total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield report
