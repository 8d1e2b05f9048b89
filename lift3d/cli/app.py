"""The command line: parse, build the configuration, call.

Exit codes: 0 all, 3 partial, 1 error, 2 usage, 4 regression, 130 interrupted.
"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lift3d.cli.bench import bench
from lift3d.cli.results import look
from lift3d.config import Execution, Recipe, parse_execution, parse_recipe
from lift3d.errors import ConfigError, Lift3dError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lift3d.domain.records import SceneRecord
    from lift3d.pipeline.inputs import Report
    from lift3d.runs.driver import OnScene
    from lift3d.training.settings import TrainingSettings
    from lift3d.training.train import Listener

EXIT_ERROR, EXIT_USAGE, EXIT_PARTIAL, EXIT_REGRESSION, EXIT_INTERRUPTED = 1, 2, 3, 4, 130

app = typer.Typer(
    help="Lift any 2D vision model to 3D-consistent answers on any posed multi-view scene.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench, name="bench")
app.add_typer(look)


class TargetMode(StrEnum):
    """How targets relate to sources."""

    refine = "refine"
    heldout = "heldout"


class Format(StrEnum):
    """How a table is printed or written."""

    md = "md"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def main() -> None:
    """Run the command line; our own errors become one message and an exit code."""
    try:
        app()
    except ConfigError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(EXIT_USAGE)
    except Lift3dError as error:
        typer.secho(f"error ({error.reason}): {error}", fg=typer.colors.RED, err=True)
        sys.exit(EXIT_ERROR)


@app.command()
def run(
    locations: Annotated[
        list[str] | None,
        typer.Argument(help="Posed scenes: folders, files, procedural:FAMILY?seed=0, or lists of them (.txt, .csv …)."),
    ] = None,
    operator: Annotated[
        list[str] | None,
        typer.Option(help="2D model: rgb, hog, timm:NAME, open_clip:NAME/PRETRAINED, … Repeatable."),
    ] = None,
    lifter: Annotated[list[str] | None, typer.Option(help="nearest_view, depth_mean, plane_sweep. Repeatable.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metric id; all that apply if not given.")] = None,
    store: Annotated[str, typer.Option(help="URL of the store: a folder, memory:// or s3://.")] = "runs/lift3d",
    recipe: Annotated[Path | None, typer.Option(help="YAML recipe; options given beside it win.")] = None,
    image_height: Annotated[int | None, typer.Option(help="Height at which views are encoded and lifted.")] = None,
    sources: Annotated[int | None, typer.Option(help="Source views per target.")] = None,
    holdout: Annotated[
        int | None, typer.Option(help="Every N-th view is a target and no source; implies heldout.")
    ] = None,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Every view is a target, never its own source.")
    ] = False,
    target_mode: Annotated[
        TargetMode | None, typer.Option(help="refine: own view is a source too. heldout: never, for claims.")
    ] = None,
    targets: Annotated[str | None, typer.Option(help="Novel cameras: a JSON file, or path:COUNT.")] = None,
    plugin: Annotated[list[str] | None, typer.Option(help="Operator of one's own: module:attribute.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="http://HOST:8265 or HOST:6379; a Ray is started if not given.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Scene workers at most.")] = None,
    retry_quarantined: Annotated[
        bool, typer.Option("--retry-quarantined", help="Try scenes again that were given up.")
    ] = False,
    serial: Annotated[bool, typer.Option("--serial", help="In this process, without Prefect and Ray.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Lift scenes: encode, lift, decode, score; print the table and where everything lies."""
    from lift3d.cli import run as run_command

    if leave_one_out and (holdout is not None or target_mode is TargetMode.refine):
        raise ConfigError(
            "--leave-one-out makes every view a target that is never its own source; "
            "it goes with neither --holdout nor --target-mode refine. Give one of them."
        )
    if target_mode is None and (leave_one_out or holdout is not None):
        target_mode = TargetMode.heldout
    given: dict[str, Any] = {
        "scenes": locations,
        "operators": operator,
        "lifters": lifter,
        "metrics": metric,
        "image_height": image_height,
        "sources": sources,
        "holdout": holdout,
        "target_mode": target_mode.value if target_mode else None,
        "targets": targets,
        "plugins": plugin,
    }
    what = _what_to_run(_read_recipe(recipe), given, leave_one_out)
    where = parse_execution(
        {"store": store, "ray_address": ray_address, "workers": workers, "retry_quarantined": retry_quarantined}
    )
    if dry_run:
        from lift3d.runs.plan import plan

        planned = plan(what, where)
        typer.echo(json.dumps(planned.to_json(), indent=1) if as_json else planned.to_text())
        return
    drive = run_command.serial if serial else _through_prefect
    try:
        code = run_command.run_and_present(what, where, drive, as_json=as_json)
    except KeyboardInterrupt:
        typer.secho("interrupted; what is committed stays, the same command goes on from there", err=True)
        code = EXIT_INTERRUPTED
    sys.exit(code)


