"""What ``lift3d report`` writes: HTML on one run of a store, for people; opens offline.

One file, in which some scenes are drawn; of runs of more scenes, a wall of them and a page for each in a folder beside
it. Bounded whatever the size of the run: of each scene some views are drawn, and all pictures of a page together have
so much room. What is left out is counted. Products are read, nothing is computed that a product would hold.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from lift3d.config import Recipe
from lift3d.domain.keys import slug
from lift3d.domain.records import SceneRecord
from lift3d.errors import StoreLayoutError
from lift3d.ingest.diagnosis.finding import some_of
from lift3d.report.cards import Card, card_of
from lift3d.report.failures import SHOWN, Failures
from lift3d.report.html import page, write_page
from lift3d.report.scenes import PICTURE_BUDGET, DrawnScene, ReportExtent, drawn_scene, drawn_scenes
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.opened import lifted_of
from lift3d.results.scores.answers import answers_of, best_first, glance_table, worst_left
from lift3d.results.scores.protocols import protocols_in_words
from lift3d.results.scores.tables import headline_means, overall_table, scene_table
from lift3d.runs.records import choose_run, list_runs, read_run
from lift3d.runs.table import run_parts, unique_names
from lift3d.storage import layout
from lift3d.storage.location import Store, open_store
from lift3d.tables.rendering import Table, text_table
from lift3d.tables.schema import DataFrame, ScoreTable

# Scenes of the recipe that are written out.
_SCENES_NAMED = 20
# Characters of the pictures of a scene that has a page of its own.
_PAGE_BUDGET = 800_000
# And of the small pictures of all of them on the first page.
_CARDS_BUDGET = 3_500_000

# Takes the name of a page and its content.
Save = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Report:
    """A finished page of HTML; ``message`` says what is unusual about it, ``place`` where it was written."""

    content: bytes
    message: str = ""
    is_readable: bool = True
    place: Path | None = None
    page_count: int = 0

    def to_text(self) -> str:
        """Return the path, below what is unusual."""
        pages = f", and {self.page_count} scenes in {_beside(self.place)}" if self.place and self.page_count else ""
        return "\n".join(text for text in (self.message, f"report   {self.place}{pages}") if text)


def write_report(url: str, extent: ReportExtent, out: Path | None = None) -> Report:
    """Write the page on a run of a store, see make_report; each file appears whole, and the first one last.

    Without a file's name it is report.html, where a run draws it: in a store that is a folder, else in the current one.
    """
    folder = Store(url).url
    place = out or (Path() if "://" in folder else Path(folder)) / "report.html"

    def save(name: str, content: bytes) -> None:
        write_page(_beside(place) / name, content)

    made = make_report(url, extent, save, f"{_beside(place).name}/", f"../{place.name}")
    write_page(place, made.content)
    return replace(made, place=place)


def make_report(
    url: str, extent: ReportExtent, save: Save | None = None, to_pages: str = "", to_overview: str = ""
) -> Report:
    """Return the page on a run of a store; a store without a run, or of another version, becomes a page that says so.

    Args:
        url: The store.
        extent: How much is shown.
        save: Takes a page for each scene, if the run has more than are drawn on one; None for none.
        to_pages: How the page refers to those pages.
        to_overview: How they refer to it.

    Raises:
        StoreLayoutError: If there is no store at the URL.
        ProductMissingError: If it has no such run.
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
        message = f"{store.url} holds no run yet. Start one: lift3d run CAPTURE/ --store {store.url}"
        return Report(_words(store, "Nothing has been run yet", message), message)
    run_id = choose_run(store, extent.run_id)
    run = _Run.of(store, run_id, extent)
    message = ""
    if extent.run_id is None and len(runs) > 1:
        others = ", ".join(run for run in runs if run != run_id)
        which = "the latest that lifted anything" if any(one.pairs for one in run.records) else "the latest"
        message = f"The store holds {len(runs)} runs; this is {run_id}, {which}. Others, by --run: {others}."
    is_paged = save is not None and extent.page_count > 0 and 0 < extent.scene_count < len(run.scenes)
    content = run.content() | (run.on_pages(save, to_pages, to_overview) if save and is_paged else run.on_one_page())
    page_count = len(content["cards"]) if is_paged else 0
    return Report(page("report.html.jinja", {**content, "message": message}), message, page_count=page_count)


