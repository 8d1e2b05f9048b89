"""``docs/systems.md``: a line per system and scene, then a section per part."""

from collections.abc import Mapping, Sequence

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
the systems publish stands in their sections: other scenes, other networks, so it is to be read beside, not against.

## At a glance
"""
_MISSED = "✗"


def page(rows: Sequence[SystemRow]) -> str:
    """Return the figures as Markdown."""
    ordered = sorted(rows, key=lambda row: (list(PARTS).index(row.part), row.scene, row.metric))
    commands = "\n".join(dict.fromkeys(f"{row.command}  # {row.date}" for row in ordered))
    head = filled_head(HEAD, commands, missed=_MISSED)
    glance = markdown_table(
        ["system", "scene", "metric", "here", "floor", "ceiling"],
        [
            [PARTS[row.part].systems, row.scene, row.metric, _figure(row), _named(row.floors), _named(row.ceilings)]
            for row in ordered
        ],
        label_count=3,
    )
    sections = [
        _section(name, part, [row for row in ordered if row.part == name])
        for name, part in PARTS.items()
        if any(row.part == name for row in ordered)
    ]
    return "\n\n".join([head + "\n" + glance, *sections]) + "\n"


def _section(name: str, part: Part, rows: Sequence[SystemRow]) -> str:
    details = list(dict.fromkeys(detail for row in rows for detail in row.details))
    table = [
        markdown_table(
            ["scene", "metric", *details],
            [[row.scene, row.metric, *(number(row.details.get(detail)) for detail in details)] for row in rows],
            label_count=2,
        )
    ]
    return "\n\n".join(
        [
            f"## {name.capitalize()}: {part.systems}",
            part.does,
            f"**Published**: {part.published}",
            f"**Not done here**: {part.lacks}",
            *(table if details else []),
        ]
    )


def _figure(row: SystemRow) -> str:
    return number(row.figure) + ("" if row.is_above else f" {_MISSED}")


def _named(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in figures.items()) or NOTHING
