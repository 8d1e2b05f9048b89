"""What ``lift3d run`` shows: progress, one line per scene, the table, and where everything lies."""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten

from rich.console import Console
from rich.markup import escape

from lift3d.cli.commands.options import Exit, print_places, say
from lift3d.config import Execution, Recipe
from lift3d.domain.keys import shown
from lift3d.domain.records import DroppedView, SceneRecord, computed_words, counted
from lift3d.errors import Lift3dError
from lift3d.messages import message_console
from lift3d.pipeline.inputs import Report
from lift3d.report.scenes import ReportExtent
from lift3d.report.write import write_report
from lift3d.results.scores.tables import closing_table, headline_means, legend
from lift3d.runs.driver import OnScene
from lift3d.runs.progress import RunProgress
from lift3d.runs.records import choose_run
from lift3d.runs.table import run_table
from lift3d.storage import layout
from lift3d.storage.location import Store, open_store
from lift3d.tables.rendering import to_markdown, to_terminal
from lift3d.tables.schema import ScoreTable

Drive = Callable[[Recipe, Execution, OnScene, Report], list[SceneRecord]]

# Drawn when nobody has asked yet, so it has to cost less than the run: seconds. lift3d report draws more.
_REPORT_SCENES, _REPORT_VIEWS = 4, 4
# Of a message that stands in full on its scene's line.
_MESSAGE_WIDTH = 160


def run_and_present(recipe: Recipe, execution: Execution, drive: Drive, *, as_json: bool) -> int:
    """Run, show progress on standard error, print the outcome on standard output, and return the exit code."""
    console = message_console()
    done: list[SceneRecord] = []
    with RunProgress(console, len(recipe.scenes)) as progress:

        def on_scene(record: SceneRecord) -> None:
            done.append(record)
            progress.finish_scene(record.location)
            count = f"{len(done):{len(str(len(recipe.scenes)))}d}/{len(recipe.scenes)} "
            console.print(scene_line(record, count), highlight=False, emoji=False, soft_wrap=True)

        records = drive(recipe, execution, on_scene, progress.report)
    store = open_store(execution.store)
    table = run_table(store, recipe.run_id)
    key = f"{layout.run_path(recipe.run_id)}/scores.parquet"
    store.write_bytes(key, table.to_parquet())
    places = {"store": store.url, "table": store.url_of(key)}
    if as_json:
        scenes = [asdict(record) for record in records]
        Console().print_json(json.dumps({"run": recipe.run_id, "scenes": scenes, **places}), ensure_ascii=True)
        return exit_code(records)
    failures = failure_lines(records, store.url)
    if any(record.is_ok for record in records):
        _print_text(table, failures)
        print_places(places)
        print_places(_report(recipe, store.url, records, console))
        print_places({"next": _next(store, recipe.run_id, records)})
    else:
        # A table of nothing but failures tells less than their reasons.
        for line in ("Nothing was lifted, so there is neither a table nor a report.", *failures):
            say(line)
    return exit_code(records)


def exit_code(records: list[SceneRecord]) -> int:
    """Return 0 if every scene was lifted, 3 if some were, 1 if none was."""
    # The plain 2D answer alone is not what a run is for.
    lifted = sum(bool(record.pairs) for record in records)
    if lifted == len(records):
        return Exit.DONE
    return Exit.PARTIAL if lifted else Exit.ERROR


def scene_line(record: SceneRecord, count: str = "") -> str:
    """Return one line on a scene, in rich's markup: what came of it and what was computed."""
    dropped = _dropped_words(record.dropped)
    if not record.is_ok:
        given_up = " · given up; --retry-quarantined tries it again" * record.is_quarantined
        said = f"{count}{record.scene}: {_one_line(record.reason)}{dropped}{given_up}"
        return f"[red]✗[/red] {escape(shown(said))}"
    computed = computed_words(record.computed)
    skipped = "".join(
        f", {one.operator} × {one.lifter} skipped ({_one_line(one.reason)})" for one in record.lifted if one.reason
    )
    said = (
        f"{count}{record.scene}: {record.target_count} targets of {record.view_count} views"
        f"{f' · surface: {record.surface}' if record.surface else ''}{skipped} · "
        f"computed {computed or 'nothing, all was committed'}{dropped}"
    )
    return f"[green]✓[/green] {escape(shown(said))}"


