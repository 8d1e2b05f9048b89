"""``lift3d bench``: what the machine, the scheduler and the store make of it."""

from dataclasses import asdict
from pathlib import Path

import click

from lift3d.bench.presenting import AS_JSON, OUT, PATH, present_figures


@click.command("speed")
@click.option("--lifter", default="lift3d", help="Whose proposal and correction.")
@click.option("--capture", help="Scene, as of lift3d run; a computed one if not given.")
@click.option("--threads", type=int, help="Threads of torch; all cores if not given.")
@AS_JSON
def speed(lifter: str, capture: str | None, threads: int | None, as_json: bool) -> None:
    """What stage I, one more operator and memory cost on this machine."""
    from lift3d.bench import speed

    figures = speed.measure(speed.FULL, capture or speed.SCENE, lifter, threads)
    present_figures(figures, speed.table(figures), None, as_json)


@click.command("gpu")
@click.argument("scene", required=False, help="As of lift3d run; a computed one if not given.")
@click.option("--operator", "operators", multiple=True, help="2D model; the last one is measured alone. Repeatable.")
@click.option("--image-height", type=int, help="Height at which views are encoded and lifted.")
@click.option("--device", default="cuda", help="What is measured: cuda, cuda:N, or cpu.")
@OUT
@AS_JSON
def gpu(
    scene: str | None,
    operators: tuple[str, ...],
    image_height: int | None,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """What a GPU gives the whole line: views per second by stage, shares of its most, one worker and two on it."""
    from lift3d.bench import gpu as bench
    from lift3d.bench.gpu_page import page

    recipe = bench.recipe_of(scene or bench.SCENE, operators or bench.OPERATORS, image_height or bench.IMAGE_HEIGHT)
    figures = bench.measure(recipe, device)
    present_figures(figures, page(figures, recipe, device), out, as_json)


@click.command("profile")
@click.argument("scene", required=False, help="As of lift3d run; a computed one if not given.")
@click.option("--operator", "operators", multiple=True, help="2D model. Repeatable.")
@click.option("--image-height", type=int, help="Height at which views are encoded and lifted.")
@AS_JSON
def profile(scene: str | None, operators: tuple[str, ...], image_height: int | None, as_json: bool) -> None:
    """Where the time of a run goes on one core: seconds, operations and bytes by stage, beside the core's most."""
    from lift3d.bench import gpu, profile

    recipe = gpu.recipe_of(scene or gpu.SCENE, operators or gpu.OPERATORS, image_height or gpu.IMAGE_HEIGHT)
    figures = profile.measure(recipe)
    present_figures(figures, profile.table(figures), None, as_json)


@click.command("scale")
@click.option("--control", default=10_000, help="Scenes whose work is nothing.")
@click.option("--count", "counts", multiple=True, default=(10, 50, 100), help="Numbers of real scenes. Repeatable.")
@click.option("--turns", default=3, help="Turns of one worker and a bare loop, and of two and two.")
@click.option("--workers-only", is_flag=True, help="Only two workers against two bare processes.")
@click.option("--views", default=200, help="Of a scene among a million.")
@click.option(
    "--costs-only", is_flag=True, help="Only what a million scenes need; orchestration is taken to add nothing."
)
@OUT
@AS_JSON
def scale(
    control: int,
    counts: tuple[int, ...],
    turns: int,
    workers_only: bool,
    views: int,
    costs_only: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """What Prefect and Ray cost, by thousands of scenes and against bare loops; and what a million scenes need."""
    from lift3d.bench.cost_model import Assumptions, cost_section
    from lift3d.bench.scale import measure_scale, measure_workers
    from lift3d.bench.scale_page import scale_page
    from lift3d.bench.scene_costs import measure_scene_costs

    if workers_only:
        measure_workers(max(2, max(counts) // 2), turns, lambda line: click.echo(line, err=True))
        return
    costs = measure_scene_costs(views)
    if costs_only:
        present_figures(costs, cost_section(costs, 0.0, Assumptions()), out, as_json)
        return
    figures = measure_scale(control, sorted(counts), turns, lambda line: click.echo(line, err=True))
    section = cost_section(costs, max(0.0, figures.slope_ratio - 1.0), Assumptions())
    ratios = {"slope_ratio": figures.slope_ratio, "worker_ratio": figures.worker_ratio}
    present_figures({**asdict(figures), **ratios}, scale_page(figures, section), out, as_json)


@click.command("storage")
@click.option("--s3", help="Also measure a service, below this s3://BUCKET/PREFIX.")
@click.option("--server", default="", help="What serves it, for the page.")
@click.option("--folder", type=PATH, default="runs/storage", help="Where on the local disk to write.")
@click.option("--count", is_flag=True, help="Only count the objects that a scene of 100 views writes.")
@click.option("--packing", help="Only pack the lifted views of this store by several codecs.")
@OUT
@AS_JSON
def storage(
    s3: str | None, server: str, folder: Path, count: bool, packing: str | None, out: Path | None, as_json: bool
) -> None:
    """Bytes per view, throughput of products against plain Zarr, and on a service."""
    from lift3d.bench import storage
    from lift3d.bench.packing import measure_packing, packing_table
    from lift3d.bench.storage_page import page
    from lift3d.bench.store_objects import count_objects, objects_table

    if packing is not None:
        packed = measure_packing(packing)
        present_figures(packed, packing_table(packed), out, as_json)
        return
    if count:
        counts = count_objects()
        present_figures(counts, objects_table(counts), out, as_json)
        return
    figures = storage.measure(folder, s3, storage.FULL)
    present_figures(figures, page(figures, server), out, as_json)


MACHINE_COMMANDS = (speed, profile, gpu, scale, storage)
