"""What ``lift3d run`` shows: progress, one line per scene, the table, and where everything lies."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.console import Console
from rich.markup import escape

from lift3d.cli.commands.options import Exit
from lift3d.config import Execution, Recipe
from lift3d.domain.keys import slug
from lift3d.domain.records import DroppedView, SceneRecord
from lift3d.errors import DamagedProductError, Lift3dError
from lift3d.pipeline.inputs import Report
from lift3d.report.scenes import ReportExtent
from lift3d.report.write import write_report
from lift3d.results.contact_sheet import draw_contact_sheet
from lift3d.results.lifted_scene import LiftedScene, lifted_of
from lift3d.results.tables import LEGEND, closing_table, headline_means
from lift3d.runs.driver import OnScene, run_serially
from lift3d.runs.progress import RunProgress
from lift3d.runs.table import run_table
from lift3d.storage import layout
from lift3d.storage.location import Store, open_store
from lift3d.tables.rendering import to_markdown, to_terminal
from lift3d.tables.schema import ScoreTable

Drive = Callable[[Recipe, Execution, OnScene, Report], list[SceneRecord]]

_MOST_DRAWN = 24
# Drawn when nobody has asked yet, so it has to cost less than the run: seconds. lift3d report draws more.
_REPORT_SCENES, _REPORT_VIEWS = 4, 4
# Of a message that stands in full on its scene's line.
_MESSAGE_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        recipe: What was computed.
        store: Where.
        records: A record per scene.
        table: All score rows.
        places: Where what people look at lies, by name.
        sheets: Paths of the contact sheets.
    """

    recipe: Recipe
    store: Store
    records: list[SceneRecord]
    table: ScoreTable
    places: dict[str, str]
    sheets: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return everything but the table, JSON-ready."""
        return {
            "run": self.recipe.run_id,
            "scenes": [asdict(record) for record in self.records],
            "contact_sheets": [self.store.url_of(path) for path in self.sheets],
            **self.places,
        }


def serial(recipe: Recipe, execution: Execution, on_scene: OnScene, report: Report) -> list[SceneRecord]:
    """Drive the run in this process."""
    return run_serially(recipe, execution, report, on_scene)


def run_and_present(recipe: Recipe, execution: Execution, drive: Drive, *, as_json: bool) -> int:
    """Run, show progress on standard error, print the outcome on standard output, and return the exit code."""
    console = Console(stderr=True)
    done: list[SceneRecord] = []
    with RunProgress(console, len(recipe.scenes)) as progress:

        def on_scene(record: SceneRecord) -> None:
            done.append(record)
            progress.finish_scene(record.location)
            count = f"{len(done):{len(str(len(recipe.scenes)))}d}/{len(recipe.scenes)} "
            console.print(scene_line(record, count), highlight=False, emoji=False, soft_wrap=True)

        records = drive(recipe, execution, on_scene, progress.report)
    with console.status("drawing contact sheets"):
        outcome = _outcome(recipe, open_store(execution.store), records)
    if as_json:
        print_json(outcome)
    else:
        print_text(outcome)
        _print_report(outcome, console)
    return exit_code(records)


def exit_code(records: list[SceneRecord]) -> int:
    """Return 0 if every scene was lifted, 3 if some were, 1 if none was."""
    # The plain 2D answer alone is not what a run is for.
    lifted = sum(bool(record.pairs) for record in records)
    if lifted == len(records):
        return Exit.DONE
    return Exit.PARTIAL if lifted else Exit.ERROR


def scene_line(record: SceneRecord, count: str = "") -> str:
    """Return one line on a scene, in rich's markup: what came of it and what was computed.

    Args:
        record: Its record.
        count: What stands before its name, such as how many scenes are finished.
    """
    dropped = _dropped_words(record.dropped)
    if not record.is_ok:
        said = f"{count}{record.scene}: {_one_line(record.reason)}{dropped}{_given_up_words(record)}"
        return f"[red]✗[/red] {escape(said)}"
    computed = ", ".join(f"{number} {kind}" for kind, number in sorted(record.computed.items()))
    skipped = "".join(
        f", {one.operator} × {one.lifter} skipped ({_one_line(one.reason)})" for one in record.lifted if one.reason
    )
    said = (
        f"{count}{record.scene}: {record.target_count} targets of {record.view_count} views{skipped} · "
        f"computed {computed or 'nothing, all was committed'}{dropped}"
    )
    return f"[green]✓[/green] {escape(said)}"


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
    lines.append(f"The same command tries them again and nothing else. Each one: lift3d status {store_url}")
    given_up = sum(record.is_quarantined for record in failed)
    if given_up:
        lines.append(f"{given_up} of them cost too many workers and are only tried again with --retry-quarantined.")
    return lines


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _given_up_words(record: SceneRecord) -> str:
    return " · given up; --retry-quarantined tries it again" if record.is_quarantined else ""


def _dropped_words(dropped: Sequence[DroppedView]) -> str:
    """Return how many views were dropped and why the first one was; the table has a row for each."""
    if not dropped:
        return ""
    first = dropped[0]
    count = "1 view" if len(dropped) == 1 else f"{len(dropped)} views"
    return f" · {count} dropped, such as '{first.id}': {_one_line(first.message)}"


def print_json(outcome: Outcome) -> None:
    """Print the outcome as JSON."""
    Console().print_json(json.dumps(outcome.to_json()))


def print_text(outcome: Outcome) -> None:
    """Print the table, failures and the paths: for people on a terminal as it fits, else as Markdown."""
    console = Console(soft_wrap=True)
    table = closing_table(headline_means([outcome.table]))
    if not table.rows:
        console.print("no scores")
    elif console.is_terminal:
        console.print("", to_terminal(table, console.width, LEGEND), "", sep="\n", highlight=False)
    else:
        console.print(to_markdown(table), highlight=False, markup=False)
    for line in failure_lines(outcome.records, outcome.store.url):
        console.print(line, highlight=False, markup=False, emoji=False)
    for name, place in outcome.places.items():
        _print_place(console, name, place)


def _print_report(outcome: Outcome, progress_console: Console) -> None:
    """Draw the report into a store that is a folder and print its path; it never costs a run its outcome."""
    console = Console(soft_wrap=True)
    url = outcome.store.url
    if "://" in url:
        # Reading pictures back costs requests and bytes: who wants the page asks for it.
        if not url.startswith("memory:"):
            _print_place(console, "report", f"lift3d report {url}")
        return
    page = Path(url) / "report.html"
    try:
        if not _is_of_now(page, outcome):
            with progress_console.status("drawing the report; Ctrl-C leaves it out"):
                extent = ReportExtent(outcome.recipe.run_id, _REPORT_SCENES, _REPORT_VIEWS)
                write_report(url, extent, page)
        _print_place(console, "report", str(page))
    except KeyboardInterrupt:
        _print_place(console, "report", f"left out; lift3d report {url} draws it")
    except (Lift3dError, OSError, ValueError) as error:
        _print_place(
            console, "report", f"could not be drawn ({_one_line(str(error))}); lift3d report {url} tries again"
        )


def _is_of_now(page: Path, outcome: Outcome) -> bool:
    """Whether a page shows this run as it is: all was committed already, and the page is no other run's."""
    is_news = any(record.computed or not record.is_ok for record in outcome.records)
    return not is_news and page.is_file() and outcome.recipe.run_id.encode() in page.read_bytes()


