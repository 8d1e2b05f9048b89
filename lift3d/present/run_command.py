"""What ``lift3d run`` shows: progress, one line per scene, the table, and where everything lies."""

import json
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
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
from lift3d.errors import DamagedProductError
from lift3d.pipeline import read_scene
from lift3d.present.contact_sheet import draw_contact_sheet
from lift3d.present.headline import headline
from lift3d.run_tables import run_table, unique_names
from lift3d.runs import Manifest, OnScene, run_serially
from lift3d.scene_inputs import Report
from lift3d.scene_lift import RAW2D
from lift3d.storage import layout
from lift3d.storage.location import Store, open_store

Drive = Callable[[Recipe, Execution, OnScene, Report], list[Manifest]]

_MOST_DRAWN = 24

EXIT_ALL, EXIT_ERROR, EXIT_PARTIAL = 0, 1, 3


def serial(recipe: Recipe, execution: Execution, on_scene: OnScene, report: Report) -> list[Manifest]:
    """Drive the run in this process."""
    return run_serially(recipe, execution, report, on_scene)


def run_and_present(recipe: Recipe, execution: Execution, drive: Drive, *, as_json: bool) -> int:
    """Run, show progress on standard error, print the outcome on standard output, and return the exit code."""
    progress_console = Console(stderr=True)
    columns = (
        # Names of scenes are no markup.
        TextColumn("{task.description}", style="progress.description", markup=False),
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
            progress_console.print(scene_line(manifest), highlight=False, emoji=False, soft_wrap=True)

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
    lifted = sum(_is_lifted(manifest) for manifest in manifests)
    if lifted == len(manifests):
        return EXIT_ALL
    return EXIT_PARTIAL if lifted else EXIT_ERROR


def _is_lifted(manifest: Manifest) -> bool:
    """Whether a lifter ran on the scene: the plain 2D answer alone is not what a run is for."""
    return any(product["parts"] and product["lifter"] != RAW2D for product in manifest["lifted"])


def scene_line(manifest: Manifest) -> str:
    """Return one line on a scene, in rich's markup: what came of it and what was computed."""
    dropped = _dropped_words(manifest["dropped"])
    if manifest["outcome"] != "ok":
        return f"[red]✗[/red] {escape(manifest['scene'] + ': ' + manifest['reason'] + dropped)}"
    computed = ", ".join(f"{count} {kind}" for kind, count in sorted(manifest["computed"].items()))
    skipped = "".join(
        f", {one['operator']} × {one['lifter']} skipped ({one['reason']})"
        for one in manifest["lifted"]
        if one["reason"]
    )
    said = (
        f"{manifest['scene']}: {manifest['target_count']} targets of {manifest['view_count']} views{skipped} · "
        f"computed {computed or 'nothing, all was committed'}{dropped}"
    )
    return f"[green]✓[/green] {escape(said)}"


def _dropped_words(dropped: list[list[str]]) -> str:
    """Return how many views were dropped and why the first one was; the table has a row for each."""
    if not dropped:
        return ""
    view, _, message = dropped[0]
    count = "1 view" if len(dropped) == 1 else f"{len(dropped)} views"
    return f" · {count} dropped, such as '{view}': {message}"


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
        path
        for manifest, name in _first_lifted(manifests)
        for path in _sheets(recipe, store, {**manifest, "scene": name})
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


def _first_lifted(manifests: list[Manifest]) -> list[tuple[Manifest, str]]:
    """Return the scenes that get sheets, with their names: people look at some, not at thousands."""
    named = zip(manifests, unique_names(manifests), strict=True)
    return [(manifest, name) for manifest, name in named if manifest["outcome"] == "ok"][:_MOST_DRAWN]


def _sheets(recipe: Recipe, store: Store, manifest: Manifest) -> list[str]:
    """Draw the sheets of a scene that are not there yet and return the paths of all of them."""
    paths = []
    scene = None
    # By the names of the products: an operator may spell its name in another way than the recipe.
    for operator in dict.fromkeys(product["operator"] for product in manifest["lifted"] if product["parts"]):
        path = f"{layout.run_path(recipe.run_id)}/contact_sheets/{slug(manifest['scene'])}-{slug(operator)}.png"
        if manifest["computed"] or not store.exists(path):
            scene = scene or read_scene(manifest["location"])
            try:
                store.write_bytes(path, draw_contact_sheet(scene, recipe, manifest, operator, store))
            except DamagedProductError:
                continue  # the run is done and its table stands; fsck names what is damaged
        paths.append(path)
    return paths
