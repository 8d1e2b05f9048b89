"""Is one run better than another? Paired differences of the same scenes, views and pairs of views."""

from collections.abc import Mapping

import pandas as pd

from lift3d.tables.comparison import PAIR, interval

# What a line of a comparison is about; figures of different kinds are never subtracted.
LINE: tuple[str, ...] = (
    *("operator", "lifter", "metric"),
    *("target_mode", "protocol", "threshold_source", "scoring_geometry"),
)
COLUMNS: tuple[str, ...] = (
    *LINE,
    *("mean_a", "mean_b", "difference", "low", "high", "unit", "scenes", "pairs", "only_a", "only_b", "verdict"),
)


def compare_rows(a: pd.DataFrame, b: pd.DataFrame, better: Mapping[str, str], seed: int = 0) -> pd.DataFrame:
    """Return a line per operator, lifter, metric and protocol that both runs have figures of.

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
        low, high = interval(units, seed)
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
