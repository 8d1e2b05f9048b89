"""What ``lift3d tables`` prints: the summary, every row, or paired intervals."""

import json

from lift3d.errors import ConfigError
from lift3d.results.tables import headline_means, overall_table, scene_table
from lift3d.runs.records import choose_run, list_runs
from lift3d.runs.table import run_parts, run_table
from lift3d.storage.location import open_store
from lift3d.tables.comparison import interval_lines
from lift3d.tables.rendering import to_markdown
from lift3d.tables.schema import ScoreTable


def render_table(url: str, form: str, run_id: str | None, compare: str | None, *, is_brief: bool = False) -> bytes:
    """Return the table of a store's runs in a form.

    Args:
        url: The store.
        form: md (summary), csv, json (a list of score rows) or parquet.
        run_id: One run; all if None.
        compare: METRIC:LIFTER_A:LIFTER_B for paired bootstrap intervals instead of the table.
        is_brief: In md, of several scenes, their means alone.

    Raises:
        ProductMissingError: If the store has no such run, or none at all.
        ConfigError: If compare is malformed.
    """
    store = open_store(url)
    chosen = choose_run(store, run_id)
    shown = [chosen] if run_id else list_runs(store)
    if form == "md" and compare is None:
        # Part by part: means of scenes are small, their rows may be many millions.
        means = headline_means(part for one in shown for part in run_parts(store, one))
        has_several = means["scene"].nunique() > 1
        tables = [] if is_brief and has_several else [scene_table(means)]
        tables += [overall_table(means)] if has_several else []
        return ("\n\n".join(map(to_markdown, tables)) + "\n").encode()
    table = ScoreTable.joined([run_table(store, one) for one in shown])
    if compare is not None:
        return _intervals(table, compare).encode()
    if form == "csv":
        return bytes(table.frame.to_csv(index=False), "utf-8")
    if form == "json":
        return json.dumps(table.to_json(), indent=1).encode()
    return table.to_parquet()


def _intervals(table: ScoreTable, compare: str) -> str:
    parts = compare.split(":")
    if len(parts) != 3:
        raise ConfigError(f"--compare expects METRIC:LIFTER_A:LIFTER_B, got '{compare}'.")
    metric, a, b = parts
    lines = interval_lines(table, metric, a, b)
    if not lines:
        rows = table.frame[table.frame["outcome"] == "ok"]
        raise ConfigError(
            f"--compare: no operator has rows of metric '{metric}' for both '{a}' and '{b}'. There are the metrics "
            f"{', '.join(sorted(set(rows['metric'])))} and the lifters {', '.join(sorted(set(rows['lifter'])))}."
        )
    return "\n".join(lines) + "\n"
