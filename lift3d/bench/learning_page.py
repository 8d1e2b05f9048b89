"""The figures of ``learning`` as Markdown: what each method is nearer or agrees less by, of all scenes and of each."""

import math
from collections.abc import Sequence

import numpy as np

from lift3d.bench.learned_methods import ANCHORED, FACING, FINELY, RESIDUAL, SOFT, VOTES
from lift3d.bench.learning import RANGES, LearningFigures
from lift3d.bench.pages import filled_head, markdown_table, number
from lift3d.bench.ratios import Figure, ratio
from lift3d.bench.votes_fit import FitFigures
from lift3d.domain.records import RAW2D
from lift3d.tables.rendering import NOTHING

HEAD = """# What does learning add?

Generated; do not edit. Made on {date} with lift3d {version} by

```
{command}
```

Features of {count} networks that no training saw, at held-out views; every method is asked for the same ones. Of each
network the first cut is taken, as means over cells of 4 px where its own are finer. Every N-th view is held out, and at
least six of a scene; of long captures every second or third view is taken at all. `{anchored}` is the default of
`lift3d run`, the plain consensus on the scene's surface. Beside it:

- `{votes}`: the same surface and witnesses, whose weights follow a learned rule over scalars, and no channel: a view
  counts less, the farther its depth there is from the point's, and beside edges of depth. `{finely}`: less with the
  former, and more, the more finely it sees the place. Both are the same for every camera that looks. `{facing}` is
  not: it prefers views that look as the target does.
- `NAME: depth`, `weights`, `residual`: the lifter `lift3d` of a checkpoint: learned depth with the weights of colours,
  then with weights of their own for features, then whole. `dinov2` was trained on DINOv2 and MobileNetV2, as its card
  says. `synthetic`, of which the whole lifter alone is asked, is what was packaged before: 1,500 steps of stage I and
  600 of stage II, random networks alone, on worlds that are no more; it lies in the history of the repository.

**Near**: 1 − cos to what the network says of the true view itself. **Left**: of the plain 2D answers' disagreement
between two views at one surface point, what remains, at baseline angles of 15° to 45° and below. Changes are against
`{anchored}`, on the same views; brackets are 95 % intervals of the paired bootstrap over views, or pairs of views, of
all scenes. ✓ and ✗ say that the whole interval is better, or worse; no mark, that nobody knows.

"""
SOFTER = (
    "The rules beside features that are made less crisp before they are read, by a third: what the rules were found to "
    "want beside them (below). Other cells count than above, those that the surface covers."
)
# Of the networks, how many are to be nearer by what is learned.
ENOUGH = 0.75
_WORDS = {"long": "15–45°", "short": "< 15°"}


def page(every: Sequence[LearningFigures], fits: Sequence[FitFigures] = ()) -> str:
    """Return the figures as Markdown; ``fits`` are of the rules for votes."""
    alone = [row for row in every if SOFT.keys() <= row.near.keys()]
    rows = [row for row in every if row not in alone] or alone
    ran = [*((one.command, one.date) for one in fits), *((row.command, row.date) for row in every)]
    commands = "\n".join(dict.fromkeys(f"{command}  # {date}" for command, date in ran))
    operators = [*dict.fromkeys(row.operator for row in rows)]
    head = filled_head(
        HEAD, commands, count=len(operators), anchored=ANCHORED, votes=VOTES, finely=FINELY, facing=FACING
    )
    if not rows:
        return head + "\n\n".join(map(_votes, fits)) + "\n"
    methods = [*dict.fromkeys(method for row in rows for method in row.near)]
    by_operator = {name: [row for row in rows if row.operator == name] for name in operators}
    parts = [
        "## At a glance\n\n" + _glance(by_operator, methods),
        "## Nearer to the true view\n\n" + _nearness(by_operator, methods),
        *(
            f"## Left of the disagreement, {_WORDS[reach]}\n\n" + _agreement(by_operator, methods, reach)
            for reach in RANGES
        ),
        "## By scene\n\n" + _by_scene(rows, methods),
        *_checkpoints(by_operator, methods),
        *_surface_alone(alone),
        *(_votes(one) for one in fits),
    ]
    return head + "\n\n".join(parts) + "\n"


