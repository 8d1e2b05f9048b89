"""``lift3d bench``: build a recipe, measure, print. What is heavy is imported by the command that needs it."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from lift3d.bench.baselines import register_baselines
from lift3d.bench.machine_commands import MACHINE_COMMANDS
from lift3d.bench.presenting import AS_JSON, OUT, PATH, present_figures
from lift3d.config import Recipe, parse_recipe

Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Request:
    """What a bench on scenes is asked for; empty is for the bench to choose. Fields as the options of ``on_scenes``."""

    scenes: tuple[str, ...]
    operators: tuple[str, ...]
    plugins: tuple[str, ...]
    image_height: int
    sources: int
    holdout: int
    leave_one_out: bool
    store: str
    out: Path | None
    as_json: bool

    def recipe(self, operators: Sequence[str], lifters: Sequence[str]) -> Recipe:
        """Return the recipe, on views that are no source; baselines are lifters like any other.

        Args:
            operators: If none were asked for.
            lifters: Their names.
        """
        register_baselines()
        given = {name: getattr(self, name) for name in ("scenes", "plugins", "image_height", "sources")}
        holdout = None if self.leave_one_out else self.holdout
        chosen = {"operators": self.operators or operators, "lifters": lifters}
        return parse_recipe({**given, **chosen, "holdout": holdout, "target_mode": "heldout"})

    def present(self, figures: object, text: str) -> None:
        """Write the page if a file is named, and print it or its figures."""
        present_figures(figures, text, self.out, self.as_json)


def on_scenes(store: str, sources: int = 8) -> Callable[[Command], Command]:
    """Add the options of a bench on scenes; the command gets them as one ``Request``.

    Args:
        store: Default of the store.
        sources: Default of the sources per target.
    """
    options = (
        click.argument("scenes", nargs=-1, help="As of lift3d run; those for evaluation if not given."),
        click.option("--operator", "operators", multiple=True, help="2D model. Repeatable."),
        click.option("--plugin", "plugins", multiple=True, help="Operator of one's own: module:attribute."),
        click.option("--image-height", default=192, help="Height at which views are encoded."),
        click.option("--sources", default=sources, help="Source views per target."),
        click.option("--holdout", default=8, help="Every N-th view is a target and no source."),
        click.option("--leave-one-out", is_flag=True, help="Every view is a target instead."),
        click.option("--store", default=store, help="URL of the store that holds features and runs."),
        OUT,
        AS_JSON,
    )

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def called(**values: Any) -> None:
            request = Request(**{field.name: values.pop(field.name) for field in fields(Request)})
            command(request, **values)

        return functools.reduce(lambda one, option: option(one), reversed(options), called)

    return add


@click.command("lifters")
@on_scenes("runs/lifters")
@click.option("--lifter", "chosen", multiple=True, help="Lifter; all of the ablation if not given.")
def lifters(request: Request, chosen: tuple[str, ...]) -> None:
    """The learned lifter against its own parts and against lifters without training, at held-out views."""
    from lift3d.bench import lifters

    figures = lifters.measure(request.recipe(("rgb",), chosen or lifters.LIFTERS), request.store)
    request.present(figures, lifters.page(figures))


@click.command("consistency")
@on_scenes("runs/consistency")
@click.option("--lifter", "chosen", multiple=True, help="Lifter; anchored if not given.")
@click.option("--geometry", help="Where the surface comes from; the best that a scene has if not given.")
@click.option("--refine", is_flag=True, help="Views are their own sources, too, as by default in lift3d run.")
@click.option("--features", default="tiny:encoder", help="Operator that tells styles of pictures apart.")
def consistency(request: Request, chosen: tuple[str, ...], geometry: str | None, refine: bool, features: str) -> None:
    """How well answers agree, how sharp and how true they are; the page has all that was measured into the store."""
    from lift3d.bench import consistency
    from lift3d.bench.consistency_page import page

    recipe = request.recipe((), chosen or consistency.LIFTERS) if request.scenes else None
    measured = []
    if recipe is not None:
        modes = {"geometry": geometry, "target_mode": "refine" if refine else "heldout"}
        measured = consistency.measure(parse_recipe({**recipe.model_dump(), **modes}), request.store, features)
    request.present(measured, page(consistency.measured_before(request.store)))


@click.command("reliability")
@on_scenes("runs/reliability")
@click.option("--judge", "judges", multiple=True, help="2D model that judges; tiny:encoder if not given. Repeatable.")
@click.option("--picture", type=PATH, help="Image file to write: what was found in the first scene.")
def reliability(request: Request, judges: tuple[str, ...], picture: Path | None) -> None:
    """What passers-by cost held-out photographs, with and without judging what views show."""
    from lift3d.bench import reliability
    from lift3d.bench.reliability_page import page, write_picture

    if request.scenes:
        recipe = request.recipe(("rgb",), ("anchored",))
        measured = reliability.measure(recipe, judges or reliability.JUDGES, request.store)
    else:
        measured = []
    if picture is not None and measured:
        write_picture(measured[len(reliability.SHARES) // 2], request.store, picture)
    request.present(measured, page(reliability.measured_before(request.store)))


@click.command("recognition")
@on_scenes("runs/recognition")
@click.option("--lifter", "chosen", multiple=True, help="Lifter; lift3d and what stands beside it if not given.")
@click.option("--drawings", type=PATH, default="runs/drawings", help="Folder for the strokes that are drawn.")
def recognition(request: Request, chosen: tuple[str, ...], drawings: Path) -> None:
    """How well words and strokes are understood at held-out views of computed scenes that no training saw."""
    from lift3d.bench import tasks_recognition as tasks
    from lift3d.bench.tasks_recognition_page import page

    asked = replace(
        request,
        scenes=request.scenes or tasks.SCENES,
        image_height=tasks.IMAGE_HEIGHT,
        sources=tasks.SOURCES,
        holdout=tasks.HOLDOUT,
    )
    figures = tasks.measure(asked.recipe(("tiny:clip",), chosen or tasks.LIFTERS), request.store, drawings)
    request.present(figures, page(figures))


@click.command("probe3d")
@on_scenes("runs/probe3d")
def probe3d(request: Request) -> None:
    """What features know of 3D, by matches and probes; the page has all that was measured into the store."""
    from lift3d.bench import probe3d as bench
    from lift3d.bench.probe3d_page import page

    recipe = request.recipe(bench.OPERATORS, bench.LIFTERS) if request.scenes else None
    measured = [] if recipe is None else bench.measure(recipe, request.store)
    request.present(measured, page(bench.measured_before(request.store)))


@click.command("finetune")
@on_scenes("runs/finetuned")
@click.option("--picture", help="Computed scene, of two views of which a picture beside the page is drawn.")
def finetune(request: Request, picture: str | None) -> None:
    """Tuned encoders (the second operator and on) against the one before (the first), on scenes they have not seen."""
    from lift3d.bench import finetune as bench
    from lift3d.bench.finetune_page import draw, page

    measured = bench.measure(request.recipe((), ("anchored",)), request.store) if request.scenes else []
    place = "pictures/finetune.webp"
    if picture and request.out is not None:
        draw(picture, request.operators, request.out.parent / place)
    request.present(measured, page(bench.measured_before(request.store), place if picture else ""))


@click.command("ensemble")
@on_scenes("runs/ensemble")
@click.option("--picture", help="Computed scene, of which a picture beside the page is drawn.")
def ensemble(request: Request, picture: str | None) -> None:
    """2D features fused on the surface, a 3D network distilled from them, and the surer of both; all views are sources.

    The page has all that was measured into the store.
    """
    from lift3d.bench import ensemble as bench
    from lift3d.bench.ensemble_page import draw, page

    def recipe(scenes: tuple[str, ...], operators: tuple[str, ...]) -> Recipe:
        asked = replace(request, scenes=scenes, operators=operators).recipe(("tiny:clip",), ("anchored",))
        return parse_recipe({**asked.model_dump(), "target_mode": "refine", "holdout": None})

    measured = bench.measure(recipe(request.scenes, request.operators), request.store) if request.scenes else []
    place = "pictures/ensemble.webp"
    if picture and request.out is not None:
        draw(recipe((picture,), request.operators), request.store, request.out.parent / place)
    request.present(measured, page(bench.measured_before(request.store), place if picture else ""))


@click.command("learning")
@on_scenes("runs/learning", sources=6)
@click.option("--checkpoint", "given", multiple=True, help="Of lift3d train, NAME or FILE; the last one in parts.")
@click.option("--fit", is_flag=True, help="Fit rules for votes on these scenes and operators instead.")
def learning(request: Request, given: tuple[str, ...], fit: bool) -> None:
    """What learned votes, depth, weights and residuals add to the surface; the page has all measured into the store."""
    from lift3d.bench import learning, learning_page, votes_fit

    recipe = request.recipe((), ("anchored",)) if request.scenes else None
    fits = [votes_fit.measure(recipe, request.store)] if recipe and fit else votes_fit.measured_before(request.store)
    measured: object = fits if fit else learning.measure(recipe, given, request.store) if recipe else []
    request.present(measured, learning_page.page([] if fit else learning.measured_before(request.store), fits))


@click.command("geometry")
@click.argument("scenes", nargs=-1, required=True, help="As of lift3d run.")
@click.option("--method", "methods", multiple=True, default=("sweep",), help="Method of geometry. Repeatable.")
@click.option("--image-height", default=192, help="Height at which views are read.")
@click.option("--holdout", default=8, help="Every N-th view is left out in a second row.")
@click.option("--patchmatchnet", type=PATH, help="Weights of PatchmatchNet, the network that stands beside.")
@OUT
@AS_JSON
def geometry(
    scenes: tuple[str, ...],
    methods: tuple[str, ...],
    image_height: int,
    holdout: int,
    patchmatchnet: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """How far the surface of a scene, found from photographs alone, is from sensors, tracks or computed depth."""
    from lift3d.bench.geometry_page import measured, page

    figures = measured(scenes, methods, image_height, holdout, patchmatchnet)
    present_figures(figures, page(scenes, figures, image_height, patchmatchnet), out, as_json)


@click.command("calibration")
@click.argument("scenes", nargs=-1)
@click.option("--operator", "operators", multiple=True, help="2D model for these scenes. Repeatable.")
@click.option("--plugin", "plugins", multiple=True, help="Operator of one's own: module:attribute.")
@click.option("--store", default="runs/calibration", help="URL of the store that holds features and surfaces.")
@OUT
@AS_JSON
def calibration(
    scenes: tuple[str, ...],
    operators: tuple[str, ...],
    plugins: tuple[str, ...],
    store: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Whether what is said to be 90 % sure is right nine times in ten: on computed scenes, and on those given."""
    from lift3d.bench import calibration as bench
    from lift3d.bench.calibration_page import draw, measured, page

    shared = {"image_height": bench.IMAGE_HEIGHT, "holdout": bench.HOLDOUT}
    computed = parse_recipe({"scenes": bench.SCENES, "operators": bench.OPERATORS, **shared})
    given = {"scenes": scenes, "operators": operators or ("rgb",), "plugins": plugins}
    captured = parse_recipe({**given, **shared}) if scenes else None
    figures = measured(computed, captured, bench.METHODS, store)
    if out is not None:
        draw(figures, out.parent / "pictures/calibration.svg")
    present_figures(figures, page(figures, computed, captured), out, as_json)