def failure_lines(records: list[SceneRecord], store_url: str) -> list[str]:
    """Return what to know of scenes that failed: how many, of what, and what to do; empty if none did."""
    failed = [record for record in records if not record.is_ok]
    if not failed:
        return []
    first: dict[str, SceneRecord] = {}
    codes = [record.reason.partition(":")[0] for record in failed]
    for code, record in zip(codes, failed, strict=True):
        first.setdefault(code, record)
    lines = [f"{len(failed)} of {len(records)} scenes failed:"]
    for code, count in Counter(codes).most_common():
        message = shorten(first[code].reason.partition(":")[2], _MESSAGE_WIDTH, placeholder=" …")
        lines.append(f"  {count} × {code}, such as {first[code].scene}: {message}")
    lines.append(f"Mended, the same command tries them again and nothing else. Each one: lift3d status {store_url}")
    given_up = sum(record.is_quarantined for record in failed)
    if given_up:
        lines.append(f"{given_up} of them cost too many workers and are only tried again with --retry-quarantined.")
    return lines


def _next(store: Store, run_id: str, records: Sequence[SceneRecord]) -> str:
    """Return what people do with what came out; a run of which all was there already may not be the latest."""
    place = shlex.quote(store.url)
    if not any(record.pairs for record in records):
        return f"lift3d status {place} says what happened"
    is_latest = choose_run(store) == run_id
    own, asked = ("", "") if is_latest else (f" --run {run_id}", f", '{run_id}'")
    return (
        f"lift3d view {place}{own}, lift3d tables {place}{own}, or in Python lift3d.lifted_scenes('{store.url}'{asked})"
    )


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _dropped_words(dropped: Sequence[DroppedView]) -> str:
    """Return how many views were dropped and why the first one was; the table has a row for each."""
    if not dropped:
        return ""
    first = dropped[0]
    return f" · {counted(len(dropped), 'view')} dropped, such as '{first.id}': {_one_line(first.message)}"


def _print_text(table: ScoreTable, failures: list[str]) -> None:
    """Print the table and the failures: for people on a terminal as it fits, else as Markdown."""
    console = Console(soft_wrap=True)
    means = headline_means([table])
    closing = closing_table(means)
    if not closing.rows:
        console.print("no scores")
    elif console.is_terminal:
        console.print("", to_terminal(closing, console.width, legend(means)), "", sep="\n", highlight=False)
    else:
        console.print(to_markdown(closing), "", legend(means), "", sep="\n", highlight=False, markup=False)
    for line in failures:
        console.print(shown(line), highlight=False, markup=False, emoji=False)


def _report(recipe: Recipe, url: str, records: list[SceneRecord], console: Console) -> dict[str, str]:
    """Draw the report into a store that is a folder and return its place; it never costs a run its outcome."""
    if "://" in url:
        # Reading pictures back costs requests and bytes: who wants the page asks for it.
        return {} if url.startswith("memory:") else {"report": f"lift3d report {url}"}
    page = Path(url) / "report.html"
    # All was committed already, and the page is no other run's: it shows this run as it is.
    is_news = any(record.computed or not record.is_ok for record in records)
    try:
        if is_news or not page.is_file() or recipe.run_id.encode() not in page.read_bytes():
            with console.status("drawing the report; Ctrl-C leaves it out"):
                write_report(url, ReportExtent(recipe.run_id, _REPORT_SCENES, _REPORT_VIEWS, page_count=0), page)
    except KeyboardInterrupt:
        return {"report": f"left out; lift3d report {url} draws it"}
    except (Lift3dError, OSError, ValueError) as error:
        return {"report": f"could not be drawn ({_one_line(str(error))}); lift3d report {url} tries again"}
    return {"report": str(page)}
