"""Fidelity over taps and over sources: two panels, one colour per operator, one kind of line per lifter."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lift3d.errors import ConfigError

_PANEL_INCHES = (5.8, 4.2)
# The last lifter is the one that matters.
_LINES = ("-", "--", ":")
Rows = Sequence[Mapping[str, Any]]


# As many taps as there are candidates; drawn where twice as many as the most would be.
_ALL = "all"


@dataclass(frozen=True, slots=True)
class _Curve:
    """One line of a panel.

    Attributes:
        operator: Gives the colour.
        lifter: Gives the kind of line.
        points: (x, y), x rising.
    """

    operator: str
    lifter: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class _Panel:
    """Curves over one quantity, which rises by factors.

    Attributes:
        title: Above it.
        x_label: Quantity and unit.
        y_label: Quantity and unit.
        curves: What is drawn.
        ticks: Where x is named, and how.
        y_ticks: Where y is named.
        linear_below: y is linear up to this, of either sign, and logarithmic beyond; logarithmic throughout if None.
        limit: A y that something is judged by; drawn if given.
    """

    title: str
    x_label: str
    y_label: str
    curves: tuple[_Curve, ...]
    ticks: Mapping[int, str]
    y_ticks: tuple[float, ...]
    linear_below: float | None = None
    limit: float | None = None


def draw_bench_curves(figures: Mapping[str, Any], path: Path) -> None:
    """Draw means over all views of all scenes into a PNG file, the legend below the panels.

    Args:
        figures: What ``lift3d bench curves --json`` prints.
        path: PNG file to write.

    Raises:
        ConfigError: If the file cannot be written.
    """
    rows = [row for scene in figures["scenes"] for row in scene["rows"]]
    panels = (_taps_panel(figures, rows), _sources_panel(figures, rows))
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), layout="constrained")
    FigureCanvasAgg(figure)
    names = ", ".join(scene["scene"] for scene in figures["scenes"])
    views = {(scene["scene"], row["target"]) for scene in figures["scenes"] for row in scene["rows"]}
    figure.suptitle(f"{names}: mean of {len(views)} views that are no source", fontsize="medium")
    drawn = [curve for panel in panels for curve in panel.curves]
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(curve.operator for curve in drawn))}
    lifters = list(dict.fromkeys(curve.lifter for curve in drawn))[::-1]
    lines = dict(zip(lifters, _LINES, strict=False))
    for number, panel in enumerate(panels):
        _draw_panel(figure.add_subplot(1, len(panels), number + 1), panel, colours, lines)
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    handles += [Line2D([], [], color="0.3", linestyle=line, label=name) for name, line in lines.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8), fontsize="small")
    partial = path.with_name(f"partial-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(partial, dpi=120, format="png")
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"Cannot write '{path}': {error}. Name a file in a folder you may write to.") from error


def _taps_panel(figures: Mapping[str, Any], rows: Rows) -> _Panel:
    ticks = {count: str(count) for count in figures["tap_counts"]} | {2 * max(figures["tap_counts"]): _ALL}

    def loss(row: Mapping[str, Any], lifter: str, key: str) -> float:
        whole: float = row["taps"][_ALL][lifter]["fidelity"]
        return 100 * (whole - float(row["taps"][key][lifter]["fidelity"])) / whole

    def mean_loss(found: Rows, lifter: str, key: str) -> float:
        return fmean(loss(row, lifter, key) for row in found)

    limit = figures["judged"]["limit_percent"]
    return _Panel(
        title=f"Taps, {figures['recipe']['sources']} sources",
        x_label="taps per cell",
        y_label="fidelity lost against all taps / %",
        curves=_curves(rows, ticks, mean_loss),
        ticks=ticks,
        y_ticks=(-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0),
        linear_below=limit,
        limit=limit,
    )


def _sources_panel(figures: Mapping[str, Any], rows: Rows) -> _Panel:
    # Counts that every scene has: each point is then of the same views.
    counts = set.intersection(*(set(scene["source_counts"]) for scene in figures["scenes"]))
    ticks = {count: str(count) for count in sorted(counts)}
    # Errors of pictures and of features differ by orders of magnitude; what they have in common is the shape.
    most, first = str(max(counts)), figures["recipe"]["lifters"][0]

    def error(row: Mapping[str, Any], lifter: str, key: str) -> float:
        return 1 - float(row["sources"][key][lifter]["fidelity"])

    def relative(found: Rows, lifter: str, key: str) -> float:
        whole = fmean(error(row, first, most) for row in found)
        return fmean(error(row, lifter, key) for row in found) / whole if whole > 0 else math.nan

    return _Panel(
        title="Sources, four taps for each",
        x_label="source views per target",
        y_label=f"1 − cos, relative to that of\n{first} with {most} sources",
        curves=_curves(rows, ticks, relative),
        ticks=ticks,
        y_ticks=(0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0),
    )


def _curves(rows: Rows, ticks: Mapping[int, str], value: Callable[[Rows, str, str], float]) -> tuple[_Curve, ...]:
    curves = []
    for operator in dict.fromkeys(row["operator"] for row in rows):
        found = [row for row in rows if row["operator"] == operator]
        for lifter in found[0]["taps"][_ALL]:
            points = ((float(x), value(found, lifter, key)) for x, key in ticks.items())
            curves.append(_Curve(operator, lifter, tuple(points)))
    return tuple(curves)


def _draw_panel(axes: Axes, panel: _Panel, colours: Mapping[str, str], lines: Mapping[str, str]) -> None:
    axes.set_xscale("log", base=2)
    if panel.linear_below is None:
        axes.set_yscale("log")
    else:
        axes.set_yscale("symlog", linthresh=panel.linear_below)
        axes.axhline(0.0, color="0.6", linewidth=0.8)
    if panel.limit is not None:
        axes.axhline(panel.limit, color="0.6", linewidth=0.8, linestyle=(0, (4, 4)))
    for curve in panel.curves:
        x, y = zip(*curve.points, strict=True) if curve.points else ((), ())
        axes.plot(x, y, marker="o", markersize=3, color=colours[curve.operator], linestyle=lines[curve.lifter])
    axes.xaxis.set_major_locator(FixedLocator(list(panel.ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: panel.ticks.get(round(x), "")))
    axes.yaxis.set_major_locator(FixedLocator(list(panel.y_ticks)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.grid(color="0.9", linewidth=0.6)
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
