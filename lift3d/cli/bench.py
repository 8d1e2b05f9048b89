"""``lift3d bench``: parse, build a recipe, measure, print. What is heavy is imported by the command that needs it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lift3d.config import Recipe, parse_recipe
from lift3d.errors import ConfigError

bench = typer.Typer(help="Measure: kernels against the machine, lifters against captures.", no_args_is_help=True)


@bench.command("baselines")
def bench_baselines(
    captures: Annotated[Path, typer.Option(help="Folder with the captures fox, bear, garden, kitchen.")],
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    store: Annotated[str, typer.Option(help="URL of the store that holds the runs.")] = "runs/baselines",
    plugin: Annotated[list[str] | None, typer.Option(help="Operator for captures with labels.")] = None,
) -> None:
    """Figures of every lifter per capture, as later lifters are measured against."""
    from lift3d.bench.baselines import main as measure

    measure(captures, out, store, plugin or ())


@bench.command("lifters")
def bench_lifters(
    locations: Annotated[list[str], typer.Argument(help="Scenes, as of lift3d run.")],
    operator: Annotated[list[str] | None, typer.Option(help="2D model; rgb if not given. Repeatable.")] = None,
    lifter: Annotated[list[str] | None, typer.Option(help="Lifter; all of the ablation if not given.")] = None,
    image_height: Annotated[int, typer.Option(help="Height at which views are encoded.")] = 192,
    sources: Annotated[int, typer.Option(help="Source views per target.")] = 8,
    holdout: Annotated[int, typer.Option(help="Every N-th view is a target and no source.")] = 8,
    leave_one_out: Annotated[bool, typer.Option("--leave-one-out", help="Every view is a target instead.")] = False,
    plugin: Annotated[list[str] | None, typer.Option(help="Operator of one's own: module:attribute.")] = None,
    store: Annotated[str, typer.Option(help="URL of the store that holds the features.")] = "runs/lifters",
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The learned lifter against its own parts and against lifters without training, at held-out views."""
    from lift3d.bench import lifters

    size = {"image_height": image_height, "sources": sources, "holdout": None if leave_one_out else holdout}
    recipe = _held_out(locations, operator or ["rgb"], lifter or list(lifters.LIFTERS), plugin, size)
    figures = lifters.measure(recipe, store)
    _present(figures, lifters.page(figures), out, as_json)


