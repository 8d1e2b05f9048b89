"""Is one lifter better than another on the same views? The paired bootstrap."""

from dataclasses import dataclass

import numpy as np

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.tables.schema import ScoreTable

RESAMPLES = 10_000
# Of thousands of units fewer resamples do, for time: with 2000 the ends of an interval are uncertain by about 3 % of
# its half width. So many figures are drawn in all.
FEWEST_RESAMPLES, DRAWS = 2_000, 20_000_000
# Resamples drawn at a time: bounds memory to this many rows of one index per pair.
BLOCK = 500
# What a figure must share with another to be compared with it; mixed, the difference would mean nothing.
SAME = ("run", "target_mode", "protocol", "threshold_source")
PAIR = ["scene", "target", "other"]


@dataclass(frozen=True, slots=True)
class PairedInterval:
    """The mean difference a − b of a metric over the same views or pairs of views, with its 95 % interval.

    NaN without a pair, the interval with fewer than two. ``pair_count`` are those for which both lifters have a
    figure, ``missing_count`` those for which one or both have none.
    """

    mean: float
    low: float
    high: float
    pair_count: int
    missing_count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(table: ScoreTable, metric: str, a: str, b: str, operator: str, seed: int = 0) -> PairedInterval:
    """Compare lifter a with lifter b (one may be raw2d) on the same targets of the same run.

    Args:
        table: Narrowed with ``ScoreTable.where`` to one run, target mode and protocol.
        metric: Metric id.
        a: Lifter.
        b: Lifter.
        operator: Operator name.
        seed: Of the resampling; the same seed gives the same interval.

    Raises:
        UnknownNameError: If the table has no such metric, lifter or operator.
        ConfigError: If runs, target modes or protocols are mixed.
    """
    for kind, name in (("metric", metric), ("lifter", a), ("lifter", b), ("operator", operator)):
        if name not in set(table.frame[kind]):
            raise UnknownNameError.of(f"{kind} of this table", name, set(table.frame[kind]))
    frame = table.where(metric=metric, operator=operator).frame
    frame = frame[frame["lifter"].isin([a, b])]
    for column in SAME:
        if frame[column].nunique() > 1:
            choices = ", ".join(sorted(frame[column].unique()))
            raise ConfigError(f"'{metric}' has figures of several kinds of {column}: {choices}. Narrow with where().")
    values = {name: frame[frame["lifter"] == name].set_index(PAIR)["value"] for name in (a, b)}
    difference = values[a].sub(values[b])  # Aligned on the pair: what one side lacks is NaN.
    known = difference.dropna().sort_index().to_numpy()
    low, high = interval(known, seed)
    mean = float(known.mean()) if len(known) else float("nan")
    return PairedInterval(mean, low, high, len(known), len(difference) - len(known))


def interval(differences: np.ndarray[tuple[int], np.dtype[np.float64]], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of paired differences, NaN for fewer than two.

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, §13.3 (percentile interval).
    """
    count = len(differences)
    if count < 2:
        return float("nan"), float("nan")
    generator = np.random.Generator(np.random.PCG64(seed))
    resamples = min(RESAMPLES, max(FEWEST_RESAMPLES, DRAWS // count))
    means = [
        differences[generator.integers(0, count, size=(min(BLOCK, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, BLOCK)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def interval_lines(table: ScoreTable, metric: str, a: str, b: str) -> list[str]:
    """Return a sentence per run, protocol and operator for which both lifters have rows of the metric.

    The difference is a − b; either may be raw2d.
    """
    frame = table.frame
    rows = frame[(frame["metric"] == metric) & frame["lifter"].isin([a, b])]
    lines = []
    for (run, target_mode, protocol, operator), group in rows.groupby(["run", "target_mode", "protocol", "operator"]):
        if group["lifter"].nunique() < 2:
            continue
        narrowed = table.where(run=run, target_mode=target_mode, protocol=protocol)
        found = paired_bootstrap(narrowed, metric, a, b, operator)
        verdict = "excludes 0" if found.excludes_zero else "includes 0"
        lines.append(
            f"{operator} · {protocol} · {target_mode} · {metric}: {a} − {b} = {found.mean:+.4f}, "
            f"95 % interval [{found.low:+.4f}, {found.high:+.4f}] {verdict} "
            f"({found.pair_count} pairs, {found.missing_count} missing)"
        )
    return lines