@app.command("train")
def train_lifter(
    out: Annotated[Path | None, typer.Option(help="Checkpoint to write: a .safetensors file.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Scenes and states of the run; resumed from here.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of scenes, feature spaces and networks.")] = None,
    scenes: Annotated[int | None, typer.Option(help="Rendered scenes to train on.")] = None,
    validation_scenes: Annotated[int | None, typer.Option(help="Scenes that are never trained on.")] = None,
    density_steps: Annotated[int | None, typer.Option(help="Examples for stage I.")] = None,
    corrector_steps: Annotated[int | None, typer.Option(help="Examples for stage II.")] = None,
    density_rate: Annotated[float | None, typer.Option(help="Learning rate of stage I.")] = None,
    corrector_rate: Annotated[float | None, typer.Option(help="Learning rate of stage II.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes that train together, on Ray if several.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that prepare examples for each of them.")] = None,
    operator: Annotated[
        list[str] | None, typer.Option(help="2D model whose features stage II learns from, too. Repeatable.")
    ] = None,
    plugin: Annotated[list[str] | None, typer.Option(help="Operator of one's own: file.py:attribute.")] = None,
    operator_share: Annotated[float | None, typer.Option(help="Share of the feature spaces that is theirs.")] = None,
    scene: Annotated[list[str] | None, typer.Option(help="Capture to train on, too. Repeatable.")] = None,
    capture_share: Annotated[float | None, typer.Option(help="Share of the examples that is theirs.")] = None,
    density_from: Annotated[
        str | None, typer.Option(help="Checkpoint whose stage I is taken as it is: a packaged name, or a path.")
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="Ray cluster to use; started here if not given.")] = None,
    settings: Annotated[Path | None, typer.Option(help="YAML of these settings; options beside it win.")] = None,
) -> None:
    """Train the learned lifter, on computed scenes if not told more; the same command goes on where it stopped."""
    lists = {"operator": "operators", "plugin": "plugins", "scene": "captures"}
    given = {lists.get(name, name): value for name, value in locals().items() if value not in (None, [], lists)}
    from lift3d.training.settings import parse_settings

    given.pop("ray_address", None)
    what = parse_settings({**_read_recipe(given.pop("settings", None)), **given})
    from lift3d.cli import train as train_command

    is_on_ray = what.processes > 1 or ray_address is not None
    try:
        train_command.train_and_present(what, _on_ray(ray_address) if is_on_ray else train_command.here)
    except KeyboardInterrupt:
        typer.secho("interrupted; the same command goes on from the last saved step", err=True)
        sys.exit(EXIT_INTERRUPTED)


