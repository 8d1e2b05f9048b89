"""Means over views: a mean never stands without how much is missing."""

import pandas as pd

from lift3d.domain.records import RAW2D
from lift3d.tables.schema import ScoreTable

# What one line of a summary is about. Protocols are never averaged over: their figures mean different things.
GROUP: tuple[str, ...] = ("run", "scene", "operator", "target_mode", "protocol", "lifter")


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


def summary(table: ScoreTable) -> pd.DataFrame:
    """Return one line per run × scene × operator × target mode × protocol × lifter, a column per metric.

    Columns: GROUP, the mean of each metric that has a figure somewhere, then ``ok`` and ``missing``: rows of the group
    with and without a figure, whatever their metric. A scene or view that failed as a whole is in ``missing``.
    """
    means = metric_means(table)
    wide = means.pivot(index=list(GROUP), columns="metric", values="mean")
    wide = wide.reindex(columns=sorted(set(means.loc[means["ok"] > 0, "metric"])))
    counts = means.groupby(list(GROUP), sort=True)[["ok", "missing"]].sum()
    lines = wide.join(counts).rename_axis(columns=None).reset_index()
    # The plain 2D answer stands before the lifters it is compared with.
    by = [*GROUP[:-1], "_is_lifted", "lifter"]
    return (
        lines.assign(_is_lifted=lines["lifter"] != RAW2D).sort_values(by, ignore_index=True).drop(columns="_is_lifted")
    )
