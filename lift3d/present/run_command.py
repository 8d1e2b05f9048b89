"""What ``lift3d run`` shows: progress, one line per scene, the table, and where everything lies."""

import json
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lift3d.config import Execution, Recipe
from lift3d.domain.keys import slug
from lift3d.pipeline import read_scene
from lift3d.present.contact_sheet import draw_contact_sheet
from lift3d.present.headline import headline
from lift3d.runs import Manifest, OnScene, run_serially, run_table
from lift3d.scene_inputs import Report
from lift3d.storage import layout
from lift3d.storage.location import Store, open_store

Drive = Callable[[Recipe, Execution, OnScene, Report], list[Manifest]]

EXIT_ALL, EXIT_ERROR, EXIT_PARTIAL = 0, 1, 3


def serial(recipe: Recipe, execution: Execution, on_scene: OnScene, report: Report) -> list[Manifest]:
    """Drive the run in this process."""
    return run_serially(recipe, execution, report, on_scene)


def run_and_present(recipe: Recipe, execution: Execution, drive: Drive, *, as_json: bool) -> int:
    """Run, show progress on standard error, print the outcome on standard output, and return the exit code."""
    progress_console = Console(stderr=True)
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_console, transient=True) as progress:
        scenes = progress.add_task("scenes", total=len(recipe.scenes))
        stage = progress.add_task("starting", total=None)

        def on_scene(manifest: Manifest) -> None:
            progress.advance(scenes)
            progress_console.print(scene_line(manifest), highlight=False)

        def report(name: str, done: int, total: int) -> None:
            progress.update(stage, description=name, completed=done, total=total)

        manifests = drive(recipe, execution, on_scene, report)
    outcome = _present(recipe, open_store(execution.store), manifests)
    if as_json:
        print_json(outcome)
    else:
        print_text(outcome)
    return exit_code(manifests)


def exit_code(manifests: list[Manifest]) -> int:
    """Return 0 if every scene was lifted, 3 if some were, 1 if none was."""
    lifted = sum(manifest["outcome"] == "ok" for manifest in manifests)
    if lifted == len(manifests):
        return EXIT_ALL
    return EXIT_PARTIAL if lifted else EXIT_ERROR


def scene_line(manifest: Manifest) -> str:
    """Return one line on a scene: what came of it and what was computed."""
    if manifest["outcome"] != "ok":
        return f"[red]✗[/red] {manifest['scene']}: {manifest['reason']}"
    computed = ", ".join(f"{count} {kind}" for kind, count in sorted(manifest["computed"].items()))
    dropped = f", {len(manifest['dropped'])} views dropped" if manifest["dropped"] else ""
    skipped = "".join(
        f", {one['operator']} × {one['lifter']} skipped ({one['reason']})"
        for one in manifest["lifted"]
        if one["reason"]
    )
    return (
        f"[green]✓[/green] {manifest['scene']}: {manifest['target_count']} targets of {manifest['view_count']} views"
        f"{dropped}{skipped} · computed {computed or 'nothing, all was committed'}"
    )


def print_json(outcome: dict[str, Any]) -> None:
    """Print the outcome as JSON."""
    Console().print_json(json.dumps(outcome["json"]))


def print_text(outcome: dict[str, Any]) -> None:
    """Print the table and the paths."""
    console = Console(soft_wrap=True)
    console.print(outcome["table"], highlight=False, markup=False)
    for name, place in outcome["places"].items():
        console.print(f"{name:8s} {place}", highlight=False, markup=False)


def _present(recipe: Recipe, store: Store, manifests: list[Manifest]) -> dict[str, Any]:
    table = run_table(store, recipe.run_id)
    folder = layout.run_path(recipe.run_id)
    store.write_bytes(f"{folder}/scores.parquet", table.to_parquet())
    sheets = [
        path for manifest in manifests if manifest["outcome"] == "ok" for path in _sheets(recipe, store, manifest)
    ]
    places = {"store": store.url, "table": store.url_of(f"{folder}/scores.parquet")}
    if sheets:
        places["sheets"] = store.url_of(f"{folder}/contact_sheets")
    return {
        "table": headline(table, is_brief=True),
        "places": places,
        "json": {
            "run": recipe.run_id,
            "scenes": manifests,
            "contact_sheets": [store.url_of(path) for path in sheets],
            **places,
        },
    }


def _sheets(recipe: Recipe, store: Store, manifest: Manifest) -> list[str]:
    """Draw the sheets of a scene that are not there yet and return the paths of all of them."""
    paths = []
    scene = None
    for operator in recipe.operators:
        path = f"{layout.run_path(recipe.run_id)}/contact_sheets/{slug(manifest['scene'])}-{slug(operator)}.png"
        if manifest["computed"] or not store.exists(path):
            scene = scene or read_scene(manifest["location"])
            store.write_bytes(path, draw_contact_sheet(scene, recipe, manifest, operator, store))
        paths.append(path)
    return paths