def _beside(place: Path) -> Path:
    return place.with_name(f"{place.stem}-scenes")


def _words(store: Store, title: str, message: str) -> bytes:
    return page("report.html.jinja", {"title": title, "message": message, "store": store.url, "recipe": None})


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """What is read of a run before anything is drawn; ``scenes`` are those that were lifted, by name."""

    store: Store
    recipe: Recipe
    records: list[SceneRecord]
    extent: ReportExtent
    scenes: Mapping[str, SceneRecord]
    means: DataFrame
    failures: Failures

    @classmethod
    def of(cls, store: Store, run_id: str, extent: ReportExtent) -> "_Run":
        recipe, records = read_run(store, run_id)
        ok = {name: one for name, one in zip(unique_names(records), records, strict=True) if one.is_ok}
        failures = Failures()

        def looked_at() -> Iterator[ScoreTable]:
            for part in run_parts(store, run_id):
                failures.add(part)
                yield part

        return cls(store, recipe, records, extent, ok, headline_means(looked_at()), failures)

    def content(self) -> dict[str, Any]:
        """Return what the page tells whatever is drawn."""
        place = {name: number for number, name in enumerate(self.recipe.operators)}
        in_order = sorted(answers_of(self.means), key=lambda one: place.get(one.operator, len(place)))
        answers = best_first(in_order)
        failed = len(self.records) - len(self.scenes)
        # No lifter could run in them; the plain answers alone are not what a run is for.
        unlifted = sum(bool(one.lifted) and not one.pairs for one in self.scenes.values())
        to_do = len(self.recipe.scenes) - len(self.records)
        return {
            "title": f"{some_of(self.recipe.operators)} in {self._where}",
            "store": self.store.url,
            "recipe": self.recipe,
            "recipe_text": _recipe_text(self.recipe),
            "protocol": protocols_in_words([self.recipe.protocol]).removesuffix("."),
            "counts": {"lifted": len(self.scenes) - unlifted, "unlifted": unlifted, "failed": failed, "to_do": to_do},
            "answers": answers,
            "glance": glance_table([one for own in answers for one in own], "At a glance"),
            "overall": replace(overall_table(self.means), caption="Means over scenes, each weighing the same"),
            "has_overall": self.means["scene"].nunique() > 1,
            "extent": self.extent,
            "worst": self.failures.worst({own[0].operator: own[0].lifter for own in answers}),
            "listed": self.failures.listed,
        }

    @property
    def _where(self) -> str:
        """Of which scenes the page is, in words."""
        first = next((record.scene for record in self.records), self.recipe.scenes[0])
        return first if len(self.recipe.scenes) == 1 else f"{len(self.recipe.scenes)} scenes"

    def on_one_page(self) -> dict[str, Any]:
        """Return what is drawn on the page itself: the first scenes."""
        chosen = dict(islice(self.scenes.items(), self.extent.scene_count))
        own = {name: answers_of(self.means[self.means["scene"] == name]) for name in chosen}
        scenes = drawn_scenes(chosen, self._lifted(chosen), own, self.extent.view_count)
        drawn = {one.name: one for one in scenes}
        hrefs = {name: f"#scene-{number}" for number, name in enumerate(chosen, 1)}
        ranked = self._ranked(chosen)
        room = (PICTURE_BUDGET - sum(one.size for one in scenes)) // max(1, len(scenes))
        return {
            "scenes": scenes,
            "is_single": len(self.scenes) == len(scenes) == 1,
            "reasons": _reasons_table(scenes),
            "cards": [card_of(drawn[name], left, hrefs[name], room) for name, left in ranked],
            **_typical(drawn[ranked[len(ranked) // 2][0]] if len(ranked) > 1 else None),
            "hidden_scenes": len(self.scenes) - len(chosen),
            **_scene_tables(self.means[self.means["scene"].isin([*chosen])]),
        }

    def on_pages(self, save: Save, to_pages: str, to_overview: str) -> dict[str, Any]:
        """Draw each scene on a page of its own, the worst first; return the wall of them."""
        ranked = self._ranked(self.scenes)[: self.extent.page_count]
        lifted = self._lifted(name for name, _ in ranked)
        means = dict(iter(self.means.groupby("scene")))
        names = [f"{slug(name)}.html" for name, _ in ranked]
        cards: list[Card] = []
        troubled: list[DrawnScene] = []
        typical, room = None, _CARDS_BUDGET
        for place, (name, left) in enumerate(ranked):
            own = answers_of(means[name]) if name in means else []
            drawn = drawn_scene(
                name, self.scenes[name], lifted.pop(name, ()), own, self.extent.view_count, _PAGE_BUDGET
            )
            beside = {"before": names[place - 1] if place else "", "after": "".join(names[place + 1 : place + 2])}
            content = {"title": name, "scene": drawn, "extent": self.extent, "overview": to_overview, **beside}
            content["reasons"] = _reasons_table([drawn])
            tables = _scene_tables(means.get(name, self.means[:0])) | {"glance": glance_table(own, "At a glance")}
            save(names[place], page("scene.html.jinja", content | tables))
            cards.append(card_of(drawn, left, to_pages + names[place], room))
            room -= cards[-1].size
            typical = drawn if place == len(ranked) // 2 else typical
            troubled += [replace(drawn, operators=())] * bool(drawn.reasons and len(troubled) < SHOWN)
        return {
            "scenes": [],
            "reasons": _reasons_table(troubled),
            "is_single": False,
            "cards": cards,
            **_typical(typical),
            "hidden_scenes": len(self.scenes) - len(ranked),
            **_scene_tables(self.means[:0]),
        }

    def _ranked(self, names: Mapping[str, SceneRecord]) -> list[tuple[str, float]]:
        """Return scenes with the share of disagreement that is left, the worst first; those without a figure last."""
        left = worst_left(self.means)
        known = [(name, left.get(name, math.nan)) for name in names]
        return sorted(known, key=lambda one: math.inf if math.isnan(one[1]) else -one[1])

    def _lifted(self, names: Iterable[str]) -> dict[str, Sequence[LiftedScene]]:
        wanted = {*names}
        found: dict[str, list[LiftedScene]] = {}
        for one in lifted_of(self.store, self.recipe, self.records, self.extent.captures):
            if one.name in wanted:
                found.setdefault(one.name, []).append(one)
        return {**found}


def _typical(scene: DrawnScene | None) -> dict[str, Any]:
    """Return the scene whose pictures stand beneath the means of all, and what is drawn of it by operator."""
    return {"typical": scene, "strips": {} if scene is None else {one.operator: one for one in scene.operators}}


def _reasons_table(scenes: Sequence[DrawnScene]) -> Table | None:
    """Return a line for each reason why answers of a scene are worse than they might be; None if there is none."""
    lines = [
        [scene.name, one.kind, f"{one.said}{f' ({some_of(one.views)})' if one.views else ''}", one.remedy]
        for scene in scenes
        for one in scene.reasons
    ]
    labels = ("scene", "why", "what is seen", "what to do")
    return text_table(labels, lines, len(labels), "Why answers are worse than they might be") if lines else None


def _scene_tables(means: DataFrame) -> dict[str, Table]:
    usual, other = (scene_table(means, is_usual=one, named=("scene", "operator")) for one in (True, False))
    return {
        "usual": replace(usual, caption="Means over views or pairs, by scene"),
        "other": replace(other, caption="Further means over views or pairs, by scene"),
    }


def _recipe_text(recipe: Recipe) -> str:
    """Return the recipe as YAML; of very many scenes, the first ones and how many there are."""
    fields = json.loads(recipe.model_dump_json())
    more = len(fields["scenes"]) - _SCENES_NAMED
    fields["scenes"] = fields["scenes"][:_SCENES_NAMED]
    head = f"# The first {_SCENES_NAMED} scenes; {more} more are in the store.\n" if more > 0 else ""
    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return head + text
