"""What ``lift3d report`` writes: one HTML file on one run of a store, for people; opens offline.

Bounded whatever the size of the run: some scenes are drawn, of each some views, and all pictures together have so much
room. What is left out is counted on the page. Products are read, nothing is computed that a product would hold.
"""

import base64
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from lift3d.config import Recipe
from lift3d.domain.records import RAW2D
from lift3d.errors import ConfigError, StoreLayoutError
from lift3d.report.failures import Failures
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
_FOLDER = files("lift3d.report")


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
    """Return the page on a run of a store; a store without a run, or of another version, becomes a page that says so.

    StoreLayoutError if there is no store at the URL, ProductMissingError if it has no such run.
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
    return Report(_page({"title": f"Run {run_id}", **_run_content(store, run_id, extent), "message": message}), message)


def _words(store: Store, title: str, message: str) -> bytes:
    return _page({"title": title, "message": message, "store": store.url, "recipe": None, "versions": _versions()})


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


def _page(content: Mapping[str, Any]) -> bytes:
    """Return the page as HTML, everything inlined, every name escaped; the content is what the template shows.

    A policy in its head allows its own style and script by their digests and pictures that are part of it, nothing
    else: what is in a name can neither run nor call home.
    """
    style, script = (_FOLDER.joinpath(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'"
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_FOLDER.joinpath("templates", "report.html.jinja").read_text(encoding="utf-8"))
    # Both are files of this package, and their digests are of exactly these characters.
    text = template.render(content, style=Markup(style), script=Markup(script), policy=policy)
    # A name that came from a file system may hold what is no character.
    return text.encode("utf-8", "replace")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
