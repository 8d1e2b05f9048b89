"""How sure are differences between lifters on the same views, between runs, and means over scenes? The bootstrap."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from lift3d.tables.aggregation import GROUP

RESAMPLES = 10_000
# Of thousands of units fewer resamples do, for time: with 2000 the ends of an interval are uncertain by about 3 % of
# its half width. So many figures are drawn in all.
FEWEST_RESAMPLES, DRAWS = 2_000, 20_000_000
# Resamples drawn at a time: bounds memory to this many rows of one index per pair.
BLOCK = 500
PAIR = ["scene", "target", "other"]
# What a mean over scenes is of.
MEAN_OF: tuple[str, ...] = (*(name for name in GROUP if name != "scene"), "metric")
# What a line of a comparison is about; figures of different kinds are never subtracted.
LINE: tuple[str, ...] = (
    *("operator", "lifter", "metric"),
    *("target_mode", "protocol", "threshold_source", "scoring_geometry"),
)
COLUMNS: tuple[str, ...] = (
    *LINE,
    *("mean_a", "mean_b", "difference", "low", "high", "unit", "scenes", "pairs", "only_a", "only_b", "verdict"),
)


def interval(differences: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of paired differences, NaN for fewer than two.

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, §13.3 (percentile interval).
    """
    count = len(differences)
    if count < 2:
        return float("nan"), float("nan")
    generator = np.random.Generator(np.random.PCG64(0))
    resamples = min(RESAMPLES, max(FEWEST_RESAMPLES, DRAWS // count))
    means = [
        differences[generator.integers(0, count, size=(min(BLOCK, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, BLOCK)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def ratio_interval(
    part: np.ndarray[tuple[int], np.dtype[np.float64]], whole: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of Σ part / Σ whole, drawn together; NaN for fewer than two, or no whole.

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, §10.3.
    """
    count = len(whole)
    if count < 2 or not whole.sum() > 0:
        return float("nan"), float("nan")
    drawn = np.random.Generator(np.random.PCG64(0)).integers(0, count, (FEWEST_RESAMPLES, count))
    ratios = part[drawn].sum(1) / np.maximum(whole[drawn].sum(1), np.finfo(np.float64).tiny)
    low, high = np.quantile(ratios.clip(min=0), [0.025, 0.975])
    return float(low), float(high)


def compare_rows(a: pd.DataFrame, b: pd.DataFrame, better: Mapping[str, str]) -> pd.DataFrame:
    """Return a line per operator, lifter, metric and protocol that both sides, such as two runs, have figures of.

    Columns: LINE; ``mean_a`` and ``mean_b``, over what both have; ``difference`` b − a, with ``low`` and ``high``;
    ``unit``, what was resampled: scenes, or the views of one; ``scenes`` and ``pairs`` with a figure on both sides;
    ``only_a`` and ``only_b``, items of shared scenes with a figure on one side alone; ``verdict``: better or worse (of
    b) if the interval excludes 0, differs if the metric has no better side, else –. Scenes weigh the same, and are
    called the same on both sides. ``better`` says of a metric higher, lower or neither.
    """
    key = [*LINE, *PAIR]
    sides = [frame[frame["outcome"] == "ok"].set_index(key)["value"] for frame in (a, b)]
    joined = pd.concat(sides, axis=1, keys=["a", "b"]).reset_index()
    lines = []
    for line, group in joined.groupby(list(LINE), sort=True):
        both = group.dropna(subset=["a", "b"]).sort_values(PAIR)
        if both.empty:
            continue
        paired = both.assign(difference=both["b"] - both["a"])
        by_scene = paired.groupby("scene", sort=True)[["a", "b", "difference"]].mean()
        is_one = len(by_scene) == 1
        units = (paired if is_one else by_scene)["difference"].to_numpy()
        low, high = interval(units)
        means = [float(by_scene[name].mean()) for name in ("a", "b", "difference")]
        counts = [len(by_scene), len(both), int(group["b"].isna().sum()), int(group["a"].isna().sum())]
        verdict = _verdict(low, high, better.get(str(line[LINE.index("metric")]), "neither"))
        lines.append([*line, *means, low, high, "views" if is_one else "scenes", *counts, verdict])
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _verdict(low: float, high: float, better: str) -> str:
    if not (low > 0 or high < 0):
        return "–"
    if better == "neither":
        return "differs"
    return "better" if (low > 0) == (better == "higher") else "worse"


def scene_intervals(means: pd.DataFrame, *, has_intervals: bool = True) -> pd.DataFrame:
    """Return the means over scenes, each weighing the same, with 95 % intervals: views of one scene are no strangers.

    Columns: MEAN_OF; ``mean``; ``low`` and ``high`` (NaN for fewer than two scenes, and without intervals, which take
    time where scenes are many); ``ok``, the scenes that have a figure of the metric; ``missing``, the scenes of the run
    that have none. Each line depends on the figures of its own metric alone. ``means`` are what metric_means gives; of
    parts of a run, simply one below the other.
    """
    total = means.groupby("run")["scene"].nunique()
    known = means[means["ok"] > 0].sort_values([*MEAN_OF, "scene"])
    lines = []
    for key, group in known.groupby(list(MEAN_OF), sort=True):
        values = group["mean"].to_numpy()
        low, high = interval(values) if has_intervals else (math.nan, math.nan)
        lines.append([*key, float(values.mean()), low, high, len(values), int(total[key[0]]) - len(values)])
    return pd.DataFrame(lines, columns=[*MEAN_OF, "mean", "low", "high", "ok", "missing"])
