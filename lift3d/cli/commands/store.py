"""Commands on a store: status, fsck, gc, tables, compare, leaderboard."""

import sys
from pathlib import Path

import click

from lift3d.cli.commands.options import (
    PATH,
    AnsweredArgument,
    Exit,
    importing,
    json_option,
    say,
    show,
    store_argument,
    which_store,
)
from lift3d.errors import ConfigError
from lift3d.messages import at_work


@click.command()
@store_argument
@json_option
def status(store: str, as_json: bool) -> None:
    """Say which runs a store holds and how far each one is."""
    from lift3d.runs.status import run_states

    states = run_states(store)
    show([state.to_json() for state in states], "\n".join(state.to_text() for state in states), as_json)


@click.command()
@store_argument
@click.option("--checksums", is_flag=True, help="Read every byte, rather than compare names and sizes.")
@click.option("--run", "run_id", help="Only what this run rests on.")
@click.option("--repair", is_flag=True, help="Delete what is damaged; the next run computes it.")
@json_option
def fsck(store: str, checksums: bool, run_id: str | None, repair: bool, as_json: bool) -> None:
    """Check that everything committed in a store is there and as it was written. Exit code 1 if not."""
    from lift3d.cli.store import findings_text
    from lift3d.runs.check_store import check_store

    found = check_store(store, checksums, run_id, repair)
    show(found.to_json(), findings_text(found), as_json)
    sys.exit(Exit.DONE if found.is_clean else Exit.ERROR)


@click.command()
@store_argument
@click.option("--older-than", default=48.0, help="Hours since the last write, by the store's clock.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted and delete nothing.")
@click.option("--unreferenced", is_flag=True, help="Products that no run names, too. Not while a run is going on.")
@click.option("--caches", is_flag=True, help="Features and tracks, too. As --unreferenced.")
@click.option("--force", is_flag=True, help="Allow less than an hour: nobody uses the store.")
@json_option
def gc(
    store: str, older_than: float, dry_run: bool, unreferenced: bool, caches: bool, force: bool, as_json: bool
) -> None:
    """Delete what dead workers left behind in a store."""
    from lift3d.cli.store import garbage_text
    from lift3d.runs.collect_garbage import collect_garbage

    deleted = collect_garbage(
        store, older_than, is_dry=dry_run, has_unreferenced=unreferenced, has_caches=caches, is_forced=force
    )
    show(deleted.to_json(), garbage_text(deleted), as_json)


@click.command()
@store_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "csv", "json", "parquet"]),
    default="md",
    help="md is the summary; the others hold every score row.",
)
@click.option("--run", "run_id", help="Run id; all runs of the store if not given.")
@click.option("--out", type=PATH, help="File to write; standard output if not given.")
@click.option("--compare", help="METRIC:LIFTER_A:LIFTER_B prints paired bootstrap intervals over views.")
def tables(store: str, form: str, run_id: str | None, out: Path | None, compare: str | None) -> None:
    """Print or write the score table of a store."""
    with importing():
        from lift3d.cli.tables import render_table

    if form == "parquet" and out is None and sys.stdout.isatty():
        raise ConfigError("Parquet is binary and standard output is a terminal. Name a file with --out.")
    content = render_table(store, form, run_id, compare)
    if out is None:
        sys.stdout.buffer.write(content)
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise ConfigError(
            f"Cannot write the table to '{out}': {error}. Name a file in a folder you may write to."
        ) from error


def _which_runs(ctx: click.Context) -> str:
    from lift3d.results.scores.run_comparison import comparable_runs

    return comparable_runs(ctx.params["store"])


@click.command()
@store_argument
@click.argument("run_a", cls=AnsweredArgument, answer=_which_runs, help="Run id.")
@click.argument(
    "run_b",
    cls=AnsweredArgument,
    answer=_which_runs,
    help="The run that is to be better, or at least not worse; URL#RUN for one of another store.",
)
@click.option("--metric", "metrics", multiple=True, help="Metric id; all if not given. Repeatable.")
@click.option(
    "--operators", nargs=2, default=("", ""), metavar="A B", help="One operator of each; those that both have."
)
@click.option("--lifters", nargs=2, default=("", ""), metavar="A B", help="One of each, else all of both.")
@click.option("--out", type=PATH, help="HTML file to write, with pictures and intervals.")
@click.option("--captures", is_flag=True, help="Show photographs where the runs say that they lie, for --out.")
@click.option("--fail-on-regression", is_flag=True, help="Exit code 4 if some metric of RUN_B is significantly worse.")
@json_option
def compare(
    store: str,
    run_a: str,
    run_b: str,
    metrics: tuple[str, ...],
    out: Path | None,
    captures: bool,
    fail_on_regression: bool,
    as_json: bool,
    **pairs: tuple[str, str],
) -> None:
    """Compare two runs, operators or lifters on the scenes that both have: paired differences, their intervals."""
    with importing():
        from lift3d.results.scores.run_comparison import compare_runs

        if out is not None:
            from lift3d.report.comparison import write_comparison

    with at_work("comparing"):
        found = compare_runs(store, run_a, run_b, metrics, **pairs)
    if out is not None:
        with at_work("drawing the page"):
            write_comparison(found, out, captures)
    show(found.to_json(), found.to_text(), as_json)
    sys.exit(Exit.REGRESSION if fail_on_regression and found.has_regression else Exit.DONE)


@click.command()
@click.argument(
    "stores",
    cls=AnsweredArgument,
    answer=which_store,
    nargs=-1,
    required=True,
    help="Stores: of each the latest run that lifted anything, or URL#RUN.",
)
@click.option("--out", type=PATH, help="File to write: .html (sorted by a click), .csv, .parquet, .md; else Markdown.")
def leaderboard(stores: tuple[str, ...], out: Path | None) -> None:
    """Rank operators and lifters over the scenes of runs: what is left of disagreement, sharpness, truth."""
    with importing():
        from lift3d.results.scores.leaderboard import LEGEND
        from lift3d.results.scores.leaderboard import leaderboard as ranked
        from lift3d.tables.rendering import to_markdown

    board = ranked(stores)
    if out is None:
        say(f"{to_markdown(board.table())}\n\n{LEGEND}")
        return
    from lift3d.report.leaderboard import write_leaderboard

    write_leaderboard(board, out)
    say(f"leaderboard   {out}")


@click.command()
@click.argument("store", required=False, help="A store to prove; it is made if it is new.")
@click.option("--ray-dashboard", help="URL of a Ray dashboard; RAY_ADDRESS and this machine's are looked at anyway.")
def doctor(store: str | None, ray_dashboard: str | None) -> None:
    """Check this machine and its services: versions, torch, Ray, Prefect, a store, and what to do about each."""
    from lift3d.cli.doctor import examine

    code = Exit.DONE
    for finding in examine(ray_dashboard, store):
        say(finding.to_text())
        code = code if finding.is_fine else Exit.ERROR
    sys.exit(code)