@bench.command("consistency")
def bench_consistency(
    locations: Annotated[list[str], typer.Argument(help="Scenes, as of lift3d run.")],
    operator: Annotated[list[str], typer.Option(help="2D model whose decoded answers are compared. Repeatable.")],
    lifter: Annotated[list[str] | None, typer.Option(help="Lifter; plane_sweep and the ablation if not given.")] = None,
    image_height: Annotated[int, typer.Option(help="Height at which views are encoded.")] = 192,
    sources: Annotated[int, typer.Option(help="Source views per target.")] = 64,
    holdout: Annotated[int, typer.Option(help="Every N-th view is a target and no source.")] = 8,
    plugin: Annotated[list[str] | None, typer.Option(help="Operator of one's own: module:attribute.")] = None,
    store: Annotated[str, typer.Option(help="URL of the store that holds the runs.")] = "runs/consistency",
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How well decoded answers agree at long range, beside the plain 2D answers and the floor of the warp."""
    from lift3d.bench import consistency

    size: dict[str, int | None] = {"image_height": image_height, "sources": sources, "holdout": holdout}
    recipe = _held_out(locations, operator, lifter or list(consistency.LIFTERS), plugin, size)
    figures = consistency.measure(recipe, store)
    _present(figures, consistency.page(figures), out, as_json)


@bench.command("recognition")
def bench_recognition(
    locations: Annotated[list[str] | None, typer.Argument(help="Scenes; those for evaluation if not given.")] = None,
    operator: Annotated[list[str] | None, typer.Option(help="Encoder; tiny:clip if not given. Repeatable.")] = None,
    lifter: Annotated[
        list[str] | None, typer.Option(help="Lifter; lift3d and what stands beside it by default.")
    ] = None,
    plugin: Annotated[list[str] | None, typer.Option(help="Operator of one's own: module:attribute.")] = None,
    store: Annotated[str, typer.Option(help="URL of the store that holds the runs.")] = "runs/recognition",
    drawings: Annotated[Path, typer.Option(help="Folder for the strokes that are drawn.")] = Path("runs/drawings"),
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How well words and strokes are understood at held-out views of computed scenes that no training saw."""
    from lift3d.bench import tasks_recognition as tasks
    from lift3d.bench.tasks_recognition_page import page

    size: dict[str, int | None] = {
        "image_height": tasks.IMAGE_HEIGHT,
        "sources": tasks.SOURCES,
        "holdout": tasks.HOLDOUT,
    }
    scenes, lifters = locations or list(tasks.SCENES), lifter or list(tasks.LIFTERS)
    recipe = _held_out(scenes, operator or ["tiny:clip"], lifters, plugin, size)
    figures = tasks.measure(recipe, store, drawings)
    _present(figures, page(figures), out, as_json)


@bench.command("curves")
def bench_curves(
    locations: Annotated[list[str], typer.Argument(help="Scenes, as of lift3d run.")],
    operator: Annotated[list[str] | None, typer.Option(help="2D model; rgb if not given. Repeatable.")] = None,
    lifter: Annotated[str, typer.Option(help="A learned lifter; its shared_weights are shown beside it.")] = "lift3d",
    image_height: Annotated[int, typer.Option(help="Height at which views are encoded.")] = 192,
    sources: Annotated[int, typer.Option(help="Source views per target while taps vary.")] = 8,
    holdout: Annotated[int, typer.Option(help="Every N-th view is a target and no source.")] = 8,
    plugin: Annotated[list[str] | None, typer.Option(help="Operator of one's own: module:attribute.")] = None,
    store: Annotated[str, typer.Option(help="URL of the store that holds the features.")] = "runs/curves",
    out: Annotated[Path | None, typer.Option(help="Markdown file to write; the picture goes beside it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How the fidelity of a learned lifter at held-out views depends on the number of taps and of sources."""
    from lift3d.bench import curves, curves_page
    from lift3d.bench.curves_picture import draw_bench_curves

    size: dict[str, int | None] = {"image_height": image_height, "sources": sources, "holdout": holdout}
    picture = None if out is None else curves_page.picture_beside(out)
    recipe = _held_out(locations, operator or ["rgb"], list(curves.compared(lifter)), plugin, size)
    figures = curves.measure(recipe, store)
    if picture is not None:
        draw_bench_curves(figures, picture)
    _present(figures, curves_page.page(figures, picture), out, as_json)


@bench.command("speed")
def bench_speed(
    lifter: Annotated[str, typer.Option(help="Whose proposal and correction.")] = "lift3d",
    capture: Annotated[str | None, typer.Option(help="Scene, as of lift3d run; a computed one if not given.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch; all cores if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What stage I, one more operator and memory cost, against a ray-by-ray network and against all samples."""
    from lift3d.bench import speed
    from lift3d.bench.speed_page import table

    figures = speed.measure(speed.FULL, capture or speed.SCENE, lifter, threads)
    typer.echo(json.dumps(figures, indent=1) if as_json else table(figures))


@bench.command("scale")
def bench_scale(
    control: Annotated[int, typer.Option(help="Scenes whose work is nothing.")] = 10_000,
    count: Annotated[list[int] | None, typer.Option(help="Numbers of real scenes; 10, 50, 200 if not given.")] = None,
    turns: Annotated[int, typer.Option(help="Turns of two workers and two bare processes.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What Prefect and Ray cost, by thousands of scenes and against bare loops; and what a million scenes need."""
    from flows.scale_bench import measure_scale
    from lift3d.bench.cost_model import Assumptions, cost_section
    from lift3d.bench.scale_page import scale_page
    from lift3d.bench.scene_costs import measure_scene_costs

    costs = measure_scene_costs()
    figures = measure_scale(control, sorted(count or (10, 50, 200)), turns, lambda line: typer.echo(line, err=True))
    section = cost_section(costs, max(0.0, figures.slope_ratio - 1.0), Assumptions())
    _present(figures.to_json(), scale_page(figures.to_json(), section), out, as_json)


@bench.command("storage")
def bench_storage(
    s3: Annotated[str | None, typer.Option(help="Also compare s3fs and obstore below this s3://BUCKET/PREFIX.")] = None,
    server: Annotated[str, typer.Option(help="What serves it, for the page.")] = "",
    folder: Annotated[Path, typer.Option(help="Where on the local disk to write.")] = Path("runs/storage"),
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bytes per view, throughput of products against plain Zarr, and of the libraries behind s3://."""
    from lift3d.bench import storage
    from lift3d.bench.storage_page import page

    figures = storage.measure(folder, s3, storage.FULL)
    _present(figures, page(figures, server), out, as_json)


def _held_out(
    scenes: list[str], operators: list[str], lifters: list[str], plugins: list[str] | None, size: dict[str, int | None]
) -> Recipe:
    """Return the recipe of a bench on views that are no source."""
    given = {"scenes": scenes, "operators": operators, "lifters": lifters, "plugins": plugins or []}
    return parse_recipe({**given, **size, "target_mode": "heldout"})


def _present(figures: dict[str, Any], text: str, out: Path | None, as_json: bool) -> None:
    """Write the page of a bench if a file is named, and print it or its figures."""
    try:
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Cannot write '{out}': {error}. Name a file in a folder you may write to.") from error
    typer.echo(json.dumps(figures, indent=1) if as_json else text)