def _print_place(console: Console, name: str, place: str) -> None:
    console.print(f"{name:8s} {place}", highlight=False, markup=False, emoji=False)


def _outcome(recipe: Recipe, store: Store, records: list[SceneRecord]) -> Outcome:
    table = run_table(store, recipe.run_id)
    folder = layout.run_path(recipe.run_id)
    store.write_bytes(f"{folder}/scores.parquet", table.to_parquet())
    sheets = _sheets(store, lifted_of(store, recipe, records))
    places = {"store": store.url, "table": store.url_of(f"{folder}/scores.parquet")}
    if sheets:
        places["sheets"] = store.url_of(f"{folder}/contact_sheets")
    return Outcome(recipe, store, records, table, places, sheets)


def _sheets(store: Store, lifted: list[LiftedScene]) -> list[str]:
    """Draw the sheets that are not there yet and return the paths of all: people look at some scenes, not thousands."""
    paths = []
    shown = list(dict.fromkeys(one.name for one in lifted))[:_MOST_DRAWN]
    for (name, operator), lifters in groupby(lifted, key=lambda one: (one.name, one.operator)):
        if name not in shown:
            break
        of_one = list(lifters)
        path = f"{layout.run_path(of_one[0].recipe.run_id)}/contact_sheets/{slug(name)}-{slug(operator)}.png"
        if of_one[0].record.computed or not store.exists(path):
            try:
                store.write_bytes(path, draw_contact_sheet(of_one))
            except DamagedProductError:
                continue  # the run is done and its table stands; fsck names what is damaged
        paths.append(path)
    return paths
