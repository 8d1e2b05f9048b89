"""``lift3d run``: its options are the fields of Recipe and Execution."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift3d.cli.commands.options import (
    PATH,
    Exit,
    SettingsCommand,
    given_values,
    importing,
    json_option,
    options_of,
    read_settings,
    say,
    show,
)
from lift3d.errors import ConfigError

if TYPE_CHECKING:
    from lift3d.cli.run import Drive
    from lift3d.config import Recipe


_STORE = "runs/lift3d"


def _fields() -> list[click.Option]:
    from lift3d.config import Execution, Recipe

    return [*options_of(Recipe, without={"scenes"}), *options_of(Execution, store=_STORE)]


@click.command(cls=SettingsCommand, fields=_fields)
@click.argument("scenes", nargs=-1, help="Folders, files, procedural:FAMILY?seed=0, or lists of them (.txt, .csv …).")
@click.option("--recipe", "recipe_file", type=PATH, help="YAML of what to compute; options beside it win.")
@click.option("--execution", "execution_file", type=PATH, help="YAML of where and how; options beside it win.")
@click.option("--leave-one-out", is_flag=True, help="Every view is a target, never its own source.")
@click.option(
    "--cluster/--serial",
    "is_cluster",
    default=None,
    help="Through Prefect and on Ray, or in this process; cluster if --ray-address or --workers is given, else serial.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan, and what will hurt in its first scenes; do nothing.")
@click.option("--check/--no-check", "checks", default=True, help="Whether a dry run looks for what will hurt.")
@json_option
def run(
    recipe_file: Path | None,
    execution_file: Path | None,
    leave_one_out: bool,
    is_cluster: bool | None,
    dry_run: bool,
    checks: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Lift scenes: encode, lift, decode, score; print the table and where everything lies.

    A 2D model is rgb, hog, tiny:NAME, timm:NAME, open_clip:NAME/PRETRAINED, transformers:FOLDER, or one's own by
    --plugin; a wrong name of a model, lifter or metric lists them all. The same command again goes on where it stopped.
    """
    from lift3d.config import Execution, Recipe, parse_execution

    what = _recipe(read_settings(recipe_file), given_values(values, Recipe), leave_one_out)
    where = parse_execution({"store": _STORE, **read_settings(execution_file), **given_values(values, Execution)})
    if dry_run:
        with importing():
            from lift3d.cli.checks import checked_of_plan
            from lift3d.runs.plan import plan

        planned = plan(what, where)
        found = checked_of_plan(planned) if checks else {}
        hurts = [f"will hurt in {location}: {one}" for location, some in found.items() for one in some]
        findings = {location: [asdict(one) for one in some] for location, some in found.items()}
        show({**planned.to_json(), "findings": findings}, "\n".join([planned.to_text(), *hurts]), as_json)
        unreadable = sum(bool(scene.reason) for scene in planned.scenes)
        some = Exit.ERROR if unreadable == len(planned.scenes) else Exit.PARTIAL
        sys.exit(some if unreadable else Exit.DONE)
    if is_cluster is None:
        is_cluster = where.is_distributed
    drive: Drive
    with importing():
        from lift3d.cli import run as run_command

        if is_cluster:
            from flows.local_run import run_flow as drive
        else:
            from lift3d.runs.driver import run_serially as drive
    try:
        code = run_command.run_and_present(what, where, drive, as_json=as_json)
    except KeyboardInterrupt:
        say("interrupted; what is committed stays, the same command goes on from there", err=True)
        code = Exit.INTERRUPTED
    sys.exit(code)


@click.command()
@click.argument("store", default="runs/demo", help="Folder for what is computed.")
@click.pass_context
def demo(context: click.Context, store: str) -> None:
    """Lift two computed scenes with three lifters: a first look that downloads nothing and takes a minute or two."""
    recipe = str(files("flows") / "recipes" / "demo.yaml")
    # As if typed, so that options have their defaults.
    run.main(["--recipe", recipe, "--store", store, "--serial"], prog_name="lift3d run", parent=context.parent)


def _recipe(file: dict[str, Any], given: dict[str, Any], leave_one_out: bool) -> "Recipe":
    """Return the recipe of a file and of what was given beside it, which wins."""
    from lift3d.config import parse_recipe
    from lift3d.runs.scene_lists import expand_scenes
    from lift3d.storage.layout import STORE_FILE

    if leave_one_out and ("holdout" in given or given.get("target_mode") == "refine"):
        raise ConfigError(
            "--leave-one-out makes every view a target that is never its own source; "
            "it goes with neither --holdout nor --target-mode refine. Give one of them."
        )
    fields = {**file, **given}
    if leave_one_out:
        fields["holdout"] = None
    if leave_one_out or "holdout" in given:
        # Targets that are held out are no sources unless someone says so.
        fields["target_mode"] = given.get("target_mode", "heldout")
    plugins = fields.get("plugins")
    if plugins and isinstance(plugins, list | tuple) and not fields.get("operators"):
        # Who points at an operator means it.
        fields["operators"] = _operators_of(plugins)
    if not fields.get("scenes"):
        raise ConfigError("No scene given. Name at least one, e.g. lift3d run my-capture/.")
    typed = given.get("scenes", ())
    if typed and not any(":" in scene or _exists(scene) for scene in typed):
        # A run of nothing but a slip of the hand would be the latest of its store.
        raise ConfigError(
            f"There is no '{typed[0]}' here ({Path(typed[0]).absolute()}). Check the path; nothing was run."
        )
    for scene in typed:
        if _exists(f"{scene}/{STORE_FILE}"):
            raise ConfigError(f"'{scene}' is a store, no scene. Give it as --store {scene}, and name scenes beside it.")
    return parse_recipe({**fields, "scenes": expand_scenes(fields["scenes"])})


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False  # a name that no file has: of a home that is not known, too long, with a null


def _operators_of(plugins: Sequence[object]) -> list[str]:
    from lift3d.operators.catalog import load_plugin

    return [load_plugin(str(location)).spec.name for location in plugins]
