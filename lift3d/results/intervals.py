"""Paired bootstrap intervals as lines of text: is one lifter better than another on the same views?"""

from lift3d.tables.comparison import paired_bootstrap
from lift3d.tables.schema import ScoreTable


def interval_lines(table: ScoreTable, metric: str, a: str, b: str) -> list[str]:
    """Return one line per run, protocol and operator for which both lifters have rows of the metric.

    Args:
        table: Of one run or several.
        metric: Metric id.
        a: Lifter, or raw2d.
        b: Lifter, or raw2d; the difference is a − b.

    Raises:
        UnknownNameError: If the table has no such metric or lifter.
    """
    frame = table.frame
    rows = frame[(frame["metric"] == metric) & frame["lifter"].isin([a, b])]
    groups = rows.groupby(["run", "target_mode", "protocol", "operator"], sort=True)
    lines = []
    for (run, target_mode, protocol, operator), group in groups:
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