def nearer(rows: Sequence[LearningFigures], method: str, than: str = ANCHORED) -> Figure:
    """Return by which share of another method's 1 − cos a method has more."""
    own, plain = (np.array([one for row in rows for one in row.near[name]]) for name in (method, than))
    return ratio(own - plain, plain)


def left(rows: Sequence[LearningFigures], method: str, reach: str, *, less: str | None = None) -> Figure:
    """Return the share of the plain answers' disagreement that a method leaves, less that of another one if named."""
    found = {
        name: np.array([one for row in rows for one in row.excess[reach][name]])
        for name in (method, less, RAW2D)
        if name
    }
    part = found[method] - found[less] if less else found[method]
    return ratio(part, found[RAW2D])


def verdict(change: Figure) -> str:
    """Return whether a change is better (✓: it is less), worse (✗), or unknown (nothing), by its whole interval."""
    return "✓" if change.high < 0 else "✗" if change.low > 0 else ""


def _glance(by_operator: dict[str, list[LearningFigures]], methods: Sequence[str]) -> str:
    """Return, per method, over all operators: changes, of how many networks they are sure, and time."""
    every = [row for own in by_operator.values() for row in own]
    lines = []
    for method in methods:
        changes = [[nearer(own, method) for own in by_operator.values()]] + [
            [left(own, method, reach, less=ANCHORED) for own in by_operator.values()] for reach in RANGES
        ]
        cells = [_tally(one) if method != ANCHORED else NOTHING for one in changes]
        shares = [_share(left(every, method, reach)) for reach in RANGES]
        change = _change(nearer(every, method)) if method != ANCHORED else NOTHING
        seconds = float(np.mean([row.seconds[method] for row in every]))
        lines.append([method, change, cells[0], shares[0], cells[1], shares[1], cells[2], number(seconds, 2)])
    columns = ["method", "near, change", "✓ / ✗", "left, 15–45°", "✓ / ✗", "left, < 15°", "✓ / ✗", "seconds"]
    passing = [
        method
        for method in methods
        if method != ANCHORED
        and sum(verdict(nearer(own, method)) == "✓" for own in by_operator.values()) >= ENOUGH * len(by_operator)
        and not any(
            verdict(left(own, method, to, less=ANCHORED)) == "✗" for own in by_operator.values() for to in RANGES
        )
    ]
    aim = (
        f"Aim of what is learned: surely nearer for {ENOUGH:.0%} of the networks, and for none surely less agreed. "
        f"Reached by {', '.join(f'`{one}`' for one in passing) or 'none'}."
    )
    note = (
        f"✓ / ✗: of {len(by_operator)} networks, how many are surely better and worse than `{ANCHORED}`. Seconds: "
        "processor time of a target and one network, without encoding; the surface, once per scene, is not in it."
    )
    return f"{markdown_table(columns, lines)}\n\n{aim} {note}"


def _nearness(by_operator: dict[str, list[LearningFigures]], methods: Sequence[str]) -> str:
    others = [one for one in methods if one != ANCHORED]
    lines = []
    for operator, own in by_operator.items():
        plain = float(np.mean([one for row in own for one in row.near[ANCHORED]]))
        lines.append([operator, number(plain, 4), *(_change(nearer(own, method)) for method in others)])
    return markdown_table(["network", f"{ANCHORED}, 1 − cos", *others], lines)


def _agreement(by_operator: dict[str, list[LearningFigures]], methods: Sequence[str], reach: str) -> str:
    lines = [[operator, *(_left(own, method, reach) for method in methods)] for operator, own in by_operator.items()]
    return markdown_table(["network", *methods], lines)


def _left(own: Sequence[LearningFigures], method: str, reach: str) -> str:
    mark = "" if method == ANCHORED else verdict(left(own, method, reach, less=ANCHORED))
    return f"{_share(left(own, method, reach))} {mark}".rstrip()


