"""What ``lift3d tables`` prints: the summary, every row, or paired intervals."""

import json
from collections.abc import Hashable, Iterator
from typing import Any

from lift3d.cli.commands.options import say
from lift3d.domain.keys import shown
from lift3d.errors import ConfigError, DamagedProductError
from lift3d.results.scores.tables import headline_means, legend, overall_table, scene_table
from lift3d.runs.records import choose_run, list_runs, read_recipe
from lift3d.runs.table import run_parts, run_table
from lift3d.storage.location import Store, open_store
from lift3d.tables.comparison import compare_rows
from lift3d.tables.rendering import to_markdown
from lift3d.tables.schema import ScoreTable


def render_table(url: str, form: str, run_id: str | None, compare: str | None) -> bytes:
    """Return the table of a store's runs (all if None) as md (a summary), csv, json or parquet.

    To compare METRIC:LIFTER_A:LIFTER_B gives paired bootstrap intervals instead.
    """
    store = open_store(url)
    chosen = choose_run(store, run_id)
    shown_runs = [chosen] if run_id else [*_readable(store)]
    if form == "md" and compare is None:
        # Part by part: means of scenes are small, their rows may be many millions.
        means = headline_means(part for one in shown_runs for part in run_parts(store, one))
        if not (means["ok"] > 0).any():
            return f"No scene of {store.url} has a figure. What is to do or failed: lift3d status {url}\n".encode()
        tables = [scene_table(means), *([overall_table(means)] if means["scene"].nunique() > 1 else [])]
        return ("\n\n".join([*map(to_markdown, tables), legend(means)]) + "\n").encode()
    table = ScoreTable.joined([run_table(store, one) for one in shown_runs])
    if compare is not None:
        return _intervals(table, compare).encode()
    if form == "csv":
        return table.to_csv().encode()
    if form == "json":
        return json.dumps(table.to_json(), indent=1).encode()
    return table.to_parquet()


def _readable(store: Store) -> Iterator[str]:
    """Yield the runs whose recipes can be read; of the others it is said on standard error that they are left out."""
    for run_id in list_runs(store):
        try:
            read_recipe(store, run_id)
        except DamagedProductError as error:
            say(f"left out: {error}", err=True)
            continue
        yield run_id


def _intervals(table: ScoreTable, compare: str) -> str:
    """Return a sentence per run, protocol and operator for which both lifters have figures of the metric."""
    parts = compare.split(":")
    if len(parts) != 3:
        raise ConfigError(f"--compare expects METRIC:LIFTER_A:LIFTER_B, got '{compare}'.")
    metric, a, b = parts
    lines = []
    for _, rows in table.where(metric=metric).frame.groupby("run"):
        sides = [rows[rows["lifter"] == lifter].assign(lifter=f"{a} − {b}") for lifter in (b, a)]
        lines += [_sentence(line) for line in compare_rows(*sides, better={}).to_dict("records")]
    if not lines and metric in set(table.frame["metric"]) and {a, b} <= set(table.frame["lifter"]):
        return f"No view and no pair of views has a figure of {metric} of both {a} and {b}.\n"
    if not lines:
        known = table.frame[table.frame["outcome"] == "ok"]
        raise ConfigError(
            f"--compare: no operator has rows of metric '{metric}' for both '{a}' and '{b}'. There are the metrics "
            f"{', '.join(sorted(set(known['metric'])))} and the lifters {', '.join(sorted(set(known['lifter'])))}."
        )
    return "\n".join(map(shown, lines)) + "\n"


def _sentence(line: dict[Hashable, Any]) -> str:
    threshold = f"@{line['threshold_source']}" if line["threshold_source"] else ""
    over = f"{line['scenes']} scenes, " if line["unit"] == "scenes" else ""
    return (
        f"{line['operator']} · {line['protocol']} · {line['target_mode']} · {line['metric']}{threshold}: "
        f"{line['lifter']} = {line['difference']:+.4f}, 95 % interval [{line['low']:+.4f}, {line['high']:+.4f}] "
        f"{'includes' if line['verdict'] == '–' else 'excludes'} 0 "
        f"({over}{line['pairs']} pairs, {line['only_a'] + line['only_b']} on one side alone)"
    )
