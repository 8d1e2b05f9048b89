"""Means over views and scenes, and how they are shown: a mean never stands without how much is missing."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from lift3d.errors import UnknownNameError
from lift3d.tables.schema import ScoreTable

# What one line of a summary is about. Protocols are never averaged over: their figures mean different things.
GROUP: tuple[str, ...] = ("run", "scene", "operator", "target_mode", "protocol", "lifter")
COUNTS: tuple[str, ...] = ("ok", "missing")
REFERENCE_LIFTER = "raw2d"

Style = Literal["md", "csv", "json"]
ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}


def metric_means(table: ScoreTable) -> pd.DataFrame:
    """Return one line per group and metric: the unweighted mean over views or pairs, beside its counts.

    Columns: GROUP, ``metric`` (with the source of its threshold after an @, if it has one), ``mean``
    over rows that have a figure (NaN if none has), ``ok`` (how many have), ``missing`` (how many have not).
    """
    frame = table.frame
    source = frame["threshold_source"]
    named = frame.assign(metric=frame["metric"].where(source == "", frame["metric"] + "@" + source))
    groups = named.groupby([*GROUP, "metric"], sort=True)
    counted = groups["value"].agg(mean="mean", ok="count", missing=lambda values: int(values.isna().sum()))
    return counted.reset_index().astype({"mean": "float64", "ok": "int64", "missing": "int64"})


def summary(table: ScoreTable, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Return one line per run × scene × operator × target mode × protocol × lifter, a column per metric.

    Columns: GROUP, the mean of each metric that has a figure somewhere, then ``ok`` and ``missing``: rows of
    the group with and without a figure, whatever their metric. A scene or view that failed as a whole is in
    ``missing``.

    Args:
        table: Of one run or several.
        metrics: Which columns, in this order; None for all, by name.

    Raises:
        UnknownNameError: If the table has no such metric.
    """
    return summary_of_means(metric_means(table), metrics)


def summary_of_means(means: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Return what summary returns, from what metric_means gives; of parts of a run, simply one below the other."""
    known = sorted(set(means.loc[means["ok"] > 0, "metric"]))
    for name in metrics or ():
        if name not in set(means["metric"]):
            raise UnknownNameError.of("metric of this table", name, sorted(set(means["metric"])))
    wide = means.pivot(index=list(GROUP), columns="metric", values="mean")
    wide = wide.reindex(columns=known if metrics is None else list(metrics))
    counts = means.groupby(list(GROUP), sort=True)[list(COUNTS)].sum()
    return _ordered(wide.join(counts).rename_axis(columns=None).reset_index())


def scene_means(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the means over scenes of a summary, every scene weighing the same.

    ``ok`` counts the scenes that have some figure, ``missing`` those of the run that have none, and ``scene``
    says both. A scene without a figure lowers the count and nothing else.
    """
    group = [name for name in GROUP if name != "scene"]
    names = metric_columns(lines)
    total = lines.groupby("run")["scene"].nunique()
    with_figure = lines[lines[names].notna().any(axis=1)]
    means = with_figure.groupby(group, sort=True)[names].mean()
    means["ok"] = with_figure.groupby(group, sort=True)["scene"].nunique()
    means = means.reset_index()
    means["missing"] = means["run"].map(total).astype("int64") - means["ok"]
    means["scene"] = [f"mean of {ok}/{ok + gone}" for ok, gone in zip(means["ok"], means["missing"], strict=True)]
    return _ordered(means[list(lines.columns)])


def metric_columns(lines: pd.DataFrame) -> list[str]:
    """Return the columns of a summary that are metrics."""
    return [name for name in lines.columns if name not in (*GROUP, *COUNTS)]


def render(
    lines: pd.DataFrame, style: Style, better: Mapping[str, str] | None = None, *, with_means: bool = True
) -> str:
    """Return a summary as text.

    Args:
        lines: What summary gives.
        style: ``md`` for people: three decimals, – for missing, what all lines share in a caption, and the
            means over scenes below if there are several. ``csv`` and ``json`` for programs: every digit.
        better: Metric to higher, lower or neither: adds an arrow to the heading in ``md``.
        with_means: Whether ``md`` ends with the means over scenes, where there are several.
    """
    if style == "csv":
        return str(lines.to_csv(index=False))
    if style == "json":
        return json.dumps(json.loads(lines.to_json(orient="records", double_precision=15)), indent=1)
    if lines.empty:
        return "no scores"
    if with_means and lines["scene"].nunique() > 1:
        lines = pd.concat([lines, scene_means(lines)], ignore_index=True)
    shared = {name: _shared_value(lines[name]) for name in ("run", "target_mode", "protocol")}
    caption = " · ".join(f"{name} {value}" for name, value in shared.items() if value)
    shown = ["scene", "operator", *(name for name, value in shared.items() if value is None), "lifter"]
    headings = shown + [name + ARROWS[(better or {}).get(name, "neither")] for name in metric_columns(lines)]
    columns = [*shown, *metric_columns(lines), *COUNTS]
    cells = [[_cell(value) for value in row] for row in lines[columns].itertuples(index=False, name=None)]
    return "\n".join([caption, "", *pipes([*headings, *COUNTS], cells, text_count=len(shown))])


def _ordered(lines: pd.DataFrame) -> pd.DataFrame:
    """Sort by group, with the plain 2D answer before the lifters it is compared with."""
    is_lifted = lines["lifter"] != REFERENCE_LIFTER
    by = [*GROUP[:-1], "_is_lifted", "lifter"]
    return lines.assign(_is_lifted=is_lifted).sort_values(by, ignore_index=True).drop(columns="_is_lifted")


def _shared_value(column: pd.Series) -> str | None:
    """Return the one value of a column, ignoring empty ones; None if there are several."""
    distinct = [value for value in column.unique() if value]
    if len(distinct) > 1:
        return None
    return str(distinct[0]) if distinct else ""


def _cell(value: str | float | int) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.3f}"
    return str(value) or "–"


def pipes(headings: Sequence[str], cells: Sequence[Sequence[str]], text_count: int) -> list[str]:
    """Return an aligned Markdown table: ``text_count`` columns to the left, numbers to the right."""
    widths = [max(3, *(len(row[index]) for row in (headings, *cells))) for index in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if index < text_count else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if index < text_count else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return [line(headings), line(rule), *(line(row) for row in cells)]