def _by_scene(rows: Sequence[LearningFigures], methods: Sequence[str]) -> str:
    """Return near of the plain consensus and changes, then what is left at long range, of all networks of a scene."""
    lines = []
    for scene in dict.fromkeys(row.scene for row in rows):
        own = [row for row in rows if row.scene == scene]
        about = f"{scene} ({own[0].geometry}, {own[0].height} px, {len(own[0].near[ANCHORED])} views)"
        for method in methods:
            change = _change(nearer(own, method)) if method != ANCHORED else NOTHING
            shares = [_share(left(own, method, reach)) for reach in RANGES]
            lines.append([about, method, change, *shares])
    return markdown_table(["scene", "method", "near, change", "left, 15–45°", "left, < 15°"], lines, 2)


def _surface_alone(rows: Sequence[LearningFigures]) -> list[str]:
    """Return a section on what rules and less crisp features give together, on all cells that the surface covers."""
    if not rows:
        return []
    by_operator = {
        name: [row for row in rows if row.operator == name] for name in dict.fromkeys(r.operator for r in rows)
    }
    methods = [*rows[0].near]
    return [
        f"## On the surface alone\n\n{SOFTER}\n\n{_glance(by_operator, methods)}\n\n{_nearness(by_operator, methods)}"
    ]


def _checkpoints(by_operator: dict[str, list[LearningFigures]], methods: Sequence[str]) -> list[str]:
    """Return a section on the last checkpoint beside the first, if there are two."""
    wholes = [one for one in methods if one.endswith(f": {RESIDUAL}")]
    if len(wholes) < 2:
        return []
    old, new = wholes[0], wholes[-1]
    lines = [
        [operator, _change(nearer(own, new, old)), *(_point(left(own, new, reach, less=old)) for reach in RANGES)]
        for operator, own in by_operator.items()
    ]
    table = markdown_table(["network", "near, change", "left, 15–45°, change", "left, < 15°, change"], lines)
    return [f"## {new.partition(':')[0]} beside {old.partition(':')[0]}\n\n{table}"]


def _votes(fit: FitFigures) -> str:
    lines = [
        [", ".join(f"{name} {value:+.2f}" for name, value in rule.items()), f"{gain:+.1%}", f"{apart:+.1%}"]
        for rule, gain, apart in zip(fit.rules, fit.gains, fit.gains_apart, strict=True)
    ]
    table = markdown_table(["rule", "change of 1 − cos", "on scenes not fitted on"], lines)
    text = (
        f"Rules were fitted on {fit.scene_count} computed scenes and features of {', '.join(fit.operators)}. The "
        "log of a witness's weight is that of `anchored` plus scalars (`lift3d/bench/votes.py` tells them apart) times "
        "what stands here. `crispness` is what is added to that of `anchored`, relative. The last column is of rules "
        "fitted on one half of the scenes and judged on the other."
    )
    return f"## What votes can learn\n\n{text}\n\n{table}"


def _tally(changes: Sequence[Figure]) -> str:
    marks = [verdict(one) for one in changes]
    return f"{marks.count('✓')} / {marks.count('✗')}"


def _change(figure: Figure) -> str:
    if math.isnan(figure.value):
        return NOTHING
    return f"{figure.value:+.1%} [{figure.low:+.1%}, {figure.high:+.1%}] {verdict(figure)}".rstrip()


def _point(figure: Figure) -> str:
    if math.isnan(figure.value):
        return NOTHING
    ends = f"[{100 * figure.low:+.1f}, {100 * figure.high:+.1f}]"
    return f"{100 * figure.value:+.1f} points {ends} {verdict(figure)}".rstrip()


def _share(figure: Figure) -> str:
    if math.isnan(figure.value):
        return NOTHING
    return f"{figure.value:.1%}" + ("" if math.isnan(figure.low) else f" [{figure.low:.0%}, {figure.high:.0%}]")
