"""Fidelity over taps and over sources: two panels, one colour per operator, one kind of line per lifter."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from lift3d.bench.curves import ALL
from lift3d.errors import ConfigError

_SIZE_INCHES = (11.6, 4.2)
# The last lifter is the one that matters.
_LINES = ("-", "--", ":")
_LOSS_TICKS = (-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_ERROR_TICKS = (0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
Rows = Sequence[Mapping[str, Any]]
Value = Callable[[Rows, str, str], float]


def draw_bench_curves(figures: Mapping[str, Any], path: Path) -> None:
    """Draw means over all views of all scenes into a PNG file, the legend below the panels.

    Args:
        figures: What ``curves.measure`` found.
        path: PNG file to write.

    Raises:
        ConfigError: If the file cannot be written.
    """
    rows = [row for scene in figures["scenes"] for row in scene["rows"]]
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    names = ", ".join(scene["scene"] for scene in figures["scenes"])
    views = {(scene["scene"], row["target"]) for scene in figures["scenes"] for row in scene["rows"]}
    figure.suptitle(f"{names}: mean of {len(views)} views that are no source", fontsize="medium")
    colours = {name: f"C{index}" for index, name in enumerate(dict.fromkeys(row["operator"] for row in rows))}
    lines = dict(zip(figures["recipe"]["lifters"][::-1], _LINES, strict=False))
    taps, sources = figure.subplots(1, 2)
    _draw_taps(taps, figures, _groups(rows, colours, lines))
    _draw_sources(sources, figures, _groups(rows, colours, lines))
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


# Rows of an operator, a lifter, and the colour and kind of line of both.
Group = tuple[Rows, str, str, str]


def _groups(rows: Rows, colours: Mapping[str, str], lines: Mapping[str, str]) -> list[Group]:
    return [
        ([row for row in rows if row["operator"] == operator], lifter, colour, line)
        for operator, colour in colours.items()
        for lifter, line in lines.items()
    ]


def _draw_taps(axes: Axes, figures: Mapping[str, Any], groups: Sequence[Group]) -> None:
    """Draw what fewer taps lose; all of them stand where twice as many as the most would be."""
    ticks = {count: str(count) for count in figures["tap_counts"]} | {2 * max(figures["tap_counts"]): ALL}

    def lost_percent(rows: Rows, lifter: str, key: str) -> float:
        pairs = [(row["taps"][ALL][lifter]["fidelity"], row["taps"][key][lifter]["fidelity"]) for row in rows]
        return fmean(100 * (whole - some) / whole for whole, some in pairs)

    limit = figures["judged"]["limit_percent"]
    axes.set_yscale("symlog", linthresh=limit)
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    axes.axhline(limit, color="0.6", linewidth=0.8, linestyle=(0, (4, 4)))
    axes.set(title=f"Taps, {figures['recipe']['sources']} sources", xlabel="taps per cell")
    axes.set_ylabel("fidelity lost against all taps / %")
    _draw(axes, groups, ticks, _LOSS_TICKS, lost_percent)


def _draw_sources(axes: Axes, figures: Mapping[str, Any], groups: Sequence[Group]) -> None:
    """Draw errors relative to one: those of pictures and of features differ by orders of magnitude."""
    # Counts that every scene has: each point is then of the same views.
    counts = sorted(set.intersection(*(set(scene["source_counts"]) for scene in figures["scenes"])))
    most, first = str(counts[-1]), figures["recipe"]["lifters"][0]

    def error(rows: Rows, lifter: str, key: str) -> float:
        return fmean(1 - float(row["sources"][key][lifter]["fidelity"]) for row in rows)

    def relative(rows: Rows, lifter: str, key: str) -> float:
        whole = error(rows, first, most)
        return error(rows, lifter, key) / whole if whole > 0 else math.nan

    axes.set_yscale("log")
    axes.set(title="Sources, four taps for each", xlabel="source views per target")
    axes.set_ylabel(f"1 − cos, relative to that of\n{first} with {most} sources")
    _draw(axes, groups, {count: str(count) for count in counts}, _ERROR_TICKS, relative)


def _draw(
    axes: Axes, groups: Sequence[Group], x_ticks: Mapping[int, str], y_ticks: Sequence[float], value: Value
) -> None:
    axes.set_xscale("log", base=2)
    for rows, lifter, colour, line in groups:
        y = [value(rows, lifter, key) for key in x_ticks.values()]
        axes.plot(list(x_ticks), y, marker="o", markersize=3, color=colour, linestyle=line)
    for axis, places in ((axes.xaxis, list(x_ticks)), (axes.yaxis, list(y_ticks))):
        axis.set_major_locator(FixedLocator(places))
        axis.set_minor_locator(NullLocator())
    axes.set_xticklabels(list(x_ticks.values()))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(color="0.9", linewidth=0.6)
