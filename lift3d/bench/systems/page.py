"""``docs/systems.md``: a line per system and scene, then a section per part."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lift3d.bench.pages import filled_head, markdown_table, number
from lift3d.bench.systems.parts import PARTS, Part
from lift3d.bench.systems.row import SystemRow
from lift3d.tables.rendering import NOTHING

HEAD = """# Systems of the field, on a lifted scene

Generated; do not edit. Made on {date} with lift3d {version} by

```
{command}
```

Each line is one kind of system as it works here, without training: its figure, what it must be better than (floor), and
the best that there can be on the same input (ceiling). {missed} marks a figure that is not better than its floors. What
the systems publish is of other scenes and other networks: to be read beside, not against.

## At a glance
"""
_MISSED = "✗"


def page(rows: Sequence[SystemRow]) -> str:
    """Return the figures as Markdown."""
    ordered = sorted(rows, key=lambda row: (list(PARTS).index(row.part), row.metric, row.scene))
    commands = "\n".join(dict.fromkeys(f"{row.command}  # {row.date}" for row in ordered))
    head = filled_head(HEAD, commands, missed=_MISSED)
    parts = {name: [row for row in ordered if row.part == name] for name in PARTS}
    known = {name: own for name, own in parts.items() if own}
    what = "\n".join(
        f"- **{PARTS[name].systems}**: {PARTS[name].brief}. *Published*: {PARTS[name].published}. *Not done here*: "
        f"{PARTS[name].lacks}."
        for name in known
    )
    means = [_mean(own) for rows in known.values() for own in _by_metric(rows).values()]
    glance = _figures([[PARTS[row.part].systems, row.scene] for row in means], ["system", "scenes"], means)
    sections = [_section(name, PARTS[name], own) for name, own in known.items()]
    return "\n\n".join([head + "\n" + glance, what, *sections]) + "\n"


def _by_metric(rows: Sequence[SystemRow]) -> dict[str, list[SystemRow]]:
    grouped: dict[str, list[SystemRow]] = {}
    for row in rows:
        grouped.setdefault(row.metric, []).append(row)
    return grouped


def _mean(rows: Sequence[SystemRow]) -> SystemRow:
    """Return one row of several scenes' figures; of floors and ceilings those that all scenes have."""

    def mean(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
        shared = [name for name in figures[0] if all(name in one for one in figures)]
        return {name: sum(one[name] for one in figures) / len(figures) for name in shared}

    figure = sum(row.figure for row in rows) / len(rows)
    floors, ceilings = mean([row.floors for row in rows]), mean([row.ceilings for row in rows])
    scenes = rows[0].scene if len(rows) == 1 else f"mean of {len(rows)}"
    return replace(rows[0], scene=scenes, figure=figure, floors=floors, ceilings=ceilings)


def _figures(labels: Sequence[Sequence[str]], names: Sequence[str], rows: Sequence[SystemRow]) -> str:
    lines = [
        [*own, row.metric, _figure(row), _named(row.floors), _named(row.ceilings)]
        for own, row in zip(labels, rows, strict=True)
    ]
    return markdown_table([*names, "metric", "here", "floor", "ceiling"], lines, label_count=len(names) + 1)


def _section(name: str, part: Part, rows: Sequence[SystemRow]) -> str:
    scenes = _figures([[row.scene] for row in rows], ["scene"], rows)
    detailed = [row for row in rows if row.details]
    details = list(dict.fromkeys(detail for row in detailed for detail in row.details))
    lines = [[row.scene, row.metric, *(number(row.details.get(detail)) for detail in details)] for row in detailed]
    table = [markdown_table(["scene", "metric", *details], lines, label_count=2)] if details else []
    return "\n\n".join([f"## {name.capitalize()}: {part.systems}", part.does, scenes, *table])


def _figure(row: SystemRow) -> str:
    return number(row.figure) + ("" if row.is_above else f" {_MISSED}")


def _named(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in figures.items()) or NOTHING
