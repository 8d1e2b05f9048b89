"""What ``lift3d report`` writes: one HTML file on one run of a store, for people; opens offline.

Bounded whatever the size of the run: some scenes are drawn, of each some views, and all pictures together have so much
room. What is left out is counted on the page. Products are read, nothing is computed that a product would hold.
"""

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from lift3d.config import Recipe
from lift3d.domain.records import RAW2D
from lift3d.errors import ConfigError, StoreLayoutError
from lift3d.report.failures import Failures
from lift3d.report.page import page
from lift3d.report.scenes import ReportExtent, drawn_scenes
from lift3d.results.lifted_scene import lifted_of
from lift3d.results.tables import headline_means, overall_table, scene_table
from lift3d.runs.records import choose_run, list_runs, read_run
from lift3d.runs.table import run_parts, unique_names
from lift3d.storage import layout
from lift3d.storage.location import Store, open_store
from lift3d.storage.whole_file import whole
from lift3d.tables.schema import ScoreTable

# Scenes of the recipe that are written out.
_SCENES_NAMED = 20
_VERSIONS_OF = ("lift3d", "torch", "numpy", "zarr", "pandas")


@dataclass(frozen=True, slots=True)
class Report:
    """A finished page of HTML; ``message`` says what is unusual about it, ``place`` where it was written."""

    content: bytes
    message: str = ""
    is_readable: bool = True
    place: Path | None = None

    def to_text(self) -> str:
        """Return the path, below what is unusual."""
        return "\n".join(text for text in (self.message, f"report   {self.place}") if text)


def write_report(url: str, extent: ReportExtent, out: Path | None = None) -> Report:
    """Write the page on a run of a store, see make_report; it appears whole.

    Without a file's name it is report.html, beside a store that is a folder, else in the current folder.
    """
    folder = Store(url).url
    place = out or (Path() if "://" in folder else Path(folder).parent) / "report.html"
    made = make_report(url, extent)
    try:
        with whole(place) as partial:
            partial.write_bytes(made.content)
    except OSError as error:
        raise ConfigError(f"Cannot write '{place}': {error}. Name a file in a folder you may write to.") from error
    return replace(made, place=place)


def make_report(url: str, extent: ReportExtent) -> Report:
    """Return the page on a run of a store.

    A store that holds no run, or that another version wrote, becomes a page that says so.

    Raises:
        StoreLayoutError: If there is no store at the URL.
        ProductMissingError: If the store has no such run.
    """
    try:
        store = open_store(url)
    except StoreLayoutError as error:
        store = Store(url)
        if not store.exists(layout.STORE_FILE):
            raise
        return Report(_words(store, "This store cannot be read", str(error)), str(error), is_readable=False)
    runs = list_runs(store)
    if not runs and extent.run_id is None:
        message = f"{store.url} holds no run yet. Start one with lift3d run … --store {store.url}, then ask again."
        return Report(_words(store, "Nothing has been run yet", message), message)
    run_id = choose_run(store, extent.run_id)
    message = ""
    if extent.run_id is None and len(runs) > 1:
        others = ", ".join(run for run in runs if run != run_id)
        message = f"The store holds {len(runs)} runs; this is {run_id}, the latest. Others, by --run: {others}."
    return Report(page({"title": f"Run {run_id}", **_run_content(store, run_id, extent), "message": message}), message)


def _words(store: Store, title: str, message: str) -> bytes:
    return page({"title": title, "message": message, "store": store.url, "recipe": None, "versions": _versions()})


def _run_content(store: Store, run_id: str, extent: ReportExtent) -> dict[str, Any]:
    recipe, records = read_run(store, run_id)
    # What lifters call themselves, in the recipe's order.
    lifters = [*dict.fromkeys(one.lifter for record in records for one in record.lifted if one.lifter != RAW2D)]
    ok = {name: one for name, one in zip(unique_names(records), records, strict=True) if one.is_ok}
    chosen = dict(islice(ok.items(), extent.scene_count))
    failures = Failures()

    def looked_at() -> Iterator[ScoreTable]:
        for part in run_parts(store, run_id):
            failures.add(part)
            yield part

    means = headline_means(looked_at())
    shown = means[means["scene"].isin([*chosen])]
    usual, other = (scene_table(shown, is_usual=one, named=("scene", "operator")) for one in (True, False))
    lifted = [one for one in lifted_of(store, recipe, records, extent.captures) if one.name in chosen]
    return {
        "store": store.url,
        "recipe": recipe,
        "recipe_text": _recipe_text(recipe),
        "versions": _versions(),
        "counts": {"lifted": len(ok), "failed": len(records) - len(ok), "to_do": len(recipe.scenes) - len(records)},
        "overall": replace(overall_table(means), caption="Means over scenes, each weighing the same"),
        "has_overall": means["scene"].nunique() > 1,
        "usual": replace(usual, caption="Means over views or pairs, by scene"),
        "other": replace(other, caption="Further means over views or pairs, by scene"),
        "scenes": drawn_scenes(chosen, lifted, extent.view_count),
        "hidden_scenes": len(ok) - len(chosen),
        "extent": extent,
        "worst": failures.worst(lifters),
        "listed": failures.listed,
    }


def _recipe_text(recipe: Recipe) -> str:
    """Return the recipe as YAML; of very many scenes, the first ones and how many there are."""
    fields = json.loads(recipe.model_dump_json())
    more = len(fields["scenes"]) - _SCENES_NAMED
    fields["scenes"] = fields["scenes"][:_SCENES_NAMED]
    head = f"# The first {_SCENES_NAMED} scenes; {more} more are in the store.\n" if more > 0 else ""
    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return head + text


def _versions() -> dict[str, str]:
    """Return versions of what wrote the page."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _VERSIONS_OF}}