@click.command("systems")
@click.argument("part", required=False)
@click.argument("scenes", nargs=-1)
@click.option("--operator", "operators", multiple=True, help="2D model; the part's own if not given. Repeatable.")
@click.option("--plugin", "plugins", multiple=True, help="Operator of one's own: module:attribute.")
@click.option("--store", default="runs/systems", help="URL of the store that holds features, runs and figures.")
@OUT
@AS_JSON
def systems(
    part: str | None,
    scenes: tuple[str, ...],
    operators: tuple[str, ...],
    plugins: tuple[str, ...],
    store: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """What systems of the field do on a lifted scene, a part at a time; the page has all that the store has."""
    from lift3d.bench.kept_figures import kept
    from lift3d.bench.systems.page import page
    from lift3d.bench.systems.parts import measure
    from lift3d.bench.systems.row import SystemRow

    measured = measure(part, scenes, operators, plugins, store) if part else []
    present_figures(measured, page(kept(store, "systems", SystemRow)), out, as_json)


COMMANDS: dict[str, click.Command] = {
    str(command.name): command
    for command in (
        lifters,
        consistency,
        reliability,
        recognition,
        probe3d,
        finetune,
        ensemble,
        learning,
        geometry,
        calibration,
        systems,
        *MACHINE_COMMANDS,
    )
}
