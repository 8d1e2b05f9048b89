"""The means of a run for the end of a command and for Prefect's page: which figure is best, and what fits a line."""

import re
from collections.abc import Iterable, Sequence
from textwrap import fill

from rich.text import Text

from lift3d.pipeline.lift import RAW2D
from lift3d.results.headline import HEADLINE, better_sides
from lift3d.tables.aggregation import ARROWS, scene_means, summary_of_means
from lift3d.tables.schema import DataFrame

LEGEND = "Bold: best of the lifters. raw2d: the plain 2D answer, ceiling of fidelity and floor of consistency."
# Of lines of one table; what they share stands in its caption.
_COMPARED = ["run", "scene", "operator", "target_mode", "protocol"]
_SHARED = ("scene", "run", "target_mode", "protocol")
# What goes first where a line is short: floors of warps, which only say how far the errors can be trusted.
_FIRST_LEFT_OUT = ("warp_floor_long", "warp_floor_short", "coverage", "ssim")
_DIGITS = 3


def summary_lines(means: DataFrame) -> DataFrame:
    """Return what a run ends with: a line per operator and lifter, means over its scenes if it has several.

    Args:
        means: What ``headline_means`` gives.
    """
    with_figure = set(means.loc[means["ok"] > 0, "metric"])
    lines = summary_of_means(means, [name for name in HEADLINE if name in with_figure] or None)
    if lines["scene"].nunique() > 1:
        return scene_means(lines)
    names = shown_metrics(lines)
    return lines[lines[names].notna().any(axis=1)].reset_index(drop=True) if names else lines[:0]


def shown_metrics(lines: DataFrame) -> list[str]:
    """Return the metrics of lines, in the order of the headline."""
    return [name for name in HEADLINE if name in lines.columns]


def best_cells(lines: DataFrame) -> set[tuple[int, str]]:
    """Return row and metric of every figure that is the best of its operator's lifters, ties included.

    raw2d is no lifter; where there is one lifter alone nothing is best.
    """
    sides = better_sides()
    lifted = lines[lines["lifter"] != RAW2D]
    found = set()
    for _, group in lifted.groupby(_COMPARED, sort=False):
        for metric in shown_metrics(lines):
            values = group[metric].dropna().round(_DIGITS)
            if len(values) < 2 or sides[metric] == "neither":
                continue
            best = values.max() if sides[metric] == "higher" else values.min()
            found |= {(int(row), metric) for row in values[values == best].index}
    return found


def summary_markdown(lines: DataFrame) -> str:
    """Return a Markdown table, the best figures in bold."""
    best, sides = best_cells(lines), better_sides()
    metrics = shown_metrics(lines)
    texts = ["operator", *(name for name in _SHARED if lines[name].nunique() > 1), "lifter"]
    head = [*texts, *(HEADLINE[name] + ARROWS[sides[name]] for name in metrics)]
    rows = [head, [*("---" for _ in texts), *("---:" for _ in metrics)]]
    for index, line in enumerate(lines.to_dict("records")):
        cells = [escaped(str(line[name])) for name in texts]
        figures = [_cell(line[name]) for name in metrics]
        marked = [
            f"**{figure}**" if (index, name) in best else figure for name, figure in zip(metrics, figures, strict=True)
        ]
        rows.append([*cells, *marked])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def escaped(text: str) -> str:
    """Return a text as one cell of a Markdown table: no new column, no line break, no tag, no emphasis."""
    plain = " ".join(text.split())
    for sign in "\\`*_[]|":
        plain = plain.replace(sign, f"\\{sign}")
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def summary_text(lines: DataFrame, width: int) -> Text:
    """Return the table for a terminal: a block per operator, the best figures in bold.

    Args:
        lines: What ``summary_lines`` gives.
        width: Of the terminal, in characters; columns that do not fit are left out and named.
    """
    if lines.empty:
        return Text("no scores")
    best = best_cells(lines)
    first = max(12, *(len(name) + 2 for name in lines["lifter"]))
    metrics, left_out = _fitting(shown_metrics(lines), width - first)
    text = Text(f"{caption(lines)}\n\n")
    for part in (0, 1):
        text.append("".join([" " * first, *(_padded(name, _heading(name).split("\n")[part]) for name in metrics)]))
        text.append("\n")
    for _, group in lines.groupby(_COMPARED, sort=False):
        named = [name for name in _SHARED if lines[name].nunique() > 1]
        text.append(" · ".join(str(group.iloc[0][name]) for name in ("operator", *named)) + "\n", "bold")
        for index, line in zip(group.index, group.to_dict("records"), strict=True):
            text.append(f"  {line['lifter']}".ljust(first))
            for name in metrics:
                text.append(_padded(name, _cell(line[name])), "bold green" if (index, name) in best else "")
            text.append("\n")
    text.append("\n" + fill(LEGEND, width), "dim")
    if left_out:
        text.append(f"\nNot shown: {', '.join(HEADLINE[name] for name in left_out)}.", "dim")
    return text


def caption(lines: DataFrame) -> str:
    """Return what all lines share: scenes, run and protocol."""
    shared = {name: str(lines[name].iloc[0]) for name in _SHARED if lines[name].nunique() == 1}
    scenes = re.sub(r"^mean of (\d+)/(\d+)$", r"means over \1 of \2 scenes", shared.pop("scene", ""))
    run = f"run {shared.pop('run')}" if "run" in shared else ""
    return " · ".join(one for one in (scenes, run, *shared.values()) if one)


def _fitting(metrics: Sequence[str], width: int) -> tuple[list[str], list[str]]:
    """Return the columns that fit, and those that do not."""
    kept = list(metrics)
    for name in (*_FIRST_LEFT_OUT, *reversed(metrics)):
        if _width_of(kept) <= width or len(kept) == 1:
            break
        if name in kept:
            kept.remove(name)
    return kept, [name for name in metrics if name not in kept]


def _width_of(metrics: Iterable[str]) -> int:
    return sum(len(_padded(name, "")) for name in metrics)


def _heading(metric: str) -> str:
    """Return a heading of two lines: its name with the arrow that says which way is better, and what it is over."""
    name, _, over = HEADLINE[metric].partition(" ")
    return f"{name}{ARROWS[better_sides()[metric]]}\n{over}".replace(" ", "")


def _padded(metric: str, cell: str) -> str:
    return cell.rjust(max(5 + 2, *(len(part) + 2 for part in _heading(metric).split("\n"))))


def _cell(value: float) -> str:
    # Missing is not a number, and is unlike itself.
    return f"{value:.{_DIGITS}f}" if value == value else "–"