@app.command("train-tiny")
def train_small_model(
    name: Annotated[str, typer.Argument(help="Of the small model, as after 'tiny:'.")],
    out: Annotated[
        Path | None, typer.Option(help="Weights to write: a .safetensors file; its card goes beside.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; as the packaged weights if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
) -> None:
    """Train one of the small models that come with the package, and measure it against plain baselines."""
    try:
        from lift3d.training.tiny.catalog import train_tiny
    except ModuleNotFoundError as error:
        raise ConfigError(
            "The trainings of the small models are not part of the installed package; expected lift3d/training/tiny. "
            "Clone the repository, install it with 'pip install -e .', and run the same command there."
        ) from error
    place = out or Path(f"{name}.safetensors")
    train_tiny(name, place, steps, seed)
    typer.echo(f"weights {place}\ncard    {place.with_suffix('.md')}")


@app.command()
def status(
    store: Annotated[str, typer.Argument(help="URL of the store.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say which runs a store holds and how far each one is."""
    from lift3d.runs.status import run_states

    states = run_states(store)
    if as_json:
        typer.echo(json.dumps([state.to_json() for state in states], indent=1))
        return
    for state in states:
        typer.echo(state.to_text())


@app.command()
def fsck(
    store: Annotated[str, typer.Argument(help="URL of the store.")],
    checksums: Annotated[
        bool, typer.Option("--checksums/--no-checksums", help="Read every byte, rather than compare names and sizes.")
    ] = False,
    run_id: Annotated[str | None, typer.Option("--run", help="Only what this run rests on.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Delete what is damaged; the next run computes it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check that everything committed in a store is there and as it was written. Exit code 1 if not."""
    from lift3d.cli.store import findings_text
    from lift3d.runs.check_store import check_store

    found = check_store(store, checksums, run_id, repair)
    typer.echo(json.dumps(found.to_json(), indent=1) if as_json else findings_text(found))
    sys.exit(0 if found.is_clean else EXIT_ERROR)


@app.command()
def gc(
    store: Annotated[str, typer.Argument(help="URL of the store.")],
    older_than: Annotated[float, typer.Option(help="Hours since the last write, by the store's clock.")] = 48.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted and delete nothing.")] = False,
    run_id: Annotated[str | None, typer.Option("--run", help="Only attempts at what this run rests on.")] = None,
    unreferenced: Annotated[
        bool, typer.Option("--unreferenced", help="Products that no run names, too. Not while a run is going on.")
    ] = False,
    caches: Annotated[bool, typer.Option("--caches", help="Features and tracks, too. As --unreferenced.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Allow less than an hour: nobody uses the store.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Delete what dead workers left behind in a store."""
    from lift3d.cli.store import garbage_text
    from lift3d.runs.collect_garbage import Extent, collect_garbage

    deleted = collect_garbage(store, Extent(older_than, run_id, dry_run, unreferenced, caches, force))
    typer.echo(json.dumps(deleted.to_json(), indent=1) if as_json else garbage_text(deleted))


@app.command()
def tables(
    store: Annotated[str, typer.Option(help="URL of the store.")],
    format: Annotated[Format, typer.Option(help="md is the summary; the others hold every score row.")] = Format.md,
    run_id: Annotated[str | None, typer.Option("--run", help="Run id; all runs of the store if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output if not given.")] = None,
    compare: Annotated[
        str | None,
        typer.Option(help="METRIC:LIFTER_A:LIFTER_B prints paired bootstrap intervals over views."),
    ] = None,
    brief: Annotated[bool, typer.Option("--brief", help="In md, of several scenes, their means alone.")] = False,
) -> None:
    """Print or write the score table of a store."""
    from lift3d.cli.tables import render_table

    if format is Format.parquet and out is None and sys.stdout.isatty():
        raise ConfigError("Parquet is binary and standard output is a terminal. Name a file with --out.")
    content = render_table(store, format.value, run_id, compare, is_brief=brief)
    if out is None:
        sys.stdout.buffer.write(content)
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise ConfigError(
            f"Cannot write the table to '{out}': {error}. Name a file in a folder that exists."
        ) from error


@app.command("compare")
def compare_two_runs(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="Run id, or URL#RUN for one of another store.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The run that is to be better, or at least not worse.")],
    store: Annotated[str | None, typer.Option(help="URL of the store of runs without a URL.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metric id; all if not given. Repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit code 4 if some metric of RUN_B is significantly worse.")
    ] = False,
) -> None:
    """Compare two runs on the scenes that both have: paired differences and their intervals."""
    from lift3d.cli.compare import compare_runs

    found = compare_runs(run_a, run_b, store, metric or ())
    typer.echo(json.dumps(found.to_json(), indent=1) if as_json else found.to_text())
    sys.exit(EXIT_REGRESSION if fail_on_regression and found.has_regression else 0)


@app.command()
def doctor(
    ray_dashboard: Annotated[
        str | None, typer.Option(help="URL of a Ray dashboard; RAY_ADDRESS and this machine's are looked at anyway.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="URL of a store to prove; it is made if it is new.")] = None,
) -> None:
    """Check this machine and its services: versions, torch, Ray, Prefect, a store, and what to do about each."""
    from lift3d.cli.doctor import examine

    findings = examine(ray_dashboard, store)
    for finding in findings:
        typer.echo(finding.to_text())
    sys.exit(EXIT_ERROR if any(not finding.is_fine for finding in findings) else 0)


def _what_to_run(recipe: dict[str, Any], given: dict[str, Any], leave_one_out: bool) -> Recipe:
    """Return the recipe of a file and what was given beside it, which wins."""
    from lift3d.runs.scene_lists import expand_scenes

    fields = {**recipe, **{name: value for name, value in given.items() if value not in (None, [])}}
    if leave_one_out:
        fields["holdout"] = None
    if not fields.get("scenes"):
        raise ConfigError("No scene given. Name at least one LOCATION, e.g. lift3d run my-capture/ --operator rgb.")
    return parse_recipe({**fields, "scenes": expand_scenes(fields["scenes"])})


def _read_recipe(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import yaml

    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"Cannot read the recipe '{path}': {error}. Expected a YAML mapping of fields.") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"The recipe '{path}' holds {type(fields).__name__}; expected a YAML mapping of fields.")
    return fields


def _through_prefect(
    recipe: Recipe, execution: Execution, on_scene: "OnScene", report: "Report"
) -> "list[SceneRecord]":
    from flows.local_run import run_flow

    return run_flow(recipe, execution, on_scene, report)


def _on_ray(address: str | None) -> "Callable[[TrainingSettings, Listener], Path]":
    def drive(settings: "TrainingSettings", listener: "Listener") -> Path:
        from flows.training_workers import train_on_ray

        place = {"store": str(settings.folder), "ray_address": address, "workers": settings.processes}
        return train_on_ray(settings, parse_execution(place), listener)

    return drive
