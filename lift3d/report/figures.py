"""The tables of a report: means with what is missing beside them, and which lifter is best in each column."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lift3d.pipeline.lift import RAW2D
from lift3d.results.headline import HEADLINE, better_sides
from lift3d.tables.aggregation import summary_of_means
from lift3d.tables.scene_intervals import scene_intervals
from lift3d.tables.schema import DataFrame

_SIDES = {"higher": ("↑", "higher is better"), "lower": ("↓", "lower is better"), "neither": ("", "")}
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure.

    Attributes:
        text: As it is shown.
        value: With every digit; empty if there is none.
        is_best: Whether it is the best of the lifters beside it; equal as shown is equal.
        count: How many have a figure of how many, where some have none.
        spread: Its interval; empty if there is none.
    """

    text: str
    value: str = ""
    is_best: bool = False
    count: str = ""
    spread: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A metric.

    Attributes:
        metric: Its id, as in the table of scores.
        title: What it is called here.
        arrow: Which way is better.
        side: The same in words.
    """

    metric: str
    title: str
    arrow: str
    side: str


@dataclass(frozen=True, slots=True)
class Line:
    """The figures of one operator under one lifter.

    Attributes:
        lifter: The lifter.
        cells: One for each column of the table.
    """

    lifter: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Lifters that are compared with each other, the plain answer first.

    Attributes:
        name: What they have in common, in words.
        lines: A line per lifter.
    """

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class FigureTable:
    """A table as it is shown."""

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]


def scene_tables(means: DataFrame, scenes: Iterable[str]) -> tuple[FigureTable, FigureTable]:
    """Return the table of some scenes, a line per scene, operator and lifter: the usual columns, and all others.

    Args:
        means: What ``headline_means`` gives.
        scenes: Names of those that are shown.
    """
    shown = means[means["scene"].isin([*scenes]) & (means["lifter"] != "")]
    labels = ["scene", "operator", *_varying(shown)]
    order = summary_of_means(shown).to_dict("records") if len(shown) else []
    cells = {(_key(one), one["metric"]): _cell(one) for one in shown.to_dict("records")}
    usual, other = _columns(shown)
    return tuple(_table(labels, columns, order, cells) for columns in (usual, other))  # type: ignore[return-value]


def overall_table(means: DataFrame) -> FigureTable | None:
    """Return the means over scenes with their intervals, every scene weighing the same; None for fewer than two."""
    if means.empty or means["scene"].nunique() < 2:
        return None
    found = scene_intervals(means)
    found = found[found["lifter"] != ""]
    if found.empty:
        return None
    records = [{**one, "scene": ""} for one in found.to_dict("records")]
    cells = {(_key(one), one["metric"]): _cell(one, spread=_interval(one)) for one in records}
    labels = ["operator", *_varying(found)]
    order = sorted({_key(one): one for one in records}.values(), key=_place)
    usual, _ = _columns(found.assign(scene=""))
    return _table(labels, usual, order, cells)


def _place(one: Mapping[str, Any]) -> tuple[Any, ...]:
    *group, lifter = _key(one)
    return (*group, lifter != RAW2D, lifter)


def _key(one: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a line is of; the lifter comes last."""
    return (one["scene"], one["operator"], one["target_mode"], one["protocol"], one["lifter"])


def _varying(lines: DataFrame) -> list[str]:
    return [name for name in ("target_mode", "protocol") if len({*lines[name]} - {""}) > 1]


def _columns(means: DataFrame) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """Return the columns that have a figure: those of the headline in its order, then all others by name."""
    known = set(means.loc[means["ok"] > 0, "metric"])
    sides = better_sides()

    def column(name: str) -> Column:
        # A metric whose threshold came from elsewhere says so after an @.
        metric, _, source = name.partition("@")
        title = HEADLINE.get(metric, metric) + (f" @{source}" if source else "")
        return Column(name, title, *_SIDES[sides.get(metric, "neither")])

    by_metric = {metric: place for place, metric in enumerate(HEADLINE)}
    usual = sorted(
        (name for name in known if name.partition("@")[0] in by_metric),
        key=lambda name: (
            by_metric[name.partition("@")[0]],
            name,
        ),
    )
    return tuple(map(column, usual)), tuple(map(column, sorted(known - {*usual})))


def _cell(one: Mapping[str, Any], spread: str = "") -> Cell:
    ok, missing = int(one["ok"]), int(one["missing"])
    count = f"{ok}/{ok + missing}" if missing else ""
    if not ok:
        return Cell(NOTHING, count=count)
    return Cell(f"{one['mean']:.3f}", repr(float(one["mean"])), count=count, spread=spread)


def _interval(one: Mapping[str, Any]) -> str:
    return "" if one["low"] != one["low"] else f"[{one['low']:.3f}, {one['high']:.3f}]"


def _table(
    labels: Sequence[str],
    columns: Sequence[Column],
    order: Sequence[Mapping[str, Any]],
    cells: Mapping[tuple[tuple[str, ...], str], Cell],
) -> FigureTable:
    by_group: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for one in order:
        by_group.setdefault(_key(one)[:-1], []).append(one)
    groups = []
    for held in by_group.values():
        found = [
            (key, [cells.get((key, column.metric), Cell(NOTHING)) for column in columns]) for key in map(_key, held)
        ]
        # The plain answer is the ceiling of one figure and the floor of another: it is not compared.
        rivals = [row for key, row in found if key[-1] != RAW2D]
        best = [_best([row[place] for row in rivals], column) for place, column in enumerate(columns)]
        lines = [
            Line(key[-1], tuple(_marked(cell, one, key[-1]) for cell, one in zip(row, best, strict=True)))
            for key, row in found
        ]
        groups.append(Group(" · ".join(held[0][name] for name in labels if held[0][name]), tuple(lines)))
    return FigureTable(tuple(columns), tuple(groups))


def _marked(cell: Cell, best: str | None, lifter: str) -> Cell:
    return replace(cell, is_best=lifter != RAW2D and cell.value != "" and cell.text == best)


def _best(rivals: Sequence[Cell], column: Column) -> str | None:
    """Return the best figure as it is shown; None if nothing is compared."""
    texts = [cell.text for cell in rivals if cell.value]
    if len(texts) < 2 or not column.arrow:
        return None
    return (max if column.arrow == "↑" else min)(texts, key=float)
