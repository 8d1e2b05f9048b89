"""Tables of text: typed rows as Markdown and for a terminal. Light: no torch, no pandas."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import fill
from typing import Literal

from rich.text import Text

from lift3d.domain.keys import shown

Better = Literal["higher", "lower", "neither"]
NOTHING = "–"
_ARROWS: dict[Better, str] = {"higher": "↑", "lower": "↓", "neither": ""}
# What would begin emphasis, code, a link or a new column; an underscore inside a word does not.
_MARKDOWN = re.compile(r"[\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_])")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures; ``key`` is its name for programs, minor ones are left out first in short lines."""

    title: str
    key: str = ""
    better: Better = "neither"
    is_minor: bool = False

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return _ARROWS[self.better]

    @property
    def heading(self) -> str:
        """Title and arrow."""
        return f"{self.title} {self.arrow}".rstrip()


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure as it is shown, and with every digit, if there is one.

    ``is_best`` is among those it is compared with, ``count`` says how many have a figure of how many, where some have
    none, and ``spread`` is its interval.
    """

    text: str = NOTHING
    value: float | None = None
    is_best: bool = False
    count: str = ""
    spread: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What a line is of, and its figures: one for each column."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Labels and figures under a caption; neighbouring lines that differ in their last label alone form a group."""

    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""

    def groups(self) -> Iterator[tuple[str, list[Row]]]:
        """Yield what lines have in common, in words, and the lines."""
        for labels, rows in groupby(self.rows, key=lambda row: row.labels[:-1]):
            yield " · ".join(filter(None, labels)), list(rows)


def text_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], label_count: int = 1, caption: str = ""
) -> Table:
    """Return a table of texts of which the first ``label_count`` columns are labels and the others figures."""
    lines = tuple(Row(tuple(row[:label_count]), tuple(map(Cell, row[label_count:]))) for row in rows)
    return Table(tuple(headings[:label_count]), tuple(map(Column, headings[label_count:])), lines, caption)


def to_markdown(table: Table) -> str:
    """Return an aligned Markdown table below its caption: labels to the left, figures to the right, the best bold."""
    headings = [*table.labels, *(column.heading for column in table.columns)]
    lines = [[*map(escaped, headings)]]
    lines += [[*(escaped(label) or NOTHING for label in row.labels), *map(_marked, row.cells)] for row in table.rows]
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(headings))]
    count = len(table.labels)

    def piped(cells: Sequence[str], fill: str = " ") -> str:
        padded = [
            cell.ljust(width, fill) if place < count else cell.rjust(width, fill)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = piped(["-" if place < count else "-:" for place in range(len(headings))], "-")
    caption = [escaped(table.caption), ""] if table.caption else []
    return "\n".join([*caption, piped(lines[0]), rule, *map(piped, lines[1:])])


def escaped(text: str) -> str:
    """Return a text as one cell of a Markdown table: no new column, no line break, no tag, no emphasis."""
    plain = _MARKDOWN.sub(lambda found: f"\\{found.group()}", shown(" ".join(text.split())))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def to_terminal(table: Table, width: int, legend: str = "") -> Text:
    """Return a block per group, the best figures in bold, and below it a legend.

    Columns that do not fit into the width of the terminal, in characters, are left out and named.
    """
    first = max(12, *(len(row.labels[-1]) + 2 for row in table.rows))
    places, left_out = _fitting(table.columns, width - first)
    wide = [_width(table.columns[place]) for place in places]
    text = Text(f"{shown(table.caption)}\n\n")
    for part in (0, 1):
        headings = [_two_lines(table.columns[place])[part].rjust(own) for place, own in zip(places, wide, strict=True)]
        text.append(f"{' ' * first}{''.join(headings)}\n")
    for name, rows in table.groups():
        text.append(f"{shown(name)}\n", "bold")
        for row in rows:
            text.append(f"  {shown(row.labels[-1])}".ljust(first))
            for place, own in zip(places, wide, strict=True):
                text.append(row.cells[place].text.rjust(own), "bold green" if row.cells[place].is_best else "")
            text.append("\n")
    text.append("".join(f"\n{fill(line, width)}" for line in legend.split("\n")), "dim")
    if left_out:
        text.append(f"\nNot shown: {', '.join(left_out)}.", "dim")
    return text


def _marked(cell: Cell) -> str:
    figure = f"**{escaped(cell.text)}**" if cell.is_best else escaped(cell.text)
    return f"{figure}{f' ({cell.count})' if cell.count else ''}{f' {cell.spread}' if cell.spread else ''}"


def _fitting(columns: Sequence[Column], width: int) -> tuple[list[int], list[str]]:
    """Return the places of the columns that fit, and the titles of those that do not."""
    places = list(range(len(columns)))
    kept = list(places)
    for place in [*filter(lambda one: columns[one].is_minor, reversed(places)), *reversed(places)]:
        if sum(_width(columns[one]) for one in kept) <= width or len(kept) == 1:
            break
        if place in kept:
            kept.remove(place)
    return kept, [columns[place].title for place in places if place not in kept]


def _two_lines(column: Column) -> tuple[str, str]:
    """Return a heading of two lines: its name with the arrow that says which way is better, and what it is over."""
    name, _, over = column.title.partition(" ")
    return name + column.arrow, over.replace(" ", "")


def _width(column: Column) -> int:
    return max(7, *(len(part) + 2 for part in _two_lines(column)))
