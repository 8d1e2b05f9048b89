"""How sure is a mean over scenes? Bootstrap intervals with scenes as the unit: views of one scene are no strangers."""

import math

import pandas as pd

from lift3d.tables.aggregation import GROUP
from lift3d.tables.comparison import interval

# What a mean over scenes is of.
MEAN_OF: tuple[str, ...] = (*(name for name in GROUP if name != "scene"), "metric")


def scene_intervals(means: pd.DataFrame, seed: int = 0, *, has_intervals: bool = True) -> pd.DataFrame:
    """Return the means over scenes with their 95 % intervals, every scene weighing the same.

    Columns: run, operator, target_mode, protocol, lifter, metric; ``mean``; ``low`` and ``high`` (NaN for fewer than
    two scenes, and without intervals, which take time where scenes are many); ``ok``, the scenes that have a figure of
    the metric; ``missing``, the scenes of the run that have none. Each line depends on the figures of its own metric
    alone. ``means`` are what metric_means gives; of parts of a run, simply one below the other.
    """
    total = means.groupby("run")["scene"].nunique()
    known = means[means["ok"] > 0].sort_values([*MEAN_OF, "scene"])
    lines = []
    for key, group in known.groupby(list(MEAN_OF), sort=True):
        values = group["mean"].to_numpy()
        low, high = interval(values, seed) if has_intervals else (math.nan, math.nan)
        lines.append([*key, float(values.mean()), low, high, len(values), int(total[key[0]]) - len(values)])
    return pd.DataFrame(lines, columns=[*MEAN_OF, "mean", "low", "high", "ok", "missing"])
