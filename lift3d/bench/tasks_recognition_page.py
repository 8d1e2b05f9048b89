"""The figures of ``tasks_recognition`` as Markdown."""

from collections.abc import Sequence

from lift3d.bench.pages import bracketed, filled_head, markdown_table, number, replayed_command
from lift3d.bench.tasks_recognition import (
    FULL,
    JUDGED_BY,
    LIFTERS,
    PLAIN,
    STROKED_THINGS,
    STROKES,
    THING_WORDS,
    WORDS,
    RecognitionFigures,
    TaskFigures,
)
from lift3d.tables.rendering import NOTHING

HEAD = """# Recognition by words and by strokes

Generated; do not edit. Made by

```
{command}
```

on {date} with lift3d {version}, image height {height}, {sources} sources, `heldout-{holdout}`: every {holdout}-th view
is a target, no source of any, and nothing is fitted on it. Computed scenes, whose every thing has a name like "red
ball"; {scenes} of them, {targets} targets. Their depth is known, and the surface comes from it. All valid pixels
count, holes as filled from the nearest covered cell.
`raw2d` is the plain 2D answer on the true image. `miou` is the mean over the classes annotated in a view, background
included; `object_iou` leaves the background out. Brackets are 95 % intervals of the paired bootstrap over views.
"""

ABOUT = {
    WORDS: "One prompt per class of the scene, things and surfaces. A pixel has the prompt of highest relevancy (LERF) "
    "if that is above 0.5, else it is background, which is always wrong: every pixel here is of some class.",
    THING_WORDS: "One prompt per thing of the scene. Surfaces are background, to be found by relevancy of at most 0.5.",
    STROKES: "Strokes drawn by code on one view that is no target, from the truth of that view alone, for each of its "
    f"{STROKED_THINGS} largest things. The threshold is chosen on that view.",
}


def page(figures: RecognitionFigures) -> str:
    """Return the figures as Markdown."""
    recipe = figures.recipe
    head = filled_head(
        HEAD,
        replayed_command("recognition", recipe, () if recipe.lifters == LIFTERS else recipe.lifters),
        height=recipe.image_height,
        sources=recipe.sources,
        holdout=recipe.holdout,
        scenes=len(figures.scenes),
        targets=sum(scene.targets for scene in figures.scenes),
    )
    return "\n\n".join([head, *(_section(task, recipe.lifters) for task in figures.tasks)]) + "\n"


def _section(task: TaskFigures, lifters: Sequence[str]) -> str:
    judged, rows = JUDGED_BY[task.task], [PLAIN, *lifters]
    lines = [[name, *(number(own.get(name)) for own in task.means.values()), _difference(task, name)] for name in rows]
    scenes = [[scene, *(number(own.get(name)) for name in rows)] for scene, own in task.by_scene.items()]
    return "\n\n".join(
        [
            f"## {task.task.capitalize()}, {task.encoder}",
            ABOUT[task.task],
            _verdict(task, judged),
            markdown_table(["lifter", *task.means, f"{judged} − {PLAIN}"], lines),
            f"`{judged}` by scene:",
            markdown_table(["scene", *rows], scenes),
        ]
    )


def _verdict(task: TaskFigures, judged: str) -> str:
    reached = number(task.means.get(judged, {}).get(FULL))
    met = "met" if task.is_met else "not met"
    above = "above" if task.is_above_plain else "not above"
    return f"Bar: `{judged}` of {FULL} at least {task.bar:g}; {reached}, {met}. {FULL} is {above} {PLAIN}."


def _difference(task: TaskFigures, lifter: str) -> str:
    one = task.above_plain.get(lifter)
    return NOTHING if one is None else bracketed(one)
