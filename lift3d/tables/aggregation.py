"""Means over views: a mean never stands without how much is missing."""

from collections.abc import Sequence

import pandas as pd

from lift3d.errors import UnknownNameError
from lift3d.tables.schema import ScoreTable

# What one line of a summary is about. Protocols are never averaged over: their figures mean different things.
GROUP: tuple[str, ...] = ("run", "scene", "operator", "target_mode", "protocol", "lifter")
COUNTS: tuple[str, ...] = ("ok", "missing")
REFERENCE_LIFTER = "raw2d"


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

    Columns: GROUP, the mean of each metric that has a figure somewhere (or of those named, in their order), then
    ``ok`` and ``missing``: rows of the group with and without a figure, whatever their metric. A scene or view that
    failed as a whole is in ``missing``. UnknownNameError if the table has no such metric.
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


def _ordered(lines: pd.DataFrame) -> pd.DataFrame:
    """Sort by group, with the plain 2D answer before the lifters it is compared with."""
    is_lifted = lines["lifter"] != REFERENCE_LIFTER
    by = [*GROUP[:-1], "_is_lifted", "lifter"]
    return lines.assign(_is_lifted=is_lifted).sort_values(by, ignore_index=True).drop(columns="_is_lifted")
